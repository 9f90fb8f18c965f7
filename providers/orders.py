"""Orders: calls that may cost money, described before they are sent."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel
from typing_extensions import TypedDict  # pydantic accepts the one of `typing` from Python 3.12 on only

T = TypeVar("T", bound=BaseModel)

OrderKind = Literal["clip", "render", "publication", "model", "speech"]
OrderState = Literal["reserved", "submitted", "settled", "failed", "unknown"]

#: The code of a publication that was not placed, because the settings name another publisher than it was meant for.
PUBLISHER_CHANGED = "publisher_changed"
#: The code of an order that a person gave up before it was sent.
NOT_AWAITED = "not_awaited"

#: Orders in words, by the kind in their key; those of model calls have no name.
ORDER_NAMES = {"clip": "clip {}", "render": "the film", "publication": "the post", "speech": "narration {}"}


@dataclass(frozen=True)
class OrderKey:
    """Business key of an order, written `run:kind:number:attempt`."""

    run_id: str
    #: "clip", "render", "publication", "speech", or the name of a model call such as "ideas" or "caption".
    kind: str
    #: The clip number, or the revision of the review.
    number: int = 1
    #: The take of a clip, or the attempt of a render or publication.
    attempt: int = 1

    def __str__(self) -> str:
        return f"{self.run_id}:{self.kind}:{self.number}:{self.attempt}"

    @property
    def name(self) -> str:
        """Return the order in words; empty for a model call."""
        return ORDER_NAMES.get(self.kind, "").format(self.number)

    @classmethod
    def parse(cls, text: str) -> "OrderKey":
        """Return the key written as `text`. Raises ValueError."""
        parts = text.rsplit(":", 3)
        if len(parts) != 4:
            raise ValueError(f"{text!r} is not an order key.")
        run_id, kind, number, attempt = parts
        return cls(run_id, kind, int(number), int(attempt))


@dataclass(frozen=True)
class Approval:
    """The decision that permits an order, by its number, and the digest of the content that was approved."""

    decision: int
    digest: str
    #: The number of the clip, if the decision requested to generate that clip again.
    clip: int | None = None


@dataclass(frozen=True)
class Order:
    """An order to place. `request` is exactly what the provider is sent.

    `provider` is the name of the provider in the settings; without it the only one of its kind. The order is not placed
    before the time `publish_at` of its request, if there is one.
    """

    key: OrderKey
    kind: OrderKind
    request: dict[str, Any]
    amount_usd: Decimal = Decimal(0)
    approval: Approval | None = None
    provider: str = ""

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        return self.key.run_id


@dataclass(frozen=True)
class OrderStatus:
    """The state of an order in the ledger, with its reserved amount.

    `task_id` is the provider's id of it, and `request` what the provider was sent. `result` contains digests and facts
    of a settled order, code and message of a failed one; `settled_at` is when it was settled or failed.
    """

    key: str
    kind: str
    state: OrderState
    amount_usd: Decimal
    created_at: datetime
    task_id: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    settled_at: datetime | None = None
    request: dict[str, Any] = field(default_factory=dict)
    provider: str = ""

    @property
    def is_terminal(self) -> bool:
        """Return whether the order will not change without a person or a late webhook."""
        return self.state in ("settled", "failed", "unknown")


class RetryOptions(TypedDict):
    """Changes to failed clips for a retry: new prompts by clip number, and clips to drop."""

    prompts: dict[str, str]
    drop: list[int]


@dataclass(frozen=True)
class ModelAnswer(Generic[T]):
    """A validated answer of a model, and the tokens of all attempts to get it."""

    value: T
    input_tokens: int
    output_tokens: int


def digest_of(value: Any) -> str:
    """Return the sha256 (hex) of a JSON value in its canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
