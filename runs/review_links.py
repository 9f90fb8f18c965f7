"""A reviewer's link: opens one review to somebody who has no key, for a while, and decides it once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, cast
from uuid import UUID

from graph.state import Gate
from runs import reviews
from runs.decide import decide as decide_at_gate
from runs.errors import (
    ApprovalNotPermitted,
    GateNotOpen,
    LinkClosed,
    LinkExpired,
    LinkNotFound,
    LinkUsed,
    RunNotFound,
    StaleReview,
)
from runs.queries import get_run
from runs.reviews import Review
from runs.services import Services
from storage import api_keys, links
from storage.runs import RunRow

CHANNEL, SECRET = "link", "reviewers' links"
HOURS, LONGEST_HOURS = 72.0, 720.0
#: What the signature is for: it counts for nothing else that may ever be signed with this key.
PURPOSE = b"review.1."
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,900}\.[A-Za-z0-9_-]{43}")

VERDICT_PHRASES = {"approve": "approved", "revise": "changes were asked for", "reject": "rejected"}


@dataclass(frozen=True)
class ReviewLink:
    """What a link is for: the review of `gate` numbered `revision`, which shows `digest`. `nonce` names the link."""

    run_id: UUID
    gate: Gate
    revision: int
    digest: str
    expires_at: datetime
    nonce: str
    made_by: str

    @property
    def decides_as(self) -> str:
        """Who decided, when it is used."""
        return f"link:{self.nonce}"


@dataclass(frozen=True)
class OpenedLink:
    """What a link opens."""

    link: ReviewLink
    run: RunRow
    review: Review
    #: What was said of the revision before, if it was sent back.
    previous_comment: str | None


async def create_link(
    services: Services, run_id: UUID, gate: Gate, *, hours: float = HOURS, made_by: str, channel: str
) -> tuple[str, ReviewLink]:
    """A link to the review that this gate has open, as its token. Raises MayNotDecide, RunNotFound, GateNotOpen."""
    if not await api_keys.can_approve(services.db, made_by):
        raise ApprovalNotPermitted("This key may not decide, so it cannot let others decide either.")
    run = await get_run(services, run_id)
    review = run["review"]
    if review is None or review["gate"] != gate:
        is_open = review["gate"] if review else None
        where = f"; the {is_open} gate is." if is_open else f": the run is {run['status']}."
        raise GateNotOpen(f"The {gate} gate is not open{where}", open_gate=is_open)
    expires_at = (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)
    link = ReviewLink(run_id, gate, review["revision"], review["digest"], expires_at, secrets.token_hex(8), made_by)
    said = {
        "gate": gate,
        "revision": link.revision,
        "link": link.decides_as,
        "expires_at": expires_at.isoformat(),
        "asked_by": made_by,
    }
    await links.record_link_created(services.db, run_id, source=channel, nonce=link.nonce, said=said)
    return _sealed(link, await api_keys.get_secret(services.db, SECRET)), link


async def open_link(services: Services, token: str, *, now: datetime | None = None) -> OpenedLink:
    """The review that a link opens. Looking uses nothing up.

    Raises LinkUnknown, LinkUsed, LinkExpired, LinkOver, or StaleReview when there is a newer revision.
    """
    link = _unsealed(token, await api_keys.get_secret(services.db, SECRET))
    if not await api_keys.can_approve(services.db, link.made_by):
        raise LinkClosed("Whoever gave this link may not decide any more. Ask for a new one.")
    try:
        run = await get_run(services, link.run_id)
    except RunNotFound:
        raise LinkNotFound("The run that this link was for is not here any more.") from None
    listed = [review for review in await reviews.list_reviews(services, link.run_id) if review["gate"] == link.gate]
    review = next((each for each in listed if each["revision"] == link.revision), None)
    if review is None:
        raise LinkNotFound("The review that this link was for is not here any more.")
    newest = listed[-1]
    decision = review["decision"]
    if decision and decision["decided_by"] == link.decides_as:
        raise LinkUsed(
            f"This link was used on {_day(decision['decided_at'])}: revision {link.revision} was answered"
            f" ({VERDICT_PHRASES[decision['verdict']]}). A link works once.{_newer(newest, link)}",
            verdict=decision["verdict"],
            revision=link.revision,
        )
    if (now or datetime.now(UTC)) >= link.expires_at:
        raise LinkExpired(f"This link expired on {_day(link.expires_at)}. Ask for a new one.{_newer(newest, link)}")
    if newest["revision"] > link.revision:
        raise StaleReview(
            f"This link is for revision {link.revision}, and there is a newer one, revision {newest['revision']}:"
            " ask for a link to that.",
            revision=newest["revision"],
            digest=newest["digest"],
        )
    if not review["open"] or review["digest"] != link.digest:
        _refuse_closed(run, review)
    before = listed[-2]["decision"] if len(listed) > 1 else None
    return OpenedLink(link, run, review, before["comment"] if before else None)


async def decide_by_link(
    services: Services,
    token: str,
    *,
    verdict: Literal["approve", "revise", "reject"],
    comment: str | None = None,
) -> OpenedLink:
    """Decide the review that a link opens, with what the link's digest names; gives the review as it was.

    Raises as `open_link`, and Invalid for a request for changes without a comment.
    """
    opened = await open_link(services, token)
    link = opened.link
    try:
        await decide_at_gate(
            services,
            link.run_id,
            link.gate,
            verdict=verdict,
            comment=comment,
            digest=link.digest,
            decided_by=link.decides_as,
            channel=CHANNEL,
        )
    except (GateNotOpen, StaleReview):
        # Somebody was faster: say it as to one who comes now.
        await open_link(services, token)
        raise
    return opened


def _refuse_closed(run: RunRow, review: Review) -> NoReturn:
    decision = review["decision"]
    if decision:
        raise LinkClosed(
            f"This was decided already, on {_day(decision['decided_at'])}: {VERDICT_PHRASES[decision['verdict']]}.",
            verdict=decision["verdict"],
        )
    raise LinkClosed(f"There is nothing to decide here: the run is {run['status']}.")


def _newer(newest: Review, link: ReviewLink) -> str:
    return f" There is a newer one, revision {newest['revision']}." if newest["revision"] > link.revision else ""


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%d %B %Y at %H:%M} UTC".lstrip("0")


def _sealed(link: ReviewLink, key: bytes) -> str:
    said = {
        "run": str(link.run_id),
        "gate": link.gate,
        "revision": link.revision,
        "digest": link.digest,
        "expires": int(link.expires_at.timestamp()),
        "nonce": link.nonce,
        "by": link.made_by,
    }
    payload = _base64(json.dumps(said, separators=(",", ":")).encode())
    return f"{payload}.{_signature(payload, key)}"


def _unsealed(token: str, key: bytes) -> ReviewLink:
    payload, _, signature = token.partition(".")
    # The text of the signature is compared, so that each link has one spelling only.
    if not _TOKEN.fullmatch(token) or not hmac.compare_digest(signature, _signature(payload, key)):
        raise LinkNotFound("This link is not one that was given here, or a part of it is missing: copy all of it.")
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return ReviewLink(
        run_id=UUID(said["run"]),
        gate=cast("Gate", said["gate"]),
        revision=said["revision"],
        digest=said["digest"],
        expires_at=datetime.fromtimestamp(said["expires"], UTC),
        nonce=said["nonce"],
        made_by=said["by"],
    )


def _signature(payload: str, key: bytes) -> str:
    return _base64(hmac.digest(key, PURPOSE + payload.encode(), hashlib.sha256))


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
