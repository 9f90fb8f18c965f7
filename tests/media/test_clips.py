"""A delivered clip is kept, mended, coded anew or refused."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from providers.base import Unavailable
from providers.media.boxes import shape, walk
from providers.media.clips import BadClip, accept_clip
from providers.media.conform import final_video_conforms
from providers.media.intake import take
from providers.media.probe import fields

SIZE = {"width": 180, "height": 320}


async def test_a_conformant_clip_is_kept_byte_for_byte(clip, tmp_path):
    """A clip that is as asked is not touched."""
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


def box(path: Path, kind: str):
    return next(found for found in walk(path) if found.kind == kind)


def cut(size):
    return lambda path, data: path.write_bytes(data[: int(len(data) * size) if size > 0 else size])


def say(content: bytes):
    return lambda path, _: path.write_bytes(content)


def damage(share_from: float, share_to: float, with_: bytes):
    def do(path, data):
        path.write_bytes(data)
        mdat = box(path, "mdat")
        start, end = (mdat.start + int(mdat.size * share) for share in (share_from, share_to))
        path.write_bytes(data[:start] + (with_ * (end - start))[: end - start] + data[end:])

    return do


def patch(kind: bytes, offset: int, value: int):
    """Overwrite four bytes of the first box of this kind."""

    def do(path, data):
        at = data.index(kind) + 4 + offset
        path.write_bytes(data[:at] + struct.pack(">I", value) + data[at + 4 :])

    return do


def damage_sizes(path, data):
    """Every second picture's length in the index is wrong."""
    at = data.index(b"stsz") + 16
    sizes = b"".join(struct.pack(">I", 7) for _ in range(25))
    path.write_bytes(data[:at] + sizes + data[at + len(sizes) :])


def add_nothing_but_length(path, data):
    path.write_bytes(data)
    os.truncate(path, 3 * 1024**3)


HTML = b"<!doctype html><html><body>502 Bad Gateway</body></html>" * 20

