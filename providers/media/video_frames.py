"""Decode a clip to scaled video frames in BT.709, blend frames, and draw caption overlays on them."""

from __future__ import annotations

import contextlib
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from providers.base import InvalidClip
from providers.media.conformance import FilmSpec
from providers.media.probe import BT709, UNSPECIFIED, open_mp4, select_video_stream, start_of

if TYPE_CHECKING:
    # Not loaded to take a clip in, which draws no text.
    from providers.media.overlay import Overlay

#: The picture behind a card has details of this many pixels, so that a mark of the clip stays legible, and this share
#: of black.
DEFOCUS_PX, DEFOCUS_DIMMED = 6, 0.56
_ROTATION_FILTERS = {90: ["transpose=cclock"], 180: ["hflip", "vflip"], 270: ["transpose=clock"]}
#: Transfer functions of HDR, by their code in the tags of a file.
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_BT2020 = 9
_BT2020_TO_BT709 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
_SIZE = 33  # nodes per side; the colours between them are interpolated
#: White of a film in candela per square metre. HDR above the knee, as a share of it, is compressed instead of clipped.
_WHITE_NITS, _KNEE = 100, 0.75


def read_frames(path: Path, frames: int, spec: FilmSpec, *, is_interlaced: bool = False) -> Iterator[VideoFrame]:
    """Yield exactly `frames` frames of the clip at the film's rate, scaled and cropped to fill its size.

    They are upright progressive yuv420p in BT.709 and must not be modified. The first frame of a clip whose audio
    starts earlier and the last frame of a clip that is too short are repeated.
    Raises InvalidClip `clip_corrupt` when the clip cannot be decoded.
    """
    with open_mp4(path) as container:
        stream = select_video_stream(container)
        stream.thread_type = "AUTO"
        decoded = container.decode(stream)
        first = next(decoded, None)
        if first is None:
            raise InvalidClip("clip_corrupt", "The clip has no video frames.")
        graph = _build_filter_graph(stream, first, start_of(container), spec, is_interlaced=is_interlaced)
        yield from islice(_filter_frames(graph, chain([first], decoded, [None])), frames)


def draw_poster(path: Path, width: int, height: int, file_type: str = "WEBP") -> bytes:
    """Return the picture one second after the start of a clip or film, or its last one, in this size in pixels.

    `file_type` is that of the image, by the name that Pillow gives it.

    Raises InvalidClip `clip_corrupt` when the file cannot be decoded.
    """
    spec, picture = FilmSpec(None, width, height), BytesIO()
    [frame] = deque(read_frames(path, spec.fps + 1, spec), maxlen=1)
    Image.fromarray(frame.to_ndarray(format="rgb24")).save(picture, file_type, quality=75)
    return picture.getvalue()


def _filter_frames(graph: Graph, frames: Iterable[VideoFrame | None]) -> Iterator[VideoFrame]:
    for frame in frames:
        graph.vpush(frame)
        with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                yield graph.vpull()


def _build_filter_graph(
    stream: VideoStream, first_frame: VideoFrame, start: Fraction, spec: FilmSpec, *, is_interlaced: bool
) -> Graph:
    """Return the filters that convert this clip's frames to the film's format."""
    # Players treat untagged HD video as BT.709; the scale filter would treat it as BT.601.
    matrix = "bt709" if first_frame.colorspace in (BT709, UNSPECIFIED) else "auto"
    filters = ["bwdif=send_frame"] * is_interlaced + [f"setpts=PTS-{start}/TB", f"fps={spec.fps}:start_time=0"]
    filters += _ROTATION_FILTERS.get(first_frame.rotation % 360, [])
    if stream.sample_aspect_ratio not in (None, 0, 1):
        filters += ["scale=iw*sar:ih", "setsar=1"]
    if needs_conversion(first_frame):
        untagged = ":in_color_matrix=bt2020" if first_frame.colorspace == UNSPECIFIED else ""
        filters += [f"scale=iw:ih{untagged}", "format=gbrp16le", "lut3d"]
        matrix = "auto"
    filters += [
        f"scale={spec.width}:{spec.height}:force_original_aspect_ratio=increase:flags=bicubic"
        f":in_color_matrix={matrix}:out_color_matrix=bt709:out_range=tv",
        f"crop={spec.width}:{spec.height}",
        "setsar=1",
        "format=yuv420p",
        "tpad=stop=-1:stop_mode=clone",
    ]
    graph = Graph()
    nodes = [graph.add_buffer(template=stream)]
    for each in filters:
        name, _, arguments = each.partition("=")
        with lookup_table(first_frame) if name == "lut3d" else contextlib.nullcontext() as table:
            nodes.append(graph.add(name, arguments or None, **({"file": str(table)} if table else {})))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def create_frame(width: int, height: int) -> VideoFrame:
    """Return a new yuv420p frame in BT.709; its pixels are undefined."""
    frame = VideoFrame(width, height, "yuv420p")
    frame.colorspace = frame.color_trc = frame.color_primaries = BT709
    frame.color_range = 1
    return frame


def view_planes(frame: VideoFrame) -> list[NDArray[np.uint8]]:
    """Return the luma plane and the two chroma planes of a yuv420p frame, as views of its pixels."""
    sizes = [(frame.height, frame.width)] + [(frame.height // 2, frame.width // 2)] * 2
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:rows, :columns]
        for plane, (rows, columns) in zip(frame.planes, sizes, strict=True)
    ]


def blend_frames(target: VideoFrame, bottom: VideoFrame, top: VideoFrame | None, top_weight: float) -> None:
    """Write `bottom` to the target, mixed with `top` at this weight (0..1)."""
    weight = round(top_weight * 256)
    for number, (target_plane, bottom_plane) in enumerate(zip(view_planes(target), view_planes(bottom), strict=True)):
        if top is None:
            target_plane[...] = bottom_plane
        else:
            top_plane = view_planes(top)[number]
            mixed = bottom_plane * np.uint16(256 - weight) + top_plane * np.uint16(weight) + np.uint16(128)
            target_plane[...] = mixed >> 8


def defocus(frame: VideoFrame, share: float) -> None:
    """Mix the frame with this share (0..1) of its blurred and dark picture, the background of a text."""
    for plane, black in zip(view_planes(frame), (16, 128, 128), strict=True):
        picture = Image.fromarray(plane)
        small = picture.reduce(DEFOCUS_PX * picture.width // frame.width)
        dark = Image.blend(small, Image.new("L", small.size, black), DEFOCUS_DIMMED)
        dark = dark.resize(picture.size, Image.Resampling.BICUBIC)
        plane[...] = np.asarray(Image.blend(picture, dark, share))


def apply_overlay(frame: VideoFrame, overlay: Overlay, opacity: float | NDArray[np.uint16]) -> None:
    """Draw the overlay on the frame with this opacity: 0..1, or 0..256 for each pixel of the overlay."""
    if isinstance(opacity, float) and opacity <= 0:
        return
    weights = opacity if isinstance(opacity, np.ndarray) else np.uint16(round(opacity * 256))
    alpha = overlay.alpha.astype(np.uint16) * weights >> 8
    rows, columns = alpha.shape
    subsampled = alpha.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3), dtype=np.uint16) // 4
    planes = zip(view_planes(frame), view_planes(overlay.picture), (alpha, subsampled, subsampled), strict=True)
    for plane, colour, share in planes:
        top, left = overlay.top * share.shape[0] // rows, overlay.left * share.shape[1] // columns
        area = plane[top : top + share.shape[0], left : left + share.shape[1]]
        area[...] = (area * (255 - share) + colour * share + 127) // 255


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
