"""An order: one thing that may cost money, written down before it is placed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel
from typing_extensions import TypedDict  # pydantic reads them too, and needs this one before Python 3.12

T = TypeVar("T", bound=BaseModel)

OrderKind = Literal["clip", "render", "publication"]
OrderState = Literal["reserved", "submitted", "settled", "failed", "unknown"]


@dataclass(frozen=True)
class Approval:
    """Why an order may be placed: the decision's number, and the digest of what it was about.

    `clip` is the number of the clip when the decision asked for that clip to be made again.
    """

    decision: int
    digest: str
    clip: int | None = None


@dataclass(frozen=True)
class Order:
    """What is ordered. `key` is a business key, `request` exactly what the provider is sent."""

    key: str
    run_id: str
    kind: OrderKind
    request: dict[str, Any]
    amount_usd: Decimal = Decimal(0)
    approval: Approval | None = None


@dataclass(frozen=True)
class OrderStatus:
    """How an order stands. `result` is, once settled, digests and facts; once failed, a code and a message.

    `settled_at` is when it was settled or failed.
    """

    key: str
    kind: str
    state: OrderState
    amount_usd: Decimal
    task_id: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    settled_at: datetime | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self.state in ("settled", "failed", "unknown")


class ClipNote(TypedDict):
    """A clip to be made again, and what should be different."""

    clip: int
    comment: str


class RetryOptions(TypedDict):
    """What a person wants of failed clips: other words for their prompts, by number, or to do without them."""

    prompts: dict[str, str]
    drop: list[int]


@dataclass(frozen=True)
class ModelAnswer(Generic[T]):
    """A model's answer, checked, and the tokens that all the asking took."""

    value: T
    input_tokens: int
    output_tokens: int


def digest_of(value: Any) -> str:
    """The sha256 (hex) of a JSON value in its canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
