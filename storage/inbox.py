"""The inbox: open reviews, and everything that needs a person's attention, of all runs."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from storage.database import Database, read_statements
from storage.spending import OF_RUN as COSTS_OF_RUN, Costs
from storage.troubles import COUNTS

Kind = Literal["ideation", "publish", "unknown", "stuck", "failed", "undelivered"]


@dataclass(frozen=True, kw_only=True)
class InboxRow(Costs):
    """An open review, or what needs attention, with its run; amounts in USD."""

    kind: Kind
    run_id: UUID
    #: Since when it waits.
    since: datetime
    #: The key of an order, the id of the run, or the kind of a notification.
    subject: str
    #: The provider of an order, or the host of a notification.
    provider: str | None
    code: str | None
    #: The last answer or the error.
    message: str | None
    #: The price that is to be approved, or the amount of an order of unknown outcome.
    usd: Decimal | None
    project: str
    #: At most 300 characters of it.
    brief: str
    current_step: str | None
    #: Whether its run failed and can be retried, and whether a clip of it failed.
    is_retryable: bool
    has_failed_clip: bool
    #: Of the content of an open review.
    title: str | None
    due_at: datetime | None
    is_overdue: bool | None
    #: Digests of the film, and of the image that the first clip starts from.
    film: str | None
    image: str | None

    @property
    def id(self) -> str:
        """Return a name that is unique in the inbox, and usable in HTML."""
        return f"{self.kind}-{self.run_id}-{self.subject.rpartition(str(self.run_id))[2].replace(':', '-')}"


sql = read_statements("inbox", costs_of_run=COSTS_OF_RUN, counts=COUNTS)
INBOX = sql["inbox"]


async def list_inbox(db: Database, *, limit: int, offset: int = 0, only_troubles: bool = False) -> list[InboxRow]:
    """Return a part of the inbox, or of its troubles, newest first. Failures and notifications count for seven days."""
    values = {"only_troubles": only_troubles, "limit": limit, "offset": offset, "most": limit + offset}
    return await db.fetch_all(INBOX, values, row=InboxRow)
