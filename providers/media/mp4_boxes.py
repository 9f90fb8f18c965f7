"""Read the box structure of an MP4 file without decoding it (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from providers.media.errors import InvalidClip

#: Boxes allowed at the top level of an MP4 file. Other bytes after a complete film are trailing garbage.
TOP_LEVEL_KINDS = frozenset(
    {"ftyp", "styp", "pdin", "moov", "mdat", "moof", "mfra", "sidx", "ssix"}
    | {"free", "skip", "wide", "uuid", "meta", "udta", "emsg", "prft"}
)
MAX_BOXES = 4096
MAX_INDEX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Box:
    """One box: its four-letter kind, and its offset and size in bytes, header included."""

    kind: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """Return the offset of the first byte after the box; beyond the end of a truncated file."""
        return self.start + self.size


@dataclass(frozen=True)
class Mp4Layout:
    """The top-level structure of an MP4 file."""

    box_kinds: tuple[str, ...]
    major_brand: str
    #: Bytes after the last box.
    trailing_bytes: int
    edit_list_count: int
    #: Duration in the movie header (`mvhd`); None when the header cannot be parsed.
    declared_seconds: float | None

    @property
    def is_faststart(self) -> bool:
        """Return whether the index (`moov`) precedes the content (`mdat`)."""
        return self.box_kinds.index("moov") < self.box_kinds.index("mdat")

    @property
    def is_fragmented(self) -> bool:
        """Return whether the index is split into movie fragments (`moof`)."""
        return "moof" in self.box_kinds


def list_boxes(path: Path) -> list[Box]:
    """Return the top-level boxes in file order, up to the first bytes that are not a box. Reads headers only.

    Raises InvalidClip when there are more than `MAX_BOXES`.
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
            if kind not in TOP_LEVEL_KINDS or length < 8:
                break
            if len(boxes) == MAX_BOXES:
                raise InvalidClip("clip_too_large", f"The clip has more than {MAX_BOXES} MP4 boxes.")
            boxes.append(Box(kind, position, length))
            position += length
    return boxes


def read_layout(path: Path) -> Mp4Layout:
    """Return the layout of a complete MP4 file.

    Raises InvalidClip: `clip_empty`, `clip_not_mp4`, `clip_truncated` or `clip_too_large`.
    """
    size = path.stat().st_size
    if size == 0:
        raise InvalidClip("clip_empty", "The clip is an empty file.")
    boxes = list_boxes(path)
    _check_boxes(boxes, size)
    movie = _read_content(path, next(box for box in boxes if box.kind == "moov"))
    return Mp4Layout(
        box_kinds=tuple(box.kind for box in boxes),
        major_brand=_read_content(path, boxes[0])[:4].decode("latin-1"),
        trailing_bytes=size - boxes[-1].end,
        edit_list_count=sum(1 for _ in _find_boxes(movie, "trak", "edts", "elst")),
        declared_seconds=next((_parse_duration(header) for header in _find_boxes(movie, "mvhd")), None),
    )


def _check_boxes(boxes: list[Box], size: int) -> None:
    if not boxes or boxes[0].kind != "ftyp":
        raise InvalidClip("clip_not_mp4", "The clip is not an MP4 file.")
    if boxes[-1].end > size:
        raise InvalidClip("clip_truncated", "The clip is truncated: its last MP4 box is incomplete.")
    if {"moov", "mdat"} <= {box.kind for box in boxes}:
        return
    if boxes[-1].end < size:
        raise InvalidClip("clip_not_mp4", "The clip starts like an MP4 file and continues with other data.")
    raise InvalidClip("clip_truncated", "The clip is truncated: its index or its content is missing.")


def _read_content(path: Path, box: Box) -> bytes:
    """Return the bytes of a box without its header."""
    if box.size > MAX_INDEX_BYTES:
        raise InvalidClip("clip_too_large", f"The clip's index is larger than {MAX_INDEX_BYTES // 2**20} MiB.")
    with path.open("rb") as file:
        file.seek(box.start)
        data = file.read(box.size)
    return data[16:] if data[:4] == b"\0\0\0\1" else data[8:]


def _find_boxes(data: bytes, kind: str, *nested_kinds: str) -> Iterator[bytes]:
    """Yield the contents of all boxes at this path of kinds below `data`."""
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if length < 8:
            return
        if name == kind.encode():
            content = data[position + 8 : position + length]
            if nested_kinds:
                yield from _find_boxes(content, *nested_kinds)
            else:
                yield content
        position += length


def _parse_duration(header: bytes) -> float | None:
    """Return the duration in seconds of an `mvhd` box."""
    layout = ">QQIQ" if header[:1] == b"\1" else ">IIII"
    try:
        _, _, timescale, duration = struct.unpack_from(layout, header, 4)
    except struct.error:
        return None
    return duration / timescale if timescale else None
