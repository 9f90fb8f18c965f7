"""Who speaks on a webhook, and what is said: Standard Webhooks signatures in, plain events out.

The contract is Standard Webhooks 1.0.0. Signatures are made by the `standardwebhooks` library; the grammar
before it and the comparison after it are ours: the library accepts junk around a signature and has its own
clock.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from standardwebhooks import Webhook

from providers.base import ProviderError

TOLERANCE_SECONDS = 300
MAX_HEADER_BYTES = 8192
MIN_SECRET_BYTES = 24

# The id becomes a database key: printable ASCII, no dot (it would blur what was signed), and short.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")
_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]{43}=")
_LAMBDA_SIGNATURE = re.compile(r"sha512=[0-9a-f]{128}")


class InvalidSignature(ProviderError):
    """The sender of a webhook cannot be trusted: nothing of it may be used."""

    def __init__(self, reason: str) -> None:
        super().__init__("invalid_signature", f"The webhook is not trusted: {reason}.")


class InvalidEvent(ProviderError):
    """A trusted webhook says something that cannot be understood."""

    def __init__(self, reason: str) -> None:
        super().__init__("invalid_payload", f"The webhook's body is not an event: {reason}.")


@dataclass(frozen=True)
class Secret:
    """A shared signing secret: the text as configured, and the key that it encodes. Neither is ever shown."""

    text: str = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class VideoEvent:
    """`type` happened to the video `video_id`. `event_id` is the sender's name for it, where told."""

    type: str
    video_id: str
    event_id: str | None = None


@dataclass(frozen=True)
class RenderEvent:
    """The render `render_id` ended, with a place to fetch it from or a reason why not."""

    render_id: str
    status: Literal["completed", "failed"]
    output_url: str | None = None
    error: str | None = None


def parse_secret(text: str) -> Secret:
    """The secret written as `whsec_` and base64, padded or not. Raises ValueError saying what is wrong."""
    text = text.strip()
    encoded = text.removeprefix("whsec_").rstrip("=")
    if not encoded:
        raise ValueError("The webhook secret is empty, and anybody could sign with an empty secret.")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("The webhook secret is not base64 after `whsec_`.") from None
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(f"The webhook secret has {len(key)} bytes; it needs at least {MIN_SECRET_BYTES}.")
    return Secret(text, key)


def verify_signature(headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], *, now: datetime) -> str:
    """The `webhook-id` of a delivery signed with one of `secrets` within 300 seconds of `now` (aware).

    `body` is what was received, byte for byte. Raises BadSignature for everything else, whatever it is.
    """
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id = given.get("webhook-id", "")
    timestamp = given.get("webhook-timestamp", "")
    signatures = given.get("webhook-signature", "")
    if max(len(webhook_id), len(timestamp), len(signatures)) > MAX_HEADER_BYTES:
        raise InvalidSignature("a header is too long")
    if not _ID.fullmatch(webhook_id):
        raise InvalidSignature("webhook-id is missing or malformed")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise InvalidSignature("webhook-timestamp is missing or malformed")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        raise InvalidSignature("it was signed too long ago or in the future")
    at = datetime.fromtimestamp(int(timestamp), UTC)
    candidates = [entry for entry in signatures.split() if _SIGNATURE.fullmatch(entry)]
    for secret in secrets:
        try:
            expected = sign(secret, id=webhook_id, at=at, body=body)["webhook-signature"]
        except UnicodeDecodeError:
            raise InvalidSignature("its body is not UTF-8") from None
        # Comparing the text, not the decoded bytes, leaves one spelling only of each signature.
        if any(hmac.compare_digest(expected, candidate) for candidate in candidates):
            return webhook_id
    raise InvalidSignature("no signature fits")


def sign(secret: Secret, *, id: str, at: datetime, body: bytes) -> dict[str, str]:  # noqa: A002 - its name there
    """The three headers for sending `body` as the delivery `id` at `at`. Raises ValueError for a naive time,
    an id that no receiver would take, or a body that is not UTF-8."""
    if at.tzinfo is None:
        raise ValueError("A webhook is signed at a time with a time zone.")
    if not _ID.fullmatch(id):
        raise ValueError("A webhook id is 1 to 255 printable ASCII characters without a dot.")
    at = at.astimezone(UTC)  # the library takes any other zone for UTC and signs another time
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret.key).sign(id, at, body.decode()),
    }


