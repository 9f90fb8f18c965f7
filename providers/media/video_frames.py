"""Decode a clip to scaled video frames, blend frames, and draw caption overlays on them."""

from __future__ import annotations

import contextlib
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
from providers.media.colour import lookup_table, needs_conversion
from providers.media.conformance import FilmSpec
from providers.media.probe import BT709, UNSPECIFIED, open_mp4, select_video_stream, start_of

if TYPE_CHECKING:
    # Not loaded to take a clip in, which draws no text.
    from providers.media.overlay import Overlay

#: The picture behind a card has details of this many pixels, so that a mark of the clip stays legible, and this share
#: of black.
DEFOCUS_PX, DEFOCUS_DIMMED = 6, 0.56
_ROTATION_FILTERS = {90: ["transpose=cclock"], 180: ["hflip", "vflip"], 270: ["transpose=clock"]}


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


def draw_poster(path: Path, width: int, height: int) -> bytes:
    """Return the picture one second after the start of a clip or film, or its last one, as WebP of this size in pixels.

    Raises InvalidClip `clip_corrupt` when the file cannot be decoded.
    """
    spec, picture = FilmSpec(None, width, height), BytesIO()
    [frame] = deque(read_frames(path, spec.fps + 1, spec), maxlen=1)
    Image.fromarray(frame.to_ndarray(format="rgb24")).save(picture, "WEBP", quality=75)
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
