"""Read the top-level boxes of an MP4 file without decoding it (ISO/IEC 14496-12)."""

import struct
from dataclasses import dataclass
from pathlib import Path

from providers.media.errors import InvalidClip

#: Boxes allowed at the top level of an MP4 file. Other bytes after a complete film are trailing garbage.
TOP_LEVEL_KINDS = frozenset(
    b"ftyp styp pdin moov mdat moof mfra sidx ssix free skip wide uuid meta udta emsg prft".split()
)


@dataclass(frozen=True)
class Mp4Layout:
    """The top-level structure of an MP4 file."""

    box_kinds: list[bytes]
    #: Bytes after the last box; negative if that box is incomplete.
    trailing_bytes: int
    has_edit_list: bool
    #: The length in the movie header, which players display.
    declared_seconds: float

    @property
    def is_faststart(self) -> bool:
        """Return whether the complete index (`moov`) precedes the content (`mdat`)."""
        return b"moof" not in self.box_kinds and self.box_kinds.index(b"moov") < self.box_kinds.index(b"mdat")


def read_layout(path: Path) -> Mp4Layout:
    """Return the layout of a complete MP4 file.

    Raises InvalidClip: `clip_empty`, `clip_not_mp4` or `clip_truncated`.
    """
    size, end, kinds, index = path.stat().st_size, 0, list[bytes](), b""
    with path.open("rb") as file:
        while end + 8 <= size:
            file.seek(end)
            length, kind, long_length = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            length = {0: size - end, 1: long_length}.get(length, length)
            if kind not in TOP_LEVEL_KINDS or length < 8:
                break
            if kind == b"moov":
                file.seek(end)
                index = file.read(length)
            kinds.append(kind)
            end += length
    _check_boxes(kinds, size, size - end)
    return Mp4Layout(kinds, size - end, b"elst" in index, _read_duration(index))


def _read_duration(index: bytes) -> float:
    start = index.find(b"mvhd") + 4
    try:
        *_, scale, duration = struct.unpack_from(
            ">QQIQ" if index[start : start + 1] == b"\1" else ">IIII", index, start + 4
        )
    except struct.error:
        return 0.0
    return float(duration / max(scale, 1))


def _check_boxes(kinds: list[bytes], size: int, trailing_bytes: int) -> None:
    if size == 0:
        raise InvalidClip("clip_empty", "The clip is an empty file.")
    if kinds[:1] != [b"ftyp"]:
        raise InvalidClip("clip_not_mp4", "The clip is not an MP4 file.")
    is_complete = {b"moov", b"mdat"} <= set(kinds)
    if trailing_bytes > 0 and not is_complete:
        raise InvalidClip("clip_not_mp4", "The clip starts like an MP4 file and continues with other data.")
    if trailing_bytes < 0 or not is_complete:
        raise InvalidClip("clip_truncated", "The clip is truncated: its index or its content is incomplete.")
