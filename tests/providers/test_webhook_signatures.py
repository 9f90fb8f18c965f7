"""We verify as others sign, and nobody else gets in."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from providers.webhooks import (
    InvalidEvent,
    InvalidSignature,
    RenderEvent,
    Secret,
    VideoEvent,
    check_vectors,
    parse_secret,
    read_render_event,
    read_video_event,
    sign,
    verify_lambda,
    verify_signature,
)

VECTORS = Path(__file__).with_name("standard-webhooks-vectors.json")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
SECRET = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
OTHER = parse_secret("whsec_XP/v2c1PkJZEnisZ9xZPP0bxbqxOfGhfH1f5O8hfeHw=")
BODY = b'{"type":"video.completed","data":{"id":"video_1"}}'
RESULTS = list(check_vectors(VECTORS))


def test_every_vector_is_run() -> None:
    """The official vector and all 55 of ours are there, each under its own name."""
    assert len({name for name, _, _ in RESULTS}) == 56


@pytest.mark.parametrize(("name", "passed", "detail"), RESULTS, ids=[name for name, _, _ in RESULTS])
def test_vector(name: str, passed: bool, detail: str) -> None:
    """Each vector ends as its author meant it to."""
    assert passed, f"{name}: {detail}"


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    """A vector that does not end as expected is reported, with what happened instead."""
    vectors = json.loads(VECTORS.read_text())
    vectors["official_vectors"][0]["signature"] = "v1," + "A" * 43 + "="
    vectors["vectors"] = vectors["vectors"][:1]
    vectors["vectors"][0]["expect"] = "reject"
    changed = tmp_path / "vectors.json"
    changed.write_text(json.dumps(vectors))

    assert [result[1:] for result in check_vectors(changed)] == [(False, "reject"), (False, "accept")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("whsec_", "empty"),
        ("whsec_====", "empty"),
        ("whsec_c2hvcnQ=", "5 bytes"),
        ("whsec_" + "A" * 31, "23 bytes"),
        ("whsec_" + "A" * 31 + "!", "not base64"),
        ("whsec_" + "A" * 33, "not base64"),
        ("whsec_" + "é" * 32, "not base64"),
        ("whsk_" + "A" * 32, "not base64"),
    ],
)
def test_a_weak_secret_is_refused(text: str, says: str) -> None:
    """A secret that anybody could guess, or that was mistyped, stops the start with a sentence about it."""
    with pytest.raises(ValueError, match=says) as caught:
        parse_secret(text)

    assert text.strip() == "" or text not in str(caught.value)


def test_a_secret_reads_the_same_with_and_without_its_ornaments() -> None:
    """Prefix, padding and surrounding space do not change the key, and the key is never shown."""
    encoded = "q9/oxCbgMB+bDH7VBAjUEDWwcRLtmRDXPr8uFuuIIQ"
    keys = {parse_secret(text).key for text in (encoded, f"whsec_{encoded}==", f" whsec_{encoded}\n")}

    assert len(keys) == 1
    assert repr(SECRET) == "Secret()"


def test_what_we_sign_we_accept() -> None:
    """Our own headers verify, in any capitals, and give the id back."""
    headers = sign(SECRET, id="msg_1", at=NOW, body=BODY)

    assert verify_signature({k.title(): v for k, v in headers.items()}, BODY, [OTHER, SECRET], now=NOW) == "msg_1"


def test_the_time_zone_of_the_signer_does_not_matter() -> None:
    """The same moment in another zone makes the same headers; a naive time is refused."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))

    assert sign(SECRET, id="m", at=NOW, body=BODY) == sign(SECRET, id="m", at=elsewhere, body=BODY)
    with pytest.raises(ValueError, match="time zone"):
        sign(SECRET, id="m", at=NOW.replace(tzinfo=None), body=BODY)
    with pytest.raises(ValueError, match="dot"):
        sign(SECRET, id="a.b", at=NOW, body=BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "x" * 256},
        {"webhook-id": "a b"},
        {"webhook-id": "nul\x00"},
        {"webhook-id": "msg_1\n"},
        {"webhook-timestamp": "1795392000\n"},
        {"webhook-timestamp": "999999999999"},
        {"webhook-timestamp": "9" * 9000},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1," + "é" * 43 + "="},
    ],
)
def test_a_changed_header_is_one_calm_error(change: dict[str, str]) -> None:
    """Whatever a stranger writes into a header, it is not trusted and nothing else."""
    headers = sign(SECRET, id="msg_1", at=NOW, body=BODY) | change

    with pytest.raises(InvalidSignature) as caught:
        verify_signature(headers, BODY, [SECRET], now=NOW)

    assert caught.value.code == "invalid_signature"


