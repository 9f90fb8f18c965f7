"""Webhook signatures follow Standard Webhooks, and invalid signatures and events are rejected."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from providers.webhook_vectors import check_vectors
from providers.webhooks import (
    InvalidEvent,
    InvalidSignature,
    RenderEvent,
    Secret,
    VideoEvent,
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
    """The official vector and our 55 vectors are present, each under its own name."""
    assert len({name for name, _, _ in RESULTS}) == 56


@pytest.mark.parametrize(("name", "passed", "detail"), RESULTS, ids=[name for name, _, _ in RESULTS])
def test_vector(name: str, passed: bool, detail: str) -> None:
    """Each vector has the expected outcome."""
    assert passed, f"{name}: {detail}"


def test_an_unexpected_outcome_is_reported(tmp_path: Path) -> None:
    """A vector without the expected outcome is reported with its actual outcome."""
    vectors = json.loads(VECTORS.read_text())
    vectors["official_vectors"][0]["signature"] = "v1," + "A" * 43 + "="
    vectors["vectors"] = vectors["vectors"][:1]
    vectors["vectors"][0]["expect"] = "reject"
    changed = tmp_path / "vectors.json"
    changed.write_text(json.dumps(vectors))

    assert [result[1:] for result in check_vectors(changed)] == [(False, "reject"), (False, "accept")]


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_an_invalid_secret_is_rejected(text: str, message: str) -> None:
    """A secret that can be guessed or was mistyped is rejected, and the message does not contain it."""
    with pytest.raises(ValueError, match=message) as caught:
        parse_secret(text)

    assert text.strip() == "" or text not in str(caught.value)


def test_prefix_padding_and_whitespace_do_not_change_the_key() -> None:
    """The repr does not contain the key."""
    encoded = "q9/oxCbgMB+bDH7VBAjUEDWwcRLtmRDXPr8uFuuIIQ"
    keys = {parse_secret(text).key for text in (encoded, f"whsec_{encoded}==", f" whsec_{encoded}\n")}

    assert len(keys) == 1
    assert repr(SECRET) == "Secret()"


def test_signed_headers_are_accepted() -> None:
    """Headers from `sign` verify, in any letter case, and the id is returned."""
    headers = sign(SECRET, id="msg_1", at=NOW, body=BODY)

    assert verify_signature({k.title(): v for k, v in headers.items()}, BODY, [OTHER, SECRET], now=NOW) == "msg_1"


def test_the_time_zone_does_not_change_a_signature() -> None:
    """The same time in another zone gives the same headers; a naive time and an invalid id are errors."""
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
def test_a_changed_header_is_an_invalid_signature(change: dict[str, str]) -> None:
    """No header raises any other error."""
    headers = sign(SECRET, id="msg_1", at=NOW, body=BODY) | change

    with pytest.raises(InvalidSignature) as caught:
        verify_signature(headers, BODY, [SECRET], now=NOW)

    assert caught.value.code == "invalid_signature"


def test_no_secret_or_invalid_utf8_is_an_invalid_signature() -> None:
    """Without secrets nothing verifies, and neither does a body that is not UTF-8."""
    with pytest.raises(InvalidSignature):
        verify_signature(sign(SECRET, id="m", at=NOW, body=BODY), BODY, [], now=NOW)
    with pytest.raises(InvalidSignature):
        verify_signature(sign(SECRET, id="m", at=NOW, body=BODY), b"\xff", [SECRET], now=NOW)


def test_another_encoding_of_a_signature_is_rejected() -> None:
    """Base64 has two unused bits at the end of a signature; changing them gives an invalid signature."""
    headers = sign(SECRET, id="m", at=NOW, body=BODY)
    signature = headers["webhook-signature"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    reencoded = signature[:-2] + alphabet[alphabet.index(signature[-2]) ^ 1] + "="

    with pytest.raises(InvalidSignature):
        verify_signature(headers | {"webhook-signature": reencoded}, BODY, [SECRET], now=NOW)


def lambda_signature(secret: Secret, body: bytes) -> str:
    return "sha512=" + hmac.new(secret.text.encode(), body, hashlib.sha512).hexdigest()


def test_a_lambda_signature_is_accepted() -> None:
    """A Lambda signature of the raw body with any of the secrets is accepted."""
    verify_lambda(lambda_signature(SECRET, BODY), BODY, [OTHER, SECRET])

    with pytest.raises(InvalidSignature):
        verify_lambda(lambda_signature(SECRET, BODY), BODY + b" ", [OTHER, SECRET])


@pytest.mark.parametrize("header", [None, "", "NO_SECRET_PROVIDED", "sha512=", "sha512=" + "0" * 128, "sha512=é"])
def test_a_malformed_lambda_signature_is_rejected(header: str | None) -> None:
    """`NO_SECRET_PROVIDED` and other malformed signatures are rejected."""
    with pytest.raises(InvalidSignature):
        verify_lambda(header, BODY, [SECRET])


def test_video_events_are_parsed() -> None:
    """Type and video id are returned, and the id of the event if there is one."""
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
def test_an_invalid_video_event_is_rejected(body: bytes) -> None:
    """A body that cannot be stored or parsed is rejected with one code."""
    with pytest.raises(InvalidEvent) as caught:
        read_video_event(body)

    assert caught.value.code == "invalid_payload"


def test_render_events_are_parsed() -> None:
    """A completed render has the URL of its film; a failed one can have an error of any type."""
    done = b'{"render_id":"r1","status":"completed","output_url":"http://render/r1.mp4"}'

    assert RenderEvent("r1", "completed") == read_render_event(done)
    assert RenderEvent("r1", "failed") == read_render_event(b'{"render_id":"r1","status":"failed","error":"no font"}')
    assert RenderEvent("r1", "failed") == read_render_event(b'{"render_id":"r1","status":"failed","error":{}}')


def test_lambda_events_are_parsed() -> None:
    """The fields of Remotion Lambda have other names and the same meaning."""
    done = b'{"type":"success","renderId":"r1","outputUrl":"http://bucket/r1.mp4","bucketName":"b"}'

    assert RenderEvent("r1", "completed") == read_render_event(done)
    assert RenderEvent("r1", "failed") == read_render_event(b'{"type":"timeout","renderId":"r1"}')
    for unknown in (b'{"type":"webhook","renderId":"r1"}', b'{"type":"failed","renderId":"r1"}', b'{"renderId":"r1"}'):
        with pytest.raises(InvalidEvent):
            read_render_event(unknown)


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
def test_an_invalid_render_event_is_rejected(body: bytes) -> None:
    """A render event needs the render id, its status and the URL of the film."""
    with pytest.raises(InvalidEvent):
        read_render_event(body)
