"""Convert HDR and BT.2020 to BT.709 with a lookup table."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from providers.media.probe import UNSPECIFIED

#: Transfer functions of HDR, by their code in the tags of a file.
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_BT2020 = 9
_BT2020_TO_BT709 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
_SIZE = 33  # nodes per side; the colours between them are interpolated
#: White of a film in candela per square metre. HDR above the knee, as a share of it, is compressed instead of clipped.
_WHITE_NITS, _KNEE = 100, 0.75


def needs_conversion(frame: VideoFrame) -> bool:
    """Return whether the tags of the frame name HDR or BT.2020."""
    return frame.color_trc in HDR_TRANSFERS or frame.color_primaries == _BT2020


@contextlib.contextmanager
def lookup_table(frame: VideoFrame) -> Iterator[Path]:
    """Write a file with the conversion of RGB from the colours of this frame to BT.709, for the block."""
    blue, green, red = np.meshgrid(*[np.linspace(0, 1, _SIZE)] * 3, indexing="ij")
    light = _decode_light(np.stack([red, green, blue], axis=-1), frame.color_trc)
    # HDR that does not name its primaries has those of BT.2020.
    if frame.color_primaries in (_BT2020, UNSPECIFIED):
        light = np.maximum(light @ np.transpose(_BT2020_TO_BT709), 0)
    if frame.color_trc in HDR_TRANSFERS:
        peak = np.maximum(light.max(axis=-1, keepdims=True), 1e-9)
        excess = np.maximum(peak - _KNEE, 0) / (1 - _KNEE)
        light *= np.where(peak > _KNEE, (_KNEE + (1 - _KNEE) * excess / (1 + excess)) / peak, 1)
    light = np.minimum(light, 1)
    signal = np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)
    with tempfile.NamedTemporaryFile("w", suffix=".cube") as file:
        np.savetxt(file, signal.reshape(-1, 3), fmt="%.5f", header=f"LUT_3D_SIZE {_SIZE}", comments="")
        file.flush()
        yield Path(file.name)


def _decode_light(signal: NDArray[np.float64], transfer: int) -> NDArray[np.float64]:
    """Return the light of RGB signals (0..1) of shape (…, 3); 1.0 is the white of a film."""
    if transfer not in HDR_TRANSFERS:
        return np.where(signal < 0.081, signal / 4.5, ((signal + 0.099) / 1.099) ** (1 / 0.45))
    if HDR_TRANSFERS[transfer] == "PQ":
        root = signal ** (1 / 78.84375)
        nits = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        return np.asarray(nits / _WHITE_NITS)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    # A display of 1000 nits brightens HLG by its luminance.
    luminance = np.maximum(scene @ [0.2627, 0.6780, 0.0593], 1e-9)[..., np.newaxis]
    return np.asarray(scene * luminance**0.2 * 1000 / _WHITE_NITS)