def verify_lambda(header: str | None, body: bytes, secrets: Sequence[Secret]) -> None:
    """Accept the `X-Remotion-Signature` of Remotion Lambda: `sha512=` and the HMAC of the raw body.

    Remotion keys it with the secret's text as configured, prefix and all, and sends `NO_SECRET_PROVIDED` when
    it has none. There is no time in it: a replay must be made harmless by the render id. Raises BadSignature.
    """
    if header is None or not _LAMBDA_SIGNATURE.fullmatch(header):
        raise InvalidSignature("X-Remotion-Signature is missing or malformed")
    for secret in secrets:
        expected = hmac.new(secret.text.encode(), body, hashlib.sha512).hexdigest()
        if hmac.compare_digest(f"sha512={expected}", header):
            return
    raise InvalidSignature("no signature fits")


def read_video_event(body: bytes) -> VideoEvent:
    """What a trusted `video.*` webhook says. Raises BadEvent."""
    event = _object(body)
    data = event.get("data")
    if not isinstance(data, dict):
        raise InvalidEvent("`data` is missing")
    event_id = event.get("id")
    return VideoEvent(
        type=_word(event, "type"),
        video_id=_word(data, "id"),
        event_id=event_id if isinstance(event_id, str) else None,
    )


def read_render_event(body: bytes) -> RenderEvent:
    """What a trusted render webhook says, in our words or in those of Remotion Lambda. Raises BadEvent."""
    event = _object(body)
    if "renderId" in event:
        return _lambda_event(event)
    render_id = _word(event, "render_id")
    match event.get("status"):
        case "completed":
            return RenderEvent(render_id, "completed", output_url=_word(event, "output_url"))
        case "failed":
            error = event.get("error")
            return RenderEvent(render_id, "failed", error=error if isinstance(error, str) else None)
        case _:
            raise InvalidEvent("`status` is neither completed nor failed")


def _lambda_event(event: dict[str, Any]) -> RenderEvent:
    """Remotion Lambda says `type` (success, error or timeout), `renderId`, and `outputUrl` of a success."""
    render_id = _word(event, "renderId")
    match event.get("type"):
        case "success":
            return RenderEvent(render_id, "completed", output_url=_word(event, "outputUrl"))
        case "error" | "timeout" as ended:
            return RenderEvent(render_id, "failed", error=ended)
        case _:
            raise InvalidEvent("`type` is neither success, error nor timeout")


def check_vectors(path: Path) -> Iterator[tuple[str, bool, str]]:
    """Run a file of acceptance vectors (format v1) through this verifier.

    Yields each vector's name, whether it ended as it expects, and how it ended. The clock stands
    at each vector's `now`, and at the time of signing for the official ones.
    """
    vectors = json.loads(path.read_text(encoding="utf-8"))
    for vector in vectors["official_vectors"]:
        at = datetime.fromtimestamp(vector["timestamp"], UTC)
        body = vector["body"].encode()
        signed = sign(parse_secret(vector["secret"]), id=vector["id"], at=at, body=body)["webhook-signature"]
        headers = {
            "webhook-id": vector["id"],
            "webhook-timestamp": str(vector["timestamp"]),
            "webhook-signature": vector["signature"],
        }
        outcome = _outcome([vector["secret"]], headers, body, at)
        # Its body carries no event; it is the signature that is official.
        passed = signed == vector["signature"] and outcome == "accept_signature_reject_payload"
        yield f"official {vector['id']}", passed, outcome
    for vector in vectors["vectors"]:
        now = datetime.fromtimestamp(vector["now"], UTC)
        outcome = _outcome(vector["secrets"], vector["headers"], base64.b64decode(vector["body_b64"]), now)
        yield vector["name"], outcome == vector["expect"], outcome


def _outcome(secrets: list[str], headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    try:
        parsed = [parse_secret(text) for text in secrets]
    except ValueError:
        return "misconfigured"
    try:
        verify_signature(headers, body, parsed, now=now)
        read_video_event(body)
    except InvalidSignature:
        return "reject"
    except InvalidEvent:
        return "accept_signature_reject_payload"
    return "accept"


def _object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("it is not JSON") from None
    if not isinstance(parsed, dict):
        raise InvalidEvent("it is not a JSON object")
    return parsed


def _word(holder: Mapping[str, Any], name: str) -> str:
    """A text fit to be stored and shown: not empty, not endless, no control characters or half surrogates."""
    value = holder.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 4096 or not value.isprintable():
        raise InvalidEvent(f"`{name}` is missing or not a plain text")
    return value
