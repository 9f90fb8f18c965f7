"""Webhook signatures and events: verify, sign and parse.

The contract is Standard Webhooks 1.0.0. The `standardwebhooks` library computes the signatures. Headers are parsed
and signatures compared here: the library accepts extra text around a signature and uses its own clock.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from standardwebhooks import Webhook

from providers.base import ProviderError
from providers.values import is_plain_text

TOLERANCE_SECONDS = 300
MAX_HEADER_BYTES = 8192
MIN_SECRET_BYTES = 24

# The id becomes a database key: short, printable ASCII, no dot (which separates the parts of the signed content).
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")
_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]{43}=")
_LAMBDA_SIGNATURE = re.compile(r"sha512=[0-9a-f]{128}")


class InvalidSignature(ProviderError):
    """The signature of a webhook cannot be verified. Its content must not be used."""

    def __init__(self, reason: str) -> None:
        super().__init__("invalid_signature", f"Invalid webhook signature: {reason}.")


class InvalidEvent(ProviderError):
    """The body of a verified webhook is not a valid event."""

    def __init__(self, reason: str) -> None:
        super().__init__("invalid_payload", f"Invalid webhook event: {reason}.")


@dataclass(frozen=True)
class Secret:
    """A shared signing secret: the configured text and the key that it encodes. Neither appears in the repr."""

    text: str = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class VideoEvent:
    """An event of type `type` for the video `video_id`. `event_id` is the sender's id of the event, if any."""

    type: str
    video_id: str
    event_id: str | None = None


@dataclass(frozen=True)
class RenderEvent:
    """The end of the render `render_id`."""

    render_id: str
    status: Literal["completed", "failed"]


def parse_secret(text: str) -> Secret:
    """Return the secret written as `whsec_` and base64, padded or not. Raises ValueError for an invalid one."""
    text = text.strip()
    encoded = text.removeprefix("whsec_").rstrip("=")
    if not encoded:
        raise ValueError("The webhook secret is empty. Signatures with an empty secret can be forged.")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("The webhook secret is not base64 after `whsec_`.") from None
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(f"The webhook secret has {len(key)} bytes; it needs at least {MIN_SECRET_BYTES}.")
    return Secret(text, key)


def verify_signature(headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], *, now: datetime) -> str:
    """Return the `webhook-id` of a delivery signed with one of the secrets within 300 seconds of `now` (aware).

    `body` is the received body, byte for byte. Raises InvalidSignature for any other headers or body.
    """
    webhook_id, timestamp, signatures = _parse_headers(headers)
    if abs(now.timestamp() - timestamp) > TOLERANCE_SECONDS:
        raise InvalidSignature("it was signed too long ago or in the future")
    at = datetime.fromtimestamp(timestamp, UTC)
    for secret in secrets:
        try:
            expected = sign(secret, id=webhook_id, at=at, body=body)["webhook-signature"]
        except UnicodeDecodeError:
            raise InvalidSignature("the body is not UTF-8") from None
        # Comparing the text, not the decoded bytes, accepts a single encoding of each signature.
        if any(hmac.compare_digest(expected, signature) for signature in signatures):
            return webhook_id
    raise InvalidSignature("no signature matches")


def _parse_headers(headers: Mapping[str, str]) -> tuple[str, int, list[str]]:
    """Return id, Unix timestamp and well-formed signatures of a delivery."""
    lower = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp, signatures = (lower.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if max(len(webhook_id), len(timestamp), len(signatures)) > MAX_HEADER_BYTES:
        raise InvalidSignature("a header is too long")
    if not _ID.fullmatch(webhook_id):
        raise InvalidSignature("webhook-id is missing or malformed")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise InvalidSignature("webhook-timestamp is missing or malformed")
    return webhook_id, int(timestamp), [each for each in signatures.split() if _SIGNATURE.fullmatch(each)]


def sign(secret: Secret, *, id: str, at: datetime, body: bytes) -> dict[str, str]:  # noqa: A002 - the contract's name
    """Return the headers of a delivery. Raises ValueError for a naive time, an id or a body that receivers reject."""
    if at.tzinfo is None:
        raise ValueError("The time of a webhook signature needs a time zone.")
    if not _ID.fullmatch(id):
        raise ValueError("A webhook id is 1 to 255 printable ASCII characters without a dot.")
    at = at.astimezone(UTC)  # the library treats a time in any zone as UTC
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret.key).sign(id, at, body.decode()),
    }


def verify_lambda(header: str | None, body: bytes, secrets: Sequence[Secret]) -> None:
    """Verify the `X-Remotion-Signature` of Remotion Lambda: `sha512=` and the HMAC of the raw body.

    Remotion uses the text of the secret as the key, including its prefix, and sends `NO_SECRET_PROVIDED` without a
    secret. The signature contains no time: callers must deduplicate by render id. Raises InvalidSignature.
    """
    if header is None or not _LAMBDA_SIGNATURE.fullmatch(header):
        raise InvalidSignature("X-Remotion-Signature is missing or malformed")
    for secret in secrets:
        expected = hmac.new(secret.text.encode(), body, hashlib.sha512).hexdigest()
        if hmac.compare_digest(f"sha512={expected}", header):
            return
    raise InvalidSignature("no signature matches")


def read_video_event(body: bytes) -> VideoEvent:
    """Return the event in a verified `video.*` webhook. Raises InvalidEvent."""
    event = _parse_object(body)
    data, event_id = event.get("data"), event.get("id")
    if not isinstance(data, dict):
        raise InvalidEvent("`data` is missing")
    known_id = event_id if isinstance(event_id, str) else None
    return VideoEvent(_read_text(event, "type"), _read_text(data, "id"), known_id)


def read_task_event(body: bytes, id_names: Sequence[str]) -> VideoEvent:
    """Return the event in a verified webhook that is a task itself, as several vendors send it. Raises InvalidEvent.

    A task with a `task_id` has a `task_status`, any other a `status`.
    """
    task = _parse_object(body)
    name = next((name for name in id_names if name in task), id_names[0])
    status = "task_status" if name == "task_id" else "status"
    return VideoEvent(_read_text(task, status), _read_text(task, name))


def read_render_event(body: bytes) -> RenderEvent:
    """Return the event in a verified render webhook, of the render service or Remotion Lambda. Raises InvalidEvent.

    Remotion Lambda has names of its own: `renderId`; `type`, which is success, error or timeout; and `outputUrl`.
    """
    event = _parse_object(body)
    is_lambda = "renderId" in event
    render_id = _read_text(event, "renderId" if is_lambda else "render_id")
    match is_lambda, event.get("type" if is_lambda else "status"):
        case (True, "success") | (False, "completed"):
            _read_text(event, "outputUrl" if is_lambda else "output_url")
            return RenderEvent(render_id, "completed")
        case (True, "error" | "timeout") | (False, "failed"):
            return RenderEvent(render_id, "failed")
    raise InvalidEvent("the render has neither completed nor failed")


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("it is not JSON") from None
    if not isinstance(parsed, dict):
        raise InvalidEvent("it is not a JSON object")
    return parsed


def _read_text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not is_plain_text(value):
        raise InvalidEvent(f"`{name}` is missing or not a plain text")
    return value