BROKEN = {
    "nothing": ("clip_empty", {}, say(b"")),
    "a web page": ("clip_not_mp4", {}, say(HTML)),
    "JSON": ("clip_not_mp4", {}, say(b'{"error": {"message": "not ready"}}')),
    "a DASH manifest": ("clip_not_mp4", {}, say(b'<?xml version="1.0"?><MPD></MPD>')),
    "an HLS playlist": ("clip_not_mp4", {}, say(b"#EXTM3U\n#EXTINF:4,\nhttp://127.0.0.1/secret.ts\n")),
    "a list of other files": ("clip_not_mp4", {}, say(b"ffconcat version 1.0\nfile /etc/passwd\n")),
    "WebM": ("clip_not_mp4", {}, say(b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01webm" * 9)),
    "PNG": ("clip_not_mp4", {}, say(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0")),
    "three bytes": ("clip_not_mp4", {}, say(b"\0\0\0")),
    "MP4 that goes on as a web page": ("clip_not_mp4", {}, lambda path, data: path.write_bytes(data[:32] + HTML)),
    "the first 20 bytes": ("clip_truncated", {}, lambda path, data: path.write_bytes(data[:20])),
    "the first half": ("clip_truncated", {}, cut(0.5)),
    "all but one byte": ("clip_truncated", {}, cut(-1)),
    "the first half, index last": ("clip_truncated", {"movflags": ""}, cut(0.5)),
    "rubbish in the middle": ("clip_corrupt", {}, damage(0.3, 0.35, bytes(range(255, 0, -7)))),
    "zeros in the middle": ("clip_corrupt", {}, damage(0.4, 0.5, b"\0")),
    "wrong lengths in the index": ("clip_corrupt", {}, damage_sizes),
    "a tail of zeros without end": ("clip_too_large", {}, add_nothing_but_length),
    "pictures too large": ("clip_too_large", {"width": 2400, "height": 32, "seconds": 0.1}, None),
    "ten hours in four pictures": ("clip_too_large", {"times": (0, 10**5, 5 * 10**5, 1080000)}, None),
    "five streams": ("clip_too_large", {"videos": 3, "sounds": 2, "seconds": 0.5}, None),
    "sound alone": ("clip_wrong_format", {"videos": 0}, None),
    "half the length": ("clip_wrong_length", {"seconds": 0.5}, None),
    "twice the length": ("clip_wrong_length", {"seconds": 2.5}, None),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_clip_that_cannot_be_used_is_refused_with_its_own_code(what, clip, tmp_path):
    """Nothing broken, foreign or monstrous gets in, and the refusal says which it was."""
    code, recipe, breaking = BROKEN[what]
    path, into = tmp_path / "delivered.mp4", tmp_path / "into"
    into.mkdir()
    (breaking or Path.write_bytes)(path, clip(**recipe).read_bytes())

    with pytest.raises(BadClip) as refused:
        await accept_clip(path, seconds=1, **SIZE, into=into)

    assert code == refused.value.code
    assert list(into.iterdir()) == []


def with_tail(path, data):
    path.write_bytes(data + b"rubbish after the end")


FAULTS = {
    "index last": ({"movflags": ""}, None),
    "fragmented": ({"movflags": "+frag_keyframe+empty_moov"}, None),
    "bytes after the end": ({}, with_tail),
    "a header that lies about the length": ({}, patch(b"mvhd", 16, 0x7FFFFFFF)),
    "two pictures and two sounds": ({"videos": 2, "sounds": 2}, None),
    "colour not told": ({"colour": 2}, None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_container_is_mended_without_coding(fault, clip, tmp_path):
    """The pictures stay the same to the last bit; only what is around them changes."""
    recipe, breaking = FAULTS[fault]
    path, target = tmp_path / "delivered.mp4", tmp_path / "clip.mp4"
    (breaking or Path.write_bytes)(path, clip(**recipe).read_bytes())

    facts = take(path, target, seconds=1, **SIZE)

    assert (facts["how"], facts["frames"]) == ("remuxed", 30)
    assert pixels(path) == pixels(target)
    layout, said = shape(target), fields(target)
    assert (layout.faststart, layout.fragmented, layout.tail) == (True, False, 0)
    assert (said.streams, said.colour, said.frames) == (2, "bt709", 30)
    assert take(target, tmp_path / "never", seconds=1, **SIZE)["how"] == "kept"


def pixels(path):
    with av.open(str(path)) as container:
        return [hash(frame.to_ndarray().tobytes()) for frame in container.decode(video=0)]


STRANGE = {
    "24 fps, mono, 44.1 kHz, landscape": {
        "fps": 24, "layout": "mono", "sound_rate": 44_100, "width": 320, "height": 180,
    },
    "ten bits": {"pixels": "yuv420p10le"},
    "full colour": {"pixels": "yuv444p"},
    "HEVC": {"codec": "libx265"},
    "uneven times": {"times": tuple(n + n // 10 for n in range(27))},
    "oblong pixels": {"square": Fraction(4, 3)},
    "BT.601": {"colour": 6},
    "another size": {"width": 360, "height": 640},
    "lying on its side": {"width": 320, "height": 180, "rotation": 90},
    "no sound, 24 fps": {"fps": 24, "layout": None},
    "a little too long": {"seconds": 1.6},
}  # fmt: skip


@pytest.mark.parametrize("what", STRANGE)
def test_another_format_is_coded_anew_to_the_letter(what, clip, tmp_path):
    """Whatever can be decoded becomes 30 pictures a second of H.264 in the size asked, with sound."""
    target = tmp_path / "clip.mp4"

    facts = take(clip(**STRANGE[what]), target, seconds=1, **SIZE)

    assert (facts["how"], facts["fps"], facts["audio"]) == ("re-encoded", 30, "aac")
    assert abs(facts["seconds"] - 1) <= 0.05
    of_length = {"whole_file", "length", "bitrate", "loudness", "true_peak", "frozen"}
    findings = final_video_conforms(target, seconds=facts["seconds"], **SIZE)
    assert [finding for finding in findings if not finding.ok and finding.rule not in of_length] == []
    assert take(target, tmp_path / "never", seconds=1, **SIZE)["how"] == "kept"


@pytest.mark.parametrize("turned", [90, -90, 180])
def test_a_clip_lying_on_its_side_is_put_upright(turned, clip, tmp_path):
    """What a player shows on top is on top afterwards."""
    lying = {"width": 320, "height": 180} if abs(turned) == 90 else {}
    target = tmp_path / "clip.mp4"

    take(clip(**lying, rotation=turned), target, seconds=1, **SIZE)

    # Upright, the bright edge of the stored picture's top has gone where the turn takes it.
    edges = {90: "left", -90: "right", 180: "bottom"}
    with av.open(str(target)) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:320, :180]
    seen = {"left": luma[40:-40, :8], "right": luma[40:-40, -8:], "bottom": luma[-8:, 40:-40], "top": luma[:8, 40:-40]}
    assert edges[turned] == max(seen, key=lambda edge: seen[edge].mean())


def test_a_black_silent_clip_is_taken_with_warnings(clip, tmp_path):
    """An empty-looking clip may be meant; whoever looks at it is told."""
    facts = take(clip(luma=16, moving=False, volume=0.0, seconds=2.0), tmp_path / "clip.mp4", seconds=2, **SIZE)

    assert (facts["warnings"], facts["lufs"]) == (["black", "frozen", "silent"], None)


async def test_a_clip_coded_anew_comes_with_its_original(clip, tmp_path):
    """The file as delivered is kept beside the one made from it."""
    path = clip(fps=24)

    accepted = await accept_clip(path, seconds=1, **SIZE, into=tmp_path)

    assert (path, "re-encoded") == (accepted.original, accepted.facts["how"])
    assert [accepted.file] == list(tmp_path.iterdir())


async def test_a_clip_that_takes_too_long_is_refused(clip, tmp_path):
    """No clip holds the house up."""
    with pytest.raises(BadClip, match="too long to decode"):
        await accept_clip(clip(), seconds=1, **SIZE, into=tmp_path, limit_seconds=0.01)

    assert list(tmp_path.iterdir()) == []


async def test_a_broken_off_judgement_is_not_the_clips_fault(clip, tmp_path, monkeypatch):
    """When our own child cannot even start, the clip is judged again later."""
    monkeypatch.setattr("sys.executable", "/bin/false")

    with pytest.raises(Unavailable):
        await accept_clip(clip(), seconds=1, **SIZE, into=tmp_path)

    assert list(tmp_path.iterdir()) == []
