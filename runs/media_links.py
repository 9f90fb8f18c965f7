"""Links to stored files that work without an API key for a limited time, for viewers in a chat."""

import hashlib
import hmac
import time
from uuid import UUID

from runs import queries
from storage.database import Database
from storage.secrets import get_secret

SECRET_NAME = "links to files"  # noqa: S105 - the name of a secret
HOUR_SECONDS = 3600
#: A link is valid for this long and up to an hour more.
VALID_SECONDS = 24 * HOUR_SECONDS


async def artifact_link(db: Database, digest: str, base_url: str) -> str:
    """Return a link to the file. Calls within the same hour return the same link."""
    expires = (int(time.time()) // HOUR_SECONDS + 1) * HOUR_SECONDS + VALID_SECONDS
    signature = _signature(await get_secret(db, SECRET_NAME), digest, expires)
    return f"{base_url.rstrip('/')}/v1/artifacts/{digest}?expires={expires}&signature={signature}"


async def is_valid_link(db: Database, digest: str, expires: int, signature: str) -> bool:
    """Return whether `artifact_link` created this link and it has not expired."""
    if expires < time.time():
        return False
    expected = _signature(await get_secret(db, SECRET_NAME), digest, expires)
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


async def links_of_run(db: Database, run_id: UUID, base_url: str) -> dict[str, str]:
    """Return links to the `film`, its `subtitles` and the newest take of each clip (`clip 1`, …).

    Raises RunNotFound.
    """
    artifacts = (await queries.get_run(db, run_id)).artifacts
    takes = artifacts.get("clip_manifest", {}).get("clips", [])
    digests = {f"clip {take['clip']}": take["digest"] for take in takes if take.get("digest")}
    if film := artifacts.get("final_video"):
        digests["film"] = film["digest"]
        if "subtitles_digest" in film:
            digests["subtitles"] = film["subtitles_digest"]
    return {name: await artifact_link(db, digest, base_url) for name, digest in digests.items()}


def _signature(secret: bytes, digest: str, expires: int) -> str:
    return hmac.new(secret, f"{digest}:{expires}".encode(), hashlib.sha256).hexdigest()
