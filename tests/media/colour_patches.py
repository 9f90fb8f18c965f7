"""Clips of one flat colour in HDR or BT.2020, computed here from the formulas of ITU-R BT.709, BT.2020 and BT.2100."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FRAMES = 64, 112, 30
#: BT.709 primaries in those of BT.2020, and the codes of the tags.
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TRANSFERS = {"SDR": 1, "PQ": 16, "HLG": 18}
SDR_WHITE_NITS = 100


def write_patch(
    path: Path, rgb: tuple[int, int, int], kind: str, *, codec: str = "libx265", tag_matrix: int = 9
) -> Path:
    """Encode a clip whose picture has this BT.709 colour (0..255), converted to BT.2020 of this kind."""
    pixel_format = "yuv420p10le" if codec == "libx265" else "yuv420p"
    luma, blue, red = (1 if codec == "libx265" else 0.25) * encode_yuv(np.array(rgb) / 255, kind)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        stream = container.add_stream(codec, 30, options=options if codec == "libx265" else {"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tag_matrix, 9, TRANSFERS[kind]
        context.color_range = 1
        for number in range(FRAMES):
            frame = av.VideoFrame(WIDTH, HEIGHT, pixel_format)
            frame.colorspace, frame.color_primaries, frame.color_trc = tag_matrix, 9, TRANSFERS[kind]
            frame.color_range = 1
            for plane, value in zip(frame.planes, (luma, blue, red), strict=True):
                kind_of_sample = np.uint16 if codec == "libx265" else np.uint8
                plane.update(
                    np.full(plane.buffer_size // kind_of_sample().itemsize, round(value), kind_of_sample).tobytes()
                )
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def encode_yuv(signal: np.ndarray, kind: str) -> np.ndarray:
    """Return the 10-bit Y, Cb and Cr of this BT.709 signal (0..1)."""
    light = TO_BT2020 @ np.where(signal < 0.081, signal / 4.5, ((signal + 0.099) / 1.099) ** (1 / 0.45))
    encoders = {"SDR": _encode_sdr, "PQ": _encode_pq, "HLG": _encode_hlg}
    red, green, blue = encoders[kind](light)
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    return np.array([876 * luma + 64, 896 * (blue - luma) / 1.8814 + 512, 896 * (red - luma) / 1.4746 + 512])


def _encode_sdr(light: np.ndarray) -> np.ndarray:
    return np.where(light < 0.018, 4.5 * light, 1.099 * np.maximum(light, 0.018) ** 0.45 - 0.099)


def _encode_pq(light: np.ndarray) -> np.ndarray:
    power = (light * SDR_WHITE_NITS / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def _encode_hlg(light: np.ndarray) -> np.ndarray:
    display = light * SDR_WHITE_NITS / 1000
    scene = display * max(display @ [0.2627, 0.6780, 0.0593], 1e-9) ** (1 / 1.2 - 1)
    logarithm = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithm)


def read_colour(path: Path) -> list[float]:
    """Return red, green and blue (0..255) of the middle of the last frame, as a player displays it."""
    with av.open(str(path)) as container:
        *_, frame = container.decode(video=0)
        assert (frame.format.name, frame.colorspace, frame.color_trc, frame.color_primaries) == ("yuv420p", 1, 1, 1)
        pixels = frame.to_ndarray()
    area = HEIGHT * WIDTH
    luma, *chroma = (plane.mean() for plane in np.split(pixels.ravel(), [area, area + area // 4]))
    y, blue, red = (luma - 16) / 219, (chroma[0] - 128) / 224, (chroma[1] - 128) / 224
    values = [y + 1.5748 * red, y - 0.1873 * blue - 0.4681 * red, y + 1.8556 * blue]
    return [float(np.clip(value, 0, 1) * 255) for value in values]
