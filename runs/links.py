"""Links that work without an API key for a limited time: to a stored file, and to one review, which it decides once."""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from graph.decisions import DecisionInput, Gate
from runs import errors
from runs.decide import check_approval_right, decide, require_open_review
from runs.queries import get_run
from runs.reviews import ReviewView, RunReview, list_reviews, review_in_run
from runs.services import Services
from storage.actors import Actor, RequestContext
from storage.api_keys import get_key
from storage.database import Database
from storage.events import ReviewLink, find_link, record_link
from storage.runs import RunRow
from storage.secrets import get_secret

REVIEWS_SECRET = "reviewers' links"  # noqa: S105 - the name of a secret
DEFAULT_HOURS, MAX_HOURS = 72.0, 720.0
#: Prefix of the signed text, so that a signature is worthless for anything else that is signed with this secret.
SIGNATURE_PREFIX = b"review.1."
TOKEN_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,900}\.[A-Za-z0-9_-]{43}")
NONCE_PATTERN = re.compile(r"[0-9a-f]{16}")

VERDICT_PHRASES = {"approve": "approved", "revise": "changes requested", "reject": "rejected"}
FILES_SECRET = "links to files"  # noqa: S105 - the name of a secret
HOUR_SECONDS = 3600
#: A link is valid for this long and up to an hour more.
VALID_SECONDS = 24 * HOUR_SECONDS


@dataclass(frozen=True)
class OpenedLink(RunReview):
    """A link with the run and the review that it opens."""

    link: ReviewLink


async def create_link(
    db: Database, run_id: UUID, gate: Gate, base_url: str, *, hours: float = DEFAULT_HOURS, context: RequestContext
) -> tuple[str, ReviewLink]:
    """Create a link to the gate's open review that works for `hours`, and return its URL, below `base_url`.

    Raises ApprovalNotPermitted, RunNotFound or GateNotOpen.
    """
    check_approval_right(creator := context.actor, ", which creating a reviewer's link requires.")
    review = await require_open_review(db, await get_run(db, run_id), gate)
    expires_at = (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)
    nonce = secrets.token_hex(8)
    link = ReviewLink(run_id, gate, review.revision, review.digest, expires_at, nonce, creator.kind, creator.id)
    await record_link(db, link, context)
    return f"{base_url}/review/{_create_token(nonce, await get_secret(db, REVIEWS_SECRET))}", link


async def open_link(services: Services, token: str) -> OpenedLink:
    """Return what a link opens. Raises LinkNotFound, LinkUsed, LinkExpired, LinkClosed, or StaleReview if outdated."""
    link = await _find_link(services.db, token)
    if not await _can_creator_approve(services.db, link):
        raise errors.LinkClosed("The creator of this link no longer has approval permission. Request a new link.")
    try:
        run = await get_run(services.db, link.run_id)
    except errors.RunNotFound:
        raise errors.LinkNotFound("The run of this link no longer exists.") from None
    reviews = [each for each in await list_reviews(services, link.run_id) if each.gate == link.gate]
    if link.revision not in [each.revision for each in reviews]:
        raise errors.LinkNotFound("The review of this link no longer exists.")
    opened = review_in_run(run, reviews, reviews[0].gate, link.revision)
    _check_usable(link, run, opened.review, max(reviews, key=lambda each: each.revision))
    return OpenedLink(**vars(opened), link=link)


async def decide_by_link(services: Services, token: str, decision: DecisionInput) -> OpenedLink:
    """Decide the review of a link, and return it as it was before. Raises as `open_link` and `decide` do."""
    opened = await open_link(services, token)
    link = opened.link
    bound = decision.model_copy(update={"digest": link.digest})
    actor = Actor("link", link.nonce, "reviewer's link", frozenset({"approve"}))
    try:
        await decide(services, link.run_id, opened.review.gate, bound, RequestContext(actor, "link"))
    except (errors.GateNotOpen, errors.StaleReview):
        # Another decision was first: report the same error as for a link that is opened now.
        await open_link(services, token)
        raise
    return opened


async def _can_creator_approve(db: Database, link: ReviewLink) -> bool:
    if link.creator_kind != "api_key":
        return True
    key = await get_key(db, link.creator_id)
    return key is not None and key.actor.can_approve and not key.has_ended


