"""Pictures: decoded from a clip one by one, copied, blended, and written on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from providers.media.errors import BadClip
from providers.media.overlay import Layer
from providers.media.probe import BT709, UNTAGGED, open_mp4, picture_stream

_TURNED = {90: ["transpose=cclock"], -90: ["transpose=clock"], 180: ["hflip", "vflip"], -180: ["hflip", "vflip"]}


def pictures(path: Path, *, frames: int, fps: int, width: int, height: int) -> Iterator[VideoFrame]:
    """Exactly `frames` pictures of the clip at `fps`, scaled and cropped to fill width x height pixels.

    They are upright yuv420p in BT.709 and are for reading only. A clip that is too short holds its last
    picture. Raises BadClip `clip_corrupt` where it cannot be decoded.
    """
    count, last = 0, None
    try:
        for picture in _scaled(path, fps, width, height):
            last = picture
            yield picture
            count += 1
            if count == frames:
                return
    except FFmpegError as error:
        raise BadClip("clip_corrupt", "The clip cannot be decoded.") from error
    if last is None:
        raise BadClip("clip_corrupt", "The clip has no picture.")
    for _ in range(frames - count):
        yield last


def _scaled(path: Path, fps: int, width: int, height: int) -> Iterator[VideoFrame]:
    with open_mp4(path) as container:
        stream = picture_stream(container)
        stream.thread_type = "AUTO"
        graph: Graph | None = None
        for frame in container.decode(stream):
            if graph is None:
                graph = _graph(stream, frame, fps, width, height)
            graph.vpush(frame)
            yield from _ready(graph)
        if graph is not None:
            graph.vpush(None)
            yield from _ready(graph)


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _graph(stream: VideoStream, first: VideoFrame, fps: int, width: int, height: int) -> Graph:
    """The filters from this clip's pictures to ours."""
    # High definition without a tag is BT.709 to every player; the scaler would take it for BT.601.
    matrix = "bt709" if first.colorspace in (BT709, UNTAGGED) else "auto"
    steps = ["setpts=PTS-STARTPTS", f"fps={fps}", *_TURNED.get(first.rotation, [])]
    if stream.sample_aspect_ratio not in (None, 0, 1):
        steps += ["scale=iw*sar:ih", "setsar=1"]
    steps += [
        f"scale={width}:{height}:force_original_aspect_ratio=increase:flags=bicubic"
        f":in_color_matrix={matrix}:out_color_matrix=bt709:out_range=tv",
        f"crop={width}:{height}",
        "setsar=1",
        "format=yuv420p",
    ]
    graph = Graph()
    nodes = [graph.add_buffer(template=stream)]
    for step in steps:
        name, _, settings = step.partition("=")
        nodes.append(graph.add(name, settings or None))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def blank(width: int, height: int) -> VideoFrame:
    """A new picture to write on; its pixels are undefined."""
    picture = VideoFrame(width, height, "yuv420p")
    picture.colorspace = picture.color_trc = picture.color_primaries = BT709
    picture.color_range = 1
    return picture


def planes(picture: VideoFrame) -> list[NDArray[np.uint8]]:
    """The luma and the two colour planes of a yuv420p picture, as views of its pixels."""
    sizes = [(picture.height, picture.width)] + [(picture.height // 2, picture.width // 2)] * 2
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:rows, :columns]
        for plane, (rows, columns) in zip(picture.planes, sizes, strict=True)
    ]


def blend(into: VideoFrame, under: VideoFrame, over: VideoFrame | None = None, share: float = 0.0) -> None:
    """Write `under` into the picture, with `over` laid on it to this share (0..1)."""
    weight = round(share * 256)
    for number, (target, below) in enumerate(zip(planes(into), planes(under), strict=True)):
        if over is None:
            target[...] = below
        else:
            above = planes(over)[number]
            mixed = below * np.uint16(256 - weight) + above * np.uint16(weight) + np.uint16(128)
            target[...] = mixed >> 8


def write(into: VideoFrame, text: Layer, opacity: float) -> None:
    """Lay the text over the picture, opacity 0..1."""
    luma, *colours = planes(into)
    alpha = text.alpha.astype(np.uint16) * np.uint16(round(opacity * 256)) >> 8
    part = luma[text.top : text.bottom, text.left : text.right]
    part[...] = (part * (255 - alpha) + text.luma * alpha + 127) // 255
    rows, columns = alpha.shape
    coarse = alpha.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3), dtype=np.uint16) // 4
    for colour in colours:
        part = colour[text.top // 2 : text.bottom // 2, text.left // 2 : text.right // 2]
        part[...] = (part * (255 - coarse) + 128 * coarse + 127) // 255