def test_no_secret_and_no_text_are_refused() -> None:
    """Without secrets everything is forged; a body that is not UTF-8 was never signed by anybody."""
    with pytest.raises(InvalidSignature):
        verify_signature(sign(SECRET, id="m", at=NOW, body=BODY), BODY, [], now=NOW)
    with pytest.raises(InvalidSignature):
        verify_signature(sign(SECRET, id="m", at=NOW, body=BODY), b"\xff", [SECRET], now=NOW)


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    """Base64 leaves two bits over at the end of a signature; flipping them is not the same signature."""
    headers = sign(SECRET, id="m", at=NOW, body=BODY)
    signature = headers["webhook-signature"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    respelled = signature[:-2] + alphabet[alphabet.index(signature[-2]) ^ 1] + "="

    with pytest.raises(InvalidSignature):
        verify_signature(headers | {"webhook-signature": respelled}, BODY, [SECRET], now=NOW)


def lambda_signature(secret: Secret, body: bytes) -> str:
    return "sha512=" + hmac.new(secret.text.encode(), body, hashlib.sha512).hexdigest()


def test_remotion_lambda_is_accepted() -> None:
    """A Lambda signature under any current secret is accepted, over the raw bytes."""
    verify_lambda(lambda_signature(SECRET, BODY), BODY, [OTHER, SECRET])

    with pytest.raises(InvalidSignature):
        verify_lambda(lambda_signature(SECRET, BODY), BODY + b" ", [OTHER, SECRET])


@pytest.mark.parametrize("header", [None, "", "NO_SECRET_PROVIDED", "sha512=", "sha512=" + "0" * 128, "sha512=é"])
def test_remotion_lambda_without_a_secret_is_refused(header: str | None) -> None:
    """`NO_SECRET_PROVIDED` and everything like it never gets in."""
    with pytest.raises(InvalidSignature):
        verify_lambda(header, BODY, [SECRET])


def test_video_events_are_read() -> None:
    """Type and video id are taken; the event's own id where it is told."""
    full = b'{"id":"evt_1","object":"event","created_at":1,"type":"video.failed","data":{"id":"video_1"}}'

    assert VideoEvent("video.failed", "video_1", "evt_1") == read_video_event(full)
    assert VideoEvent("video.completed", "video_1") == read_video_event(BODY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"type":"video.completed"}',
        b'{"type":7,"data":{"id":"v"}}',
        b'{"type":"","data":{"id":"v"}}',
        b'{"data":{"id":"v"}}',
        b'{"type":"video.completed","data":[]}',
        b'{"type":"video.completed","data":{"id":""}}',
        b'{"type":"video.completed","data":{"id":"a\\u0000"}}',
        b'{"type":"video.completed","data":{"id":"\\ud800"}}',
        b'{"type":"video.completed","data":{"id":"' + b"x" * 4097 + b'"}}',
    ],
)
def test_a_video_event_without_meaning_is_refused(body: bytes) -> None:
    """What could not be stored or understood is refused under one code."""
    with pytest.raises(InvalidEvent) as caught:
        read_video_event(body)

    assert caught.value.code == "invalid_payload"


def test_render_events_are_read() -> None:
    """A finished render names its film, a failed one its reason where it has one."""
    done = b'{"render_id":"r1","status":"completed","output_url":"http://render/r1.mp4"}'

    assert RenderEvent("r1", "completed", output_url="http://render/r1.mp4") == read_render_event(done)
    assert RenderEvent("r1", "failed", error="no font") == read_render_event(
        b'{"render_id":"r1","status":"failed","error":"no font"}'
    )
    assert RenderEvent("r1", "failed") == read_render_event(b'{"render_id":"r1","status":"failed","error":{}}')


def test_remotion_lambda_is_understood() -> None:
    """Its words are others, and mean the same."""
    done = b'{"type":"success","renderId":"r1","outputUrl":"http://bucket/r1.mp4","bucketName":"b"}'

    assert RenderEvent("r1", "completed", output_url="http://bucket/r1.mp4") == read_render_event(done)
    assert RenderEvent("r1", "failed", error="timeout") == read_render_event(b'{"type":"timeout","renderId":"r1"}')
    with pytest.raises(InvalidEvent):
        read_render_event(b'{"type":"webhook","renderId":"r1"}')


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"render_id":"r1"}',
        b'{"render_id":"r1","status":"rendering"}',
        b'{"render_id":"r1","status":"completed"}',
        b'{"status":"failed"}',
    ],
)
def test_a_render_event_without_meaning_is_refused(body: bytes) -> None:
    """A render event says which render, how it ended, and where the film is."""
    with pytest.raises(InvalidEvent):
        read_render_event(body)
