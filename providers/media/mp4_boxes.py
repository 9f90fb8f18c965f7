"""Read the box structure of an MP4 file without decoding it (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import BinaryIO

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
    """One box: its four-letter kind, its offset, its size in bytes, header included, and the size of its header."""

    kind: str
    start: int
    size: int
    header_size: int

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
    with path.open("rb") as file:
        found = takewhile(lambda box: box.kind in TOP_LEVEL_KINDS, _iterate_boxes(file, 0, path.stat().st_size))
        boxes = list(islice(found, MAX_BOXES + 1))
    if len(boxes) > MAX_BOXES:
        raise InvalidClip("clip_too_large", f"The clip has more than {MAX_BOXES} MP4 boxes.")
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
    movie = next(box for box in boxes if box.kind == "moov")
    if movie.size > MAX_INDEX_BYTES:
        raise InvalidClip("clip_too_large", f"The clip's index is larger than {MAX_INDEX_BYTES // 2**20} MiB.")
    with path.open("rb") as file:
        return Mp4Layout(
            box_kinds=tuple(box.kind for box in boxes),
            major_brand=_read_content(file, boxes[0], 4).decode("latin-1"),
            trailing_bytes=size - boxes[-1].end,
            edit_list_count=sum(1 for _ in _find_boxes(file, movie, "trak", "edts", "elst")),
            declared_seconds=next((_read_duration(file, header) for header in _find_boxes(file, movie, "mvhd")), None),
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


def _iterate_boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets of the file, up to the first bytes that are not a box."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        size, kind = struct.unpack_from(">I4s", header)
        header_size = 8
        if size == 1 and len(header) == 16:  # a size of 64 bits follows
            size, header_size = struct.unpack(">Q", header[8:])[0], 16
        elif size == 0:  # the box extends to the end
            size = end - start
        if size < 8:
            return
        yield Box(kind.decode("latin-1"), start, size, header_size)
        start += size


def _find_boxes(file: BinaryIO, parent: Box, kind: str, *nested_kinds: str) -> Iterator[Box]:
    """Yield all boxes at this path of kinds below `parent`, of at most `MAX_BOXES` boxes in each."""
    for box in islice(_iterate_boxes(file, parent.start + parent.header_size, parent.end), MAX_BOXES):
        if box.kind == kind and box.end <= parent.end:
            yield from _find_boxes(file, box, *nested_kinds) if nested_kinds else [box]


def _read_content(file: BinaryIO, box: Box, size: int) -> bytes:
    """Return up to `size` bytes that follow the header of the box."""
    file.seek(box.start + box.header_size)
    return file.read(size)


def _read_duration(file: BinaryIO, header: Box) -> float | None:
    """Return the duration in seconds in a movie header (`mvhd`)."""
    content = _read_content(file, header, 32)
    layout = ">QQIQ" if content[:1] == b"\1" else ">IIII"
    try:
        _, _, timescale, duration = struct.unpack_from(layout, content, 4)
    except struct.error:
        return None
    return duration / timescale if timescale else None
