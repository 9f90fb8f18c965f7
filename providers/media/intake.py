"""A delivered file becomes a clip we can use, or is refused: the work of `clips.accept_clip`, in a child."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.stream import Stream

from providers.media import leash
from providers.media.boxes import Shape, shape
from providers.media.errors import BadClip
from providers.media.loudness import RATE, SILENT_LUFS, integrated_lufs
from providers.media.picture import pictures
from providers.media.probe import Decoded, Fields, decode, fields, open_mp4, picture_stream
from providers.media.sound import encode_aac, silence, sound_of
from providers.media.writer import MP4_OPTIONS, write_mp4

FPS = 30
#: How much shorter than asked a clip may be: a film holds its last picture that long.
SHORTER = 0.25
#: How much longer: the rest is cut off, which costs nothing.
LONGER = 1.0

_PROFILES = ("High", "Main", "Constrained Baseline")
_TAG = "h264_metadata=video_full_range_flag=0:colour_primaries=1:transfer_characteristics=1:matrix_coefficients=1"


def take(path: Path, target: Path, *, seconds: float, width: int, height: int) -> dict[str, Any]:
    """Judge the file, and write a clip of these seconds and pixels to `target` unless it is one already.

    Returns the clip's facts; `how` is "kept" (nothing written), "remuxed" or "re-encoded". Raises BadClip.
    """
    layout = shape(path)
    said = fields(path)
    found = decode(path)
    frames = found.watched.frames
    if said.frames and frames + found.unshown != said.frames:
        raise BadClip("clip_corrupt", f"Only {frames} of the clip's {said.frames} pictures can be decoded.")
    if not seconds - SHORTER <= found.seconds <= seconds + LONGER:
        raise BadClip("clip_wrong_length", f"The clip lasts {found.seconds:.2f} s and not {seconds:g} s.")
    if not _picture_conforms(said, found, seconds, width, height) or not _sound_conforms(said):
        how, frames = "re-encoded", round(min(found.seconds, seconds) * FPS)
        _encode(path, target, frames, width, height, silent=found.sound is None)
    elif not _layout_conforms(layout, said, found):
        how = "remuxed"
        _remux(path, target, tag=said.colour == "untagged")
    else:
        how = "kept"
    return {
        "seconds": round(frames / FPS, 3),
        "width": width,
        "height": height,
        "fps": FPS,
        "codec": "h264",
        "audio": None if found.sound is None and how != "re-encoded" else "aac",
        "frames": frames,
        "lufs": _lufs(found),
        "how": how,
        "warnings": _warnings(found),
    }


def _picture_conforms(said: Fields, found: Decoded, seconds: float, width: int, height: int) -> bool:
    return (
        said.codec == "h264"
        and said.profile in _PROFILES
        and said.pixels == "yuv420p"
        and (said.width, said.height) == (width, height)
        and said.square_pixels
        and said.colour != "other"
        and found.rotation == 0
        and found.steady
        and abs(found.seconds - seconds) <= SHORTER
    )


def _sound_conforms(said: Fields) -> bool:
    # A film brings 44.1 kHz and mono to its own sound anyway; that is no reason to lose a generation.
    return said.sound_codec is None or (
        said.sound_codec == "aac" and said.sound_rate in (44_100, RATE) and said.sound_channels in (1, 2)
    )


def _layout_conforms(layout: Shape, said: Fields, found: Decoded) -> bool:
    return (
        layout.faststart
        and not layout.fragmented
        and not layout.tail
        and layout.brand != "qt  "
        and said.streams == (1 if said.sound_codec is None else 2)
        and said.colour == "bt709"
        and said.frames == found.watched.frames
        and layout.claimed_seconds is not None
        and abs(layout.claimed_seconds - found.seconds) < 1
    )


def _remux(path: Path, target: Path, *, tag: bool) -> None:
    """Put the same picture and sound into a container without faults; untagged colour is told to be BT.709."""
    with open_mp4(path) as source, av.open(str(target), "w", format="mp4", options=MP4_OPTIONS) as result:
        picture = picture_stream(source)
        streams: list[Stream] = [picture, *source.streams.audio[:1]]
        copies = {stream.index: result.add_stream_from_template(stream) for stream in streams}
        tags = BitStreamFilterContext(_TAG, picture, copies[picture.index]) if tag else None
        for packet in source.demux(*streams):
            for part in _tagged(packet, tags if packet.stream is picture else None):
                part.stream = copies[packet.stream.index]
                result.mux(part)


def _tagged(packet: Packet[Stream], tags: BitStreamFilterContext | None) -> Iterator[Packet[Stream]]:
    if packet.dts is None:  # the empty packet at the end
        return
    if tags is None:
        yield packet
    else:
        yield from tags.filter(packet)


def _encode(path: Path, target: Path, frames: int, width: int, height: int, *, silent: bool) -> None:
    seconds = frames / FPS
    write_mp4(
        target,
        pictures(path, frames=frames, fps=FPS, width=width, height=height),
        encode_aac(silence(seconds) if silent else sound_of(path, seconds)),
        width=width,
        height=height,
        fps=FPS,
    )


def _lufs(found: Decoded) -> float | None:
    lufs = SILENT_LUFS if found.sound is None else integrated_lufs(found.sound)
    return round(lufs, 1) if lufs > SILENT_LUFS else None


def _warnings(found: Decoded) -> list[str]:
    fps = found.watched.frames / found.seconds
    seen = {
        "black": found.watched.mostly_black(fps),
        "frozen": found.watched.frozen(fps),
        "silent": _lufs(found) is None,
    }
    return [warning for warning, is_so in seen.items() if is_so]


def _take(order: leash.Order, _: leash.Progress) -> dict[str, Any]:
    return take(
        Path(order["path"]),
        Path(order["target"]),
        seconds=order["seconds"],
        width=order["width"],
        height=order["height"],
    )


if __name__ == "__main__":
    leash.work(_take)
