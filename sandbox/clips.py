"""Clips: a prompt becomes a real, pleasant MP4 that says SANDBOX; the same prompt always the same bytes."""

import os
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray
from PIL import Image

from sandbox.colour import STEPS, Palette, palette
from sandbox.dust import Dust
from sandbox.lettering import Lettering, lettering
from sandbox.orders import Order
from sandbox.scenes import Grid, Scene, scene
from sandbox.sound import RATE, soundtrack

FPS = 30
#: Fields are painted this many times smaller than the picture and scaled up.
COARSE = 4
COMMENT = "SANDBOX: painted by a rule, shows nothing real, made by no video model"

Plane = NDArray[np.uint8]


def paint(order: Order, path: Path) -> None:
    """Paints the clip to `path` and a still of it to `path` with .webp; both appear whole or not at all."""
    rng = np.random.default_rng(int.from_bytes(order.digest[:8], "big"))
    unfinished = path.with_suffix(".unfinished")
    options = {"movflags": "+faststart"}
    with av.open(str(unfinished), "w", format="mp4", options=options) as container:
        container.metadata["comment"] = COMMENT
        container.metadata["title"] = f"SANDBOX {order.digest.hex()[:6]}"
        _paint_picture(container, order, rng, path.with_suffix(".webp"))
    os.replace(unfinished, path)


def _paint_picture(container: OutputContainer, order: Order, rng: np.random.Generator, still: Path) -> None:
    width, height, frames = order.width, order.height, order.seconds * FPS
    video = container.add_stream(
        "libx264", FPS, options={"preset": "superfast", "crf": "25", "profile": "high", "g": "60", "bf": "2"}
    )
    video.width, video.height, video.pix_fmt = width, height, "yuv420p"
    video.time_base = Fraction(1, FPS)
    codec = video.codec_context
    codec.thread_count = 2
    codec.color_range, codec.color_primaries, codec.color_trc, codec.colorspace = 1, 1, 1, 1
    sound = None
    if not order.silent:
        sound = container.add_stream("aac", RATE, options={"b": "128k"}, layout="stereo", format="fltp")

    grid = Grid(max(2, width // COARSE & ~1), max(2, height // COARSE & ~1))
    colours, kind = palette(order.prompt, rng)
    painter = _Painter(scene(kind, grid, rng), grid, colours)
    label = f"{order.digest.hex()[:6]} · {order.seconds} s · {width} x {height}"
    letters = _Letters(lettering(order.prompt, label, width, height))
    dust = Dust(width, height, rng)
    enlarge = _Enlarger(grid.width, grid.height, width, height)

    # numpy lets go of the interpreter: the next frame is painted while this one is encoded.
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(painter.frame, 0)
        for number in range(frames):
            small = coming.result()
            coming = ahead.submit(painter.frame, number + 1)
            frame = enlarge(small, number)
            dust.settle(_plane(frame, 0), number / FPS)
            letters.press(frame)
            if number == frames // 2:
                Image.fromarray(frame.to_ndarray(format="rgb24")).save(still, "WEBP", quality=80)
            container.mux(video.encode(frame))
    container.mux(video.encode())
    if sound is not None:
        tone = av.AudioFrame.from_ndarray(soundtrack(rng, order.seconds), format="fltp", layout="stereo")
        tone.sample_rate, tone.pts = RATE, 0
        queue = av.AudioFifo()
        queue.write(tone)
        while (part := queue.read(1024, partial=True)) is not None:
            container.mux(sound.encode(part))
        container.mux(sound.encode())


class _Painter:
    """Colours the field of a scene, frame by frame."""

    def __init__(self, moving: Scene, grid: Grid, colours: Palette) -> None:
        self.scene, self.colours, self.vignette = moving, colours, grid.vignette()

    def frame(self, number: int) -> Plane:
        field = self.scene.at(number / FPS) * self.vignette
        steps = np.clip(field * (STEPS - 1), 0, STEPS - 1).astype(np.int16)
        return np.asarray(self.colours[steps])


class _Enlarger:
    """Scales a small RGB picture to full size as BT.709 video, with a grain that hides banding."""

    def __init__(self, from_width: int, from_height: int, width: int, height: int) -> None:
        graph = av.filter.Graph()
        self.source = graph.add_buffer(
            width=from_width,
            height=from_height,
            format=av.VideoFormat("rgb24", from_width, from_height),
            time_base=Fraction(1, FPS),
        )
        self.sink = graph.add("buffersink")
        graph.link_nodes(
            self.source,
            graph.add("scale", f"{width}:{height}:flags=bicubic:out_color_matrix=bt709:out_range=tv"),
            graph.add("format", "yuv420p"),
            graph.add("noise", "c0s=6:c0f=t+u"),
            self.sink,
        )
        graph.configure()
        self.graph = graph

    def __call__(self, picture: Plane, number: int) -> av.VideoFrame:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        self.source.push(frame)
        large = self.sink.pull()
        assert isinstance(large, av.VideoFrame)  # noqa: S101 - for the type: a video graph gives pictures
        return large


class _Letters:
    """Blends lettering into frames; in whole numbers, since it is done for every pixel of every frame."""

    NEUTRAL = 128

    def __init__(self, letters: Lettering) -> None:
        self.top, self.rows = letters.top, letters.ink.shape[0]
        self.darken = 256 - letters.shade
        self.keep, self.add = 256 - letters.ink, letters.ink * 232
        grey = np.maximum(letters.ink, letters.shade // 3)[::2, ::2]
        self.keep_colour, self.add_colour = 256 - grey, grey * self.NEUTRAL

    def press(self, frame: av.VideoFrame) -> None:
        band = _plane(frame, 0)[self.top : self.top + self.rows]
        band[...] = (((band * self.darken) >> 8) * self.keep + self.add) >> 8
        for number in (1, 2):
            colour = _plane(frame, number)[self.top // 2 :][: self.keep_colour.shape[0]]
            colour[...] = (colour * self.keep_colour + self.add_colour) >> 8


def _plane(frame: av.VideoFrame, number: int) -> Plane:
    """One plane of a frame as an array that writes into the frame, without the padding of its rows."""
    plane = frame.planes[number]
    pixels: Plane = np.frombuffer(memoryview(plane), np.uint8)
    return pixels.reshape(plane.height, plane.line_size)[:, : plane.width]
