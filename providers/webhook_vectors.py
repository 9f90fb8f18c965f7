"""Acceptance vectors for webhook signatures: run a file of them through the verifier."""

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from providers.webhooks import InvalidEvent, InvalidSignature, parse_secret, read_video_event, verify_signature


def check_vectors(path: Path) -> Iterator[tuple[str, bool, str]]:
    """Yield the name of each vector in the file (format v1), whether its outcome is as expected, and its outcome.

    The clock is set to the vector's `now`, or to the time of signing for the official vectors.
    """
    vectors = json.loads(path.read_text(encoding="utf-8"))
    for vector in vectors["official_vectors"]:
        headers = {f"webhook-{name}": str(vector[name]) for name in ("id", "timestamp", "signature")}
        outcome = _verify([vector["secret"]], headers, vector["body"].encode(), vector["timestamp"])
        # The body of an official vector is not an event; only its signature is tested.
        yield f"official {vector['id']}", outcome == "accept_signature_reject_payload", outcome
    for vector in vectors["vectors"]:
        outcome = _verify(vector["secrets"], vector["headers"], base64.b64decode(vector["body_b64"]), vector["now"])
        yield vector["name"], outcome == vector["expect"], outcome


def _verify(secrets: list[str], headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Return the outcome of a delivery at the Unix time `now` in the words of the vectors."""
    try:
        parsed = [parse_secret(text) for text in secrets]
    except ValueError:
        return "misconfigured"
    try:
        verify_signature(headers, body, parsed, now=datetime.fromtimestamp(now, UTC))
        read_video_event(body)
    except InvalidSignature:
        return "reject"
    except InvalidEvent:
        return "accept_signature_reject_payload"
    return "accept"
