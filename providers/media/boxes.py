"""The boxes an MP4 file is made of, walked without decoding anything."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from providers.media.errors import BadClip

#: What may lie at the top of an MP4 file. Anything else after a complete film is rubbish and not a box.
KINDS = frozenset(
    {"ftyp", "styp", "pdin", "moov", "mdat", "moof", "mfra", "sidx", "ssix"}
    | {"free", "skip", "wide", "uuid", "meta", "udta", "emsg", "prft"}
)
MAX_BOXES = 4096
MAX_INDEX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Box:
    """One box: its four letters, and where it lies in bytes, header included."""

    kind: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after it; beyond the end of a file that was cut off."""
        return self.start + self.size


@dataclass(frozen=True)
class Shape:
    """How a whole MP4 file is laid out."""

    kinds: tuple[str, ...]
    brand: str
    #: Bytes after the last box that are no box.
    tail: int
    edit_lists: int
    #: What the film's own header claims; None when the header is not understood.
    claimed_seconds: float | None

    @property
    def faststart(self) -> bool:
        """Whether the index comes before what it tells of."""
        return self.kinds.index("moov") < self.kinds.index("mdat")

    @property
    def fragmented(self) -> bool:
        """Whether the index is spread over the file."""
        return "moof" in self.kinds


def walk(path: Path) -> list[Box]:
    """The top boxes of the file in order, up to the first bytes that are no box. Reads headers only.

    Raises BadClip where there are more boxes than any real film has.
    """
    size = path.stat().st_size
    boxes: list[Box] = []
    position = 0
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            header = file.read(16)
            length, name = struct.unpack(">I4s", header[:8])
            kind = name.decode("latin-1")
            if length == 1 and len(header) == 16:
                length = struct.unpack(">Q", header[8:])[0]
            elif length == 0:
                length = size - position
            if kind not in KINDS or length < 8:
                break
            if len(boxes) == MAX_BOXES:
                raise BadClip("clip_too_large", "The file has more boxes than a clip can need.")
            boxes.append(Box(kind, position, length))
            position += length
    return boxes


def shape(path: Path) -> Shape:
    """The layout of a complete MP4 file.

    Raises BadClip: `clip_empty`, `clip_not_mp4`, `clip_truncated` or `clip_too_large`.
    """
    size = path.stat().st_size
    if size == 0:
        raise BadClip("clip_empty", "The clip is an empty file.")
    boxes = walk(path)
    if not boxes or boxes[0].kind != "ftyp":
        raise BadClip("clip_not_mp4", "The clip is not an MP4 file.")
    if boxes[-1].end > size:
        raise BadClip("clip_truncated", "The clip ends in the middle: it was not delivered whole.")
    kinds = tuple(box.kind for box in boxes)
    tail = size - boxes[-1].end
    if "moov" not in kinds or "mdat" not in kinds:
        if tail:
            raise BadClip("clip_not_mp4", "The clip begins like an MP4 file and goes on as something else.")
        raise BadClip("clip_truncated", "The clip has no index or no content: it was not delivered whole.")
    index = _content(path, next(box for box in boxes if box.kind == "moov"))
    return Shape(
        kinds=kinds,
        brand=_content(path, boxes[0])[:4].decode("latin-1"),
        tail=tail,
        edit_lists=sum(1 for _ in _inside(index, "trak", "edts", "elst")),
        claimed_seconds=next((_movie_seconds(header) for header in _inside(index, "mvhd")), None),
    )


def _content(path: Path, box: Box) -> bytes:
    """What is in a box, without its header."""
    if box.size > MAX_INDEX_BYTES:
        raise BadClip("clip_too_large", "The clip's index is larger than a clip can need.")
    with path.open("rb") as file:
        file.seek(box.start)
        data = file.read(box.size)
    return data[16:] if data[:4] == b"\0\0\0\1" else data[8:]


def _inside(data: bytes, kind: str, *deeper: str) -> Iterator[bytes]:
    """The contents of the boxes found by going down from `data` by these names."""
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if length < 8:
            return
        if name == kind.encode():
            content = data[position + 8 : position + length]
            if deeper:
                yield from _inside(content, *deeper)
            else:
                yield content
        position += length


def _movie_seconds(header: bytes) -> float | None:
    """The length in seconds an `mvhd` box claims."""
    form = ">QQIQ" if header[:1] == b"\1" else ">IIII"
    try:
        _, _, scale, length = struct.unpack_from(form, header, 4)
    except struct.error:
        return None
    return length / scale if scale else None
