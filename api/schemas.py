"""What goes in and out at the doors, in the words of the API reference."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from graph.state import Gate
from graph.status import Status


def _storable(text: str) -> str:
    """Text that every table and checkpoint can hold."""
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text without lone surrogates") from None
    return text


def _all_storable(value: Any) -> Any:
    """JSON of which every text can be held."""
    match value:
        case str():
            _storable(value)
        case list():
            for each in value:
                _all_storable(each)
        case dict():
            for name, each in value.items():
                _storable(name)
                _all_storable(each)
    return value


Text = Annotated[str, AfterValidator(_storable)]
MetadataText = Annotated[Text, Field(max_length=500)]


class RequestBody(BaseModel):
    """A body that is sent to us: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class StartRunRequest(RequestBody):
    """A brief, and the project it is for."""

    project: str = Field(pattern="^[a-z0-9_-]{1,64}$", examples=["aismr"])
    brief: Text = Field(min_length=1, max_length=10_000, examples=["Create a relaxing rain video"])
    budget_usd: Decimal | None = Field(None, ge=0, le=100_000, allow_inf_nan=False, description="Hard cap of this run.")
    metadata: dict[Annotated[Text, Field(max_length=64)], MetadataText] = Field(
        default_factory=dict, max_length=20, description="Echoed back."
    )
    options: dict[Annotated[Text, Field(max_length=64)], Annotated[int, Field(ge=-(2**31), lt=2**31)]] = Field(
        default_factory=dict, max_length=20, description="Options that the project file declares."
    )


class RunStarted(BaseModel):
    """A run that was started."""

    run_id: UUID
    status: Status


class Cost(BaseModel):
    """What a run costs, in USD."""

    estimated_usd: float | None
    reserved_usd: float
    spent_usd: float
    cap_usd: float


class Review(BaseModel):
    """What an open gate shows. `digest` is that of `shown`."""

    gate: Gate
    revision: int
    digest: str
    content: dict[str, Any]


class RunFailure(BaseModel):
    """Why a run failed, and whether it can be tried again."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    retryable: bool = False


class Run(BaseModel):
    """A run."""

    run_id: UUID
    status: Status
    current_step: str | None
    artifacts: dict[str, Any]
    project: str
    brief: str
    options: dict[str, int]
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    error: RunFailure | None
    cost: Cost
    review: Review | None
    revision: int
    forked_from: UUID | None


class RunPage(BaseModel):
    """Runs, newest first. `next_cursor` leads to the older ones."""

    runs: list[Run]
    next_cursor: str | None


ClipNumber = Annotated[int, Field(ge=1, le=24)]


class ClipChange(RequestBody):
    """A clip to make again, and what should be different."""

    clip: ClipNumber
    comment: Text = Field("", max_length=1_000, examples=["too dark"])


class ApproveRequest(RequestBody):
    """A person's decision at a gate."""

    gate: Gate
    approved: bool
    comment: Text | None = Field(None, max_length=4_000, examples=["Looks good"])
    decision: Literal["approve", "revise", "reject"] | None = Field(
        None, description="When `approved` and `comment` do not say it: approve, revise or reject."
    )
    edits: Annotated[list[dict[str, Any]] | dict[str, Any] | None, AfterValidator(_all_storable)] = Field(
        None, description="Ideation: the idea list as you want it. Publish: `caption`, `hashtags`."
    )
    clips: list[ClipNumber | ClipChange] | None = Field(
        None, max_length=24, description="Publish, with changes requested: the clips to make again."
    )
    takes: dict[ClipNumber, Annotated[int, Field(ge=0, le=1000)]] | None = Field(
        None, max_length=24, description="Publish, with changes requested: for a clip, the take to use."
    )
    keep: list[ClipNumber] | None = Field(
        None, max_length=24, description="Ideation, with an approval: the numbers of the ideas to keep, in order."
    )
    digest: Text | None = Field(None, max_length=128, description="Of what you saw; 409 if it changed meanwhile.")


class RetryRequest(RequestBody):
    """How to try a failed run again."""

    not_made: bool = Field(
        False, description="Your word that orders of unknown outcome were not made; they are ordered again."
    )
    prompts: dict[ClipNumber, Annotated[Text, Field(min_length=1, max_length=4_000)]] = Field(
        default_factory=dict, max_length=24, description="Other words for clips that failed, by number."
    )
    drop: list[ClipNumber] = Field(
        default_factory=list, max_length=24, description="The numbers of failed clips to do without."
    )


class ForkRequest(RequestBody):
    """What a new run takes from this one, and what is different."""

    revision: int | None = Field(None, ge=1, le=10_000, description="Of the ideas; the last one if not named.")
    project: str | None = Field(None, pattern="^[a-z0-9_-]{1,64}$", description="The same ideas in another style.")
    options: dict[Annotated[Text, Field(max_length=64)], Annotated[int, Field(ge=-(2**31), lt=2**31)]] | None = Field(
        None, max_length=20
    )
    edits: list[dict[str, Any]] | None = Field(None, max_length=24, description="The ideas as you want them.")
    budget_usd: Decimal | None = Field(None, ge=0, le=100_000, allow_inf_nan=False)


class Quote(BaseModel):
    """What something would cost, in USD."""

    usd: float
    cap_left_usd: float
    fits: bool


class RunEvent(BaseModel):
    """One event of a run."""

    seq: int
    kind: str
    source: str
    subject: str | None
    payload: dict[str, Any]
    created_at: datetime


class RunEvents(BaseModel):
    """Events of a run in order. Ask for those after the last `seq` you saw."""

    events: list[RunEvent]


class ChatMessageRequest(RequestBody):
    """A message to the supervisor. Without a session a new one begins."""

    message: Text = Field(min_length=1, max_length=10_000, examples=["What videos should I make today?"])
    session_id: str | None = Field(None, pattern=r"^[A-Za-z0-9._:-]{1,128}$")


class ChatAnswer(BaseModel):
    """The supervisor's answer."""

    session_id: str
    response: str
    run_ids: list[UUID]
    pending_decision: dict[str, Any] | None


class Health(BaseModel):
    """That the service answers."""

    status: Literal["healthy"]
    version: str


class WebhookReceipt(BaseModel):
    """What became of a webhook event."""

    status: Literal["accepted", "duplicate", "ignored"]
