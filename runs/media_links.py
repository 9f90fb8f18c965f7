"""Links to kept files that work without a key, for a while: for people who watch a film from a chat."""

from __future__ import annotations

import hashlib
import hmac
import time
from uuid import UUID

from runs import queries
from runs.services import Services
from storage import api_keys

LINKS = "links to files"
HOUR = 3600
#: How long a link works, in seconds: a day, and up to an hour more.
VALID = 24 * HOUR


async def artifact_link(services: Services, digest: str, base_url: str) -> str:
    """A link to this file, the same for everybody who asks within the hour."""
    expires = (int(time.time()) // HOUR + 1) * HOUR + VALID
    signature = _signature(await api_keys.get_secret(services.db, LINKS), digest, expires)
    return f"{base_url.rstrip('/')}/v1/artifacts/{digest}?expires={expires}&signature={signature}"


async def is_valid_link(services: Services, digest: str, expires: int, signature: str) -> bool:
    """Whether we gave this link, and it still works."""
    if expires < time.time():
        return False
    right = _signature(await api_keys.get_secret(services.db, LINKS), digest, expires)
    return hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace"))


async def links_of_run(services: Services, run_id: UUID, base_url: str) -> dict[str, str]:
    """Links to what a run has made: `film`, and `clip 1`, `clip 2`, … in their newest takes. Raises RunNotFound."""
    artifacts = (await queries.get_run_view(services, run_id))["artifacts"]
    found = {}
    for clip in artifacts.get("clip_manifest", {}).get("clips", []):
        if clip.get("digest"):
            found[f"clip {clip['clip']}"] = clip["digest"]
    if film := artifacts.get("final_video"):
        found["film"] = film["digest"]
    return {name: await artifact_link(services, digest, base_url) for name, digest in found.items()}


def _signature(secret: bytes, digest: str, expires: int) -> str:
    return hmac.new(secret, f"{digest}:{expires}".encode(), hashlib.sha256).hexdigest()
