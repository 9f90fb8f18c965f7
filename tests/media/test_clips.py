"""A delivered clip is kept, re-encoded or rejected."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from providers.base import Unavailable, Unusable
from providers.media.clip_intake import ingest_clip
from providers.media.conformance import FilmSpec, check_film
from providers.media.intake import accept_clip
from providers.media.probe import read_layout

SIZE = {"width": 180, "height": 320}


async def test_a_conformant_clip_is_kept_byte_for_byte(clip, tmp_path):
    """A clip that matches the request is not changed."""
    path = clip()
    before = path.read_bytes()

    accepted = await accept_clip(path, seconds=1, **SIZE, into=tmp_path)

    assert (path, None, "kept") == (accepted.file, accepted.original, accepted.facts["how"])
    assert before == accepted.file.read_bytes()
    assert {name: accepted.facts[name] for name in ("seconds", "fps", "codec", "audio", "frames", "warnings")} == {
        "seconds": 1.0,
        "fps": 30,
        "codec": "h264",
        "audio": "aac",
        "frames": 30,
        "warnings": [],
    }
    assert list(tmp_path.iterdir()) == []


def test_a_conformant_clip_without_audio_is_kept(clip, tmp_path):
    """A film has silence in its place."""
    facts = ingest_clip(clip(channel_layout=None), tmp_path / "never", seconds=1, **SIZE)

    assert (facts["how"], facts["audio"], facts["lufs"], facts["warnings"]) == ("kept", None, None, ["It is silent."])


def truncate(size):
    return lambda path, data: path.write_bytes(data[: int(len(data) * size) if size > 0 else size])


def replace_with(content: bytes):
    return lambda path, _: path.write_bytes(content)


def damage(share_from: float, share_to: float, pattern: bytes):
    """Overwrite this part of the content (`mdat`) with the repeated pattern."""

    def write(path, data):
        content = data.index(b"mdat")
        start, end = (content + int((len(data) - content) * share) for share in (share_from, share_to))
        path.write_bytes(data[:start] + (pattern * (end - start))[: end - start] + data[end:])

    return write


def patch(kind: bytes, offset: int, value: int):
    """Overwrite four bytes of the first box of this kind."""

    def write(path, data):
        position = data.index(kind) + 4 + offset
        path.write_bytes(data[:position] + struct.pack(">I", value) + data[position + 4 :])

    return write


def damage_sample_sizes(path, data):
    """Overwrite the sizes of 25 frames in the index."""
    position = data.index(b"stsz") + 16
    sizes = b"".join(struct.pack(">I", 7) for _ in range(25))
    path.write_bytes(data[:position] + sizes + data[position + len(sizes) :])


def declare_an_endless_index(path, data):
    start = data.index(b"moov") - 4
    path.write_bytes(data[:start] + struct.pack(">I4sQ", 1, b"moov", 2**64 - 1) + data[start + 8 :])


def extend_with_zeros(path, data):
    path.write_bytes(data)
    os.truncate(path, 3 * 1024**3)


HTML = b"<!doctype html><html><body>502 Bad Gateway</body></html>" * 20

INVALID = {
    "empty file": ("clip_empty", {}, replace_with(b"")),
    "a web page": ("clip_not_mp4", {}, replace_with(HTML)),
    "JSON": ("clip_not_mp4", {}, replace_with(b'{"error": {"message": "not ready"}}')),
    "a DASH manifest": ("clip_not_mp4", {}, replace_with(b'<?xml version="1.0"?><MPD></MPD>')),
    "an HLS playlist": ("clip_not_mp4", {}, replace_with(b"#EXTM3U\n#EXTINF:4,\nhttp://127.0.0.1/secret.ts\n")),
    "a concat list of other files": ("clip_not_mp4", {}, replace_with(b"ffconcat version 1.0\nfile /etc/passwd\n")),
    "WebM": ("clip_not_mp4", {}, replace_with(b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01webm" * 9)),
    "PNG": ("clip_not_mp4", {}, replace_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0")),
    "three bytes": ("clip_not_mp4", {}, replace_with(b"\0\0\0")),
    "MP4 start, then a web page": ("clip_not_mp4", {}, lambda path, data: path.write_bytes(data[:32] + HTML)),
    "the first 20 bytes": ("clip_truncated", {}, lambda path, data: path.write_bytes(data[:20])),
    "the first half": ("clip_truncated", {}, truncate(0.5)),
    "all but one byte": ("clip_truncated", {}, truncate(-1)),
    "the first half, index last": ("clip_truncated", {"movflags": ""}, truncate(0.5)),
    "an index longer than any file": ("clip_truncated", {}, declare_an_endless_index),
    "garbage in the middle": ("clip_corrupt", {}, damage(0.3, 0.35, bytes(range(255, 0, -7)))),
    "zeros in the middle": ("clip_corrupt", {}, damage(0.4, 0.5, b"\0")),
    "wrong sample sizes in the index": ("clip_corrupt", {}, damage_sample_sizes),
    "3 GiB of trailing zeros": ("clip_too_large", {}, extend_with_zeros),
    "frames too large": ("clip_too_large", {"width": 2400, "height": 32, "seconds": 0.1}, None),
    "ten hours in four frames": ("clip_too_large", {"frame_times": (0, 10**5, 5 * 10**5, 1080000)}, None),
    "five streams": ("clip_too_large", {"video_streams": 3, "audio_streams": 2, "seconds": 0.5}, None),
    "audio only": ("clip_wrong_format", {"video_streams": 0}, None),
    "less than half the length": ("clip_wrong_length", {"seconds": 0.3}, None),
}


@pytest.mark.parametrize("case", INVALID)
async def test_an_invalid_clip_is_rejected_with_a_specific_code(case, clip, tmp_path):
    """Corrupt, foreign and oversized files are rejected, and the code states the reason."""
    code, properties, corrupt = INVALID[case]
    path, into = tmp_path / "delivered.mp4", tmp_path / "into"
    into.mkdir()
    (corrupt or Path.write_bytes)(path, clip(**properties).read_bytes())

    with pytest.raises(Unusable) as raised:
        await accept_clip(path, seconds=1, **SIZE, into=into)

    assert code == raised.value.code
    assert list(into.iterdir()) == []


def append_bytes(path, data):
    path.write_bytes(data + b"garbage after the end")


FAULTS = {
    "index last": ({"movflags": ""}, None),
    "fragmented": ({"movflags": "+frag_keyframe+empty_moov"}, None),
    "trailing bytes": ({}, append_bytes),
    "wrong duration in the movie header": ({}, patch(b"mvhd", 16, 0x7FFFFFFF)),
    "two video and two audio streams": ({"video_streams": 2, "audio_streams": 2}, None),
    "untagged color": ({"color": 2}, None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_container_fault_is_repaired(fault, clip, tmp_path):
    """The clip is re-encoded: it has the same number of frames, and a clean container."""
    properties, corrupt = FAULTS[fault]
    path, target = tmp_path / "delivered.mp4", tmp_path / "clip.mp4"
    (corrupt or Path.write_bytes)(path, clip(**properties).read_bytes())

    facts = ingest_clip(path, target, seconds=1, **SIZE)

    assert (facts["how"], facts["frames"]) == ("re-encoded", 30)
    layout = read_layout(target)
    assert (layout.is_faststart, layout.trailing_bytes, layout.has_edit_list) == (True, 0, False)
    with av.open(str(target)) as container:
        video = container.streams.video[0]
        assert (len(container.streams), video.color_trc, video.frames) == (2, 1, 30)
    assert mean_luma(target) == pytest.approx(mean_luma(path), abs=1)
    assert ingest_clip(target, tmp_path / "never", seconds=1, **SIZE)["how"] == "kept"


def mean_luma(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray()[:320, :180].mean() for frame in container.decode(video=0)]


OTHER_FORMATS = {
    "24 fps, mono, 44.1 kHz, landscape": {
        "fps": 24, "channel_layout": "mono", "sample_rate": 44_100, "width": 320, "height": 180,
    },
    "10 bit": {"pixel_format": "yuv420p10le"},
    "4:4:4 chroma": {"pixel_format": "yuv444p"},
    "HEVC": {"codec": "libx265"},
    "variable frame rate": {"frame_times": tuple(n + n // 10 for n in range(27))},
    "non-square pixels": {"sample_aspect_ratio": Fraction(4, 3)},
    "BT.601": {"color": 6},
    "another size": {"width": 360, "height": 640},
    "rotated": {"width": 320, "height": 180, "rotation": 90},
    "no audio, 24 fps": {"fps": 24, "channel_layout": None},
    "too long": {"seconds": 1.6},
    "interlaced": {"is_interlaced": True},
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_FORMATS)
def test_another_format_is_re_encoded(case, clip, tmp_path):
    """Any decodable format becomes H.264 at 30 fps in the requested size, with audio."""
    target = tmp_path / "clip.mp4"

    facts = ingest_clip(clip(**OTHER_FORMATS[case]), target, seconds=1, **SIZE)

    assert (facts["how"], facts["fps"], facts["audio"]) == ("re-encoded", 30, "aac")
    assert abs(facts["seconds"] - 1) <= 0.05
    ignored_rules = {"whole_file", "length", "bitrate", "loudness", "true_peak", "frozen"}
    results = check_film(target, FilmSpec(facts["seconds"], **SIZE))
    assert [result for result in results if not result.ok and result.rule not in ignored_rules] == []
    assert ingest_clip(target, tmp_path / "never", seconds=1, **SIZE)["how"] == "kept"


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_rotated_clip_is_re_encoded_upright(rotation, clip, tmp_path):
    """The edge that a player displays at the top is at the top of the new frames."""
    size = {"width": 320, "height": 180} if abs(rotation) == 90 else {}
    target = tmp_path / "clip.mp4"

    ingest_clip(clip(**size, rotation=rotation), target, seconds=1, **SIZE)

    # The rotation moves the bright top edge of the stored frame to another side.
    edges = {90: "left", -90: "right", 180: "bottom"}
    with av.open(str(target)) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:320, :180]
    sides = {"left": luma[40:-40, :8], "right": luma[40:-40, -8:], "bottom": luma[-8:, 40:-40], "top": luma[:8, 40:-40]}
    assert edges[rotation] == max(sides, key=lambda edge: sides[edge].mean())


def test_a_black_silent_clip_is_accepted_with_warnings(clip, tmp_path):
    """A black, frozen or silent clip may be intended, so the reviewer gets a warning."""
    facts = ingest_clip(
        clip(luma=16, is_moving=False, amplitude=0.0, seconds=2.0), tmp_path / "clip.mp4", seconds=2, **SIZE
    )

    words = [next(word for word in ("black", "change", "silent") if word in warning) for warning in facts["warnings"]]
    assert (words, facts["lufs"]) == (["black", "change", "silent"], None)


async def test_a_re_encoded_clip_is_returned_with_its_original(clip, tmp_path):
    """The delivered file is kept together with the new one."""
    path = clip(fps=24)

    accepted = await accept_clip(path, seconds=1, **SIZE, into=tmp_path)

    assert (path, "re-encoded") == (accepted.original, accepted.facts["how"])
    assert [accepted.file] == list(tmp_path.iterdir())


async def test_a_clip_that_takes_too_long_to_decode_is_rejected(clip, tmp_path):
    """The time to decode a clip is limited."""
    with pytest.raises(Unusable, match="too long to decode"):
        await accept_clip(clip(), seconds=1, **SIZE, into=tmp_path, limit_seconds=0.01)

    assert list(tmp_path.iterdir()) == []


async def test_a_failed_subprocess_does_not_reject_the_clip(clip, tmp_path, monkeypatch):
    """When the subprocess cannot start, the clip can be checked again later."""
    monkeypatch.setattr("sys.executable", "/bin/false")

    with pytest.raises(Unavailable):
        await accept_clip(clip(), seconds=1, **SIZE, into=tmp_path)

    assert list(tmp_path.iterdir()) == []