def _check_usable(link: ReviewLink, run: RunRow, review: ReviewView, newest: ReviewView) -> None:
    decision = review.decision
    is_superseded = newest.revision > link.revision
    hint = f" Revision {newest.revision} is newer." if is_superseded else ""
    if decision and (decision.actor_kind, decision.actor_id) == ("link", link.nonce):
        raise errors.LinkUsed(
            f"This link was used on {_format_time(decision.decided_at)} for revision {link.revision}"
            f" ({VERDICT_PHRASES[decision.verdict]}). A link works once.{hint}",
            verdict=decision.verdict,
            revision=link.revision,
        )
    if datetime.now(UTC) >= link.expires_at:
        raise errors.LinkExpired(f"This link expired on {_format_time(link.expires_at)}. Request a new link.{hint}")
    if is_superseded:
        raise errors.StaleReview(
            f"This link is for revision {link.revision}; revision {newest.revision} is newer. Request a link to it.",
            revision=newest.revision,
            digest=newest.digest,
        )
    if review.open and review.digest == link.digest:
        return
    if decision:
        raise errors.LinkClosed(
            f"This review was decided on {_format_time(decision.decided_at)}: {VERDICT_PHRASES[decision.verdict]}.",
            verdict=decision.verdict,
        )
    raise errors.LinkClosed(f"This review is closed: the run's status is {run.status}.")


def _format_time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%d %B %Y at %H:%M} UTC".lstrip("0")


def _create_token(nonce: str, secret: bytes) -> str:
    return f"{nonce}.{_signature(nonce, secret)}"


async def _find_link(db: Database, token: str) -> ReviewLink:
    """Return the link of a token, which is its signed nonce; the event of its creation has the rest."""
    payload, _, signature = token.partition(".")
    expected = _signature(payload, await get_secret(db, REVIEWS_SECRET))
    # The encoded signature is compared, so that each link has exactly one spelling.
    if not TOKEN_PATTERN.fullmatch(token) or not hmac.compare_digest(signature, expected):
        raise errors.LinkNotFound("Unknown link. Check that the whole link was copied.")
    if not NONCE_PATTERN.fullmatch(payload):
        return _parse_link_of_0_2(payload)
    link = await find_link(db, payload)
    if link is None:
        raise errors.LinkNotFound("Unknown link. Request a new one.")
    return link


def _parse_link_of_0_2(payload: str) -> ReviewLink:
    """Return a link of version 0.2, whose token contains all its fields."""
    fields = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    fields["run_id"] = UUID(fields["run_id"])
    fields["expires_at"] = datetime.fromtimestamp(fields["expires_at"], UTC)
    return ReviewLink(**fields)


def _signature(payload: str, secret: bytes) -> str:
    digest = hmac.digest(secret, SIGNATURE_PREFIX + payload.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def artifact_link(db: Database, digest: str, base_url: str) -> str:
    """Return a link to the file. Calls within the same hour return the same link."""
    expires = (int(time.time()) // HOUR_SECONDS + 1) * HOUR_SECONDS + VALID_SECONDS
    signature = _file_signature(await get_secret(db, FILES_SECRET), digest, expires)
    return f"{base_url.rstrip('/')}/v1/artifacts/{digest}?expires={expires}&signature={signature}"


async def is_valid_link(db: Database, digest: str, expires: int, signature: str) -> bool:
    """Return whether `artifact_link` created this link and it has not expired."""
    if expires < time.time():
        return False
    expected = _file_signature(await get_secret(db, FILES_SECRET), digest, expires)
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


async def links_of_run(db: Database, run_id: UUID, base_url: str) -> dict[str, str]:
    """Return links to the `film`, its `subtitles` and the newest take of each clip (`clip 1`, …).

    Raises RunNotFound.
    """
    artifacts = (await get_run(db, run_id)).artifacts
    takes = artifacts.get("clip_manifest", {}).get("clips", [])
    digests = {f"clip {take['clip']}": take["digest"] for take in takes if take.get("digest")}
    if film := artifacts.get("final_video"):
        digests["film"] = film["digest"]
        if "subtitles_digest" in film:
            digests["subtitles"] = film["subtitles_digest"]
    return {name: await artifact_link(db, digest, base_url) for name, digest in digests.items()}


def _file_signature(secret: bytes, digest: str, expires: int) -> str:
    return hmac.new(secret, f"{digest}:{expires}".encode(), hashlib.sha256).hexdigest()
