"""Request and response models, named as in the API reference."""

import json
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic.config import JsonDict

from chat.confirmations import PendingConfirmation
from graph.decisions import ClipNote, DecisionInput, Gate, Verdict, verdict_of
from graph.status import Status
from runs.queries import RunView
from storage.events import Event

#: The form of the id of a chat session.
SESSION_ID = r"^[A-Za-z0-9._:-]{1,128}$"
#: The declaration of a response that can also be a stream of server-sent events.
EVENT_STREAM: dict[str, Any] = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}


def _check_storable(value: Any) -> Any:
    """Refuse JSON with text that the database cannot store."""
    text = json.dumps(value, ensure_ascii=False)
    if re.search(r"(?<!\\)(\\\\)*\\u0000", text):  # the escaped NUL, and no text that looks like it
        raise ValueError("must not contain NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text without lone surrogates") from None
    return value


def _matching(pattern: str, message: str) -> BeforeValidator:
    """Return a validator that refuses text in another form than the schema describes."""

    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise ValueError(message)
        return value

    return BeforeValidator(check)


Text = Annotated[str, AfterValidator(_check_storable)]
Name = Annotated[Text, Field(max_length=64)]
MetadataText = Annotated[Text, Field(max_length=500)]
SearchText = Annotated[Text, Field(max_length=200)]
ProjectName = Annotated[str, Field(pattern="^[a-z0-9_-]{1,64}$")]
#: An amount as text, up to that of the number.
AMOUNT_PATTERN = r"^(100000(\.0{1,8})?|[0-9]{1,5}(\.[0-9]{1,8})?)$"
BudgetUsd = Annotated[
    Decimal,
    _matching(AMOUNT_PATTERN, "must be a number such as 2.50, from 0 to 100000"),
    Field(ge=0, le=100_000, allow_inf_nan=False),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0, "maximum": 100_000}, {"type": "string", "pattern": AMOUNT_PATTERN}]}
    ),
]
Options = Annotated[dict[Name, Annotated[int, Field(ge=-(2**31), lt=2**31)]], Field(max_length=20)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ClipNumber = Annotated[int, Field(ge=1, le=24)]
ClipNumbers = Annotated[list[ClipNumber], Field(max_length=24)]
CLIP_KEY_PATTERN = "^([1-9]|1[0-9]|2[0-4])$"
#: A clip number as the key of a JSON object, which is text.
ClipKey = Annotated[int, _matching(CLIP_KEY_PATTERN, "must be a clip number from 1 to 24")]
CLIP_KEYS: JsonDict = {"propertyNames": {"pattern": CLIP_KEY_PATTERN}}
T = TypeVar("T")
ByClip = Annotated[dict[ClipKey, T], Field(max_length=24, json_schema_extra=CLIP_KEYS)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_check_storable)]


class RequestBody(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """A request body. Unknown fields are refused. A string after a field is its description."""


class StartRunRequest(RequestBody):
    """The brief and the project of a new run."""

    project: ProjectName = Field(examples=["aismr"])
    brief: Text = Field(min_length=1, max_length=10_000, examples=["Create a relaxing rain video"])
    budget_usd: BudgetUsd | None = None
    """Hard cap of this run. Above the project's it requires approval permission."""
    metadata: dict[Name, MetadataText] = Field({}, max_length=20, description="Returned with the run.")
    options: Options = Field({}, description="Options that the project file declares.")
    image: Digest | None = Field(None, description="Digest of an uploaded image, which the first clip starts from.")


class RunStarted(BaseModel):
    """A run that was started."""

    run_id: UUID
    status: Status


class RunPage(BaseModel):
    """Runs, newest first. `next_cursor` continues with older ones."""

    runs: list[RunView]
    next_cursor: str | None


class ClipChange(ClipNote, extra="forbid"):
    """A clip to generate again, and the requested change."""

    clip: ClipNumber
    comment: Text = Field("", max_length=1_000, examples=["too dark"])


class ApproveRequest(RequestBody):
    """A decision at a gate."""

    gate: Gate
    approved: bool
    comment: Text | None = Field(None, max_length=4_000, examples=["Looks good"])
    decision: Verdict | None = Field(None, description="Overrides `approved` and `comment`: approve, revise or reject.")
    edits: list[JsonObject] | JsonObject | None = None
    """Ideation: the edited list of ideas. Publish: `caption`, `hashtags`."""
    clips: list[ClipNumber | ClipChange] | None = Field(None, max_length=24)
    """Publish, with changes requested: the clips to generate again."""
    takes: ByClip[Annotated[int, Field(ge=0, le=1000)]] | None = None
    """Publish, with changes requested: by clip number, the take to use."""
    sample: ClipNumbers | None = None
    """Ideation, with an approval: generate only these clips; then the gate opens again with the rest."""
    keep: ClipNumbers | None = None
    """Ideation, with an approval: the numbers of the ideas to keep, in order."""
    publish_at: Text | None = Field(None, max_length=64, examples=["2026-12-01T18:00:00+01:00"])
    """Publish, with an approval: the time, in ISO 8601 with a time zone and at most 90 days ahead, before which nothing
    is posted. Cancelling the run until then posts nothing."""
    digest: Text | None = Field(None, max_length=128)
    """Digest of the content that was reviewed; 409 if the content has changed. Without it the decision counts if the
    open revision was served to this API key, otherwise 409 with the current content."""

    def as_input(self) -> DecisionInput:
        """Return the decision that the request describes."""
        fields = {name: value for name, value in self if name in DecisionInput.model_fields and value is not None}
        return DecisionInput(verdict=self.decision or verdict_of(self.approved, self.comment), **fields)


class RetryRequest(RequestBody):
    """The options of a retry."""

    not_made: bool = False
    """Declares that the orders of unknown outcome were not executed; they are placed again."""
    confirm: str | None = Field(None, max_length=64)
    """With `not_made`: the code in the details of the 409 that showed the orders of unknown outcome and the price of
    placing them again."""
    prompts: ByClip[Annotated[Text, Field(min_length=1, max_length=4_000)]] = {}
    """New prompts for failed clips, by clip number."""
    drop: ClipNumbers = Field([], description="The numbers of failed clips to leave out.")
    stop_waiting: bool = False
    """For a run that waits in trouble: gives up the orders that it waits for. The run then fails, and the next retry
    orders them again or drops them. An order that may be charged is of unknown outcome."""


class ForkRequest(RequestBody):
    """The source of a fork, and the differences of the new run."""

    revision: int | None = Field(None, ge=1, le=10_000, description="Of the ideas; the latest by default.")
    project: ProjectName | None = Field(None, description="The same ideas in the style of another project.")
    options: Options | None = None
    edits: list[dict[str, Any]] | None = Field(None, max_length=24, description="The edited list of ideas.")
    budget_usd: BudgetUsd | None = None


class RunEvents(BaseModel):
    """Events of a run, oldest first. Continue after the last `seq`."""

    events: list[Event]


class ChatMessageRequest(RequestBody):
    """A message to the supervisor. Without a session a new one is created."""

    message: Text = Field(min_length=1, max_length=100_000, examples=["What videos should I make today?"])
    session_id: str | None = Field(None, pattern=SESSION_ID)


class ChatResponse(BaseModel):
    """The supervisor's answer. Each of `pending_decisions` has its own code; `pending_decision` is the first."""

    session_id: str
    response: str
    run_ids: list[UUID]
    pending_decision: PendingConfirmation | None
    pending_decisions: list[PendingConfirmation] = []


class Health(BaseModel):
    """The status of the service."""

    status: Literal["healthy"]
    version: str


class Ready(BaseModel):
    """Whether the service can work. Each check is "ok", or a sentence with what is wrong."""

    status: Literal["ready", "unavailable"]
    checks: dict[str, str]


class WebhookReceipt(BaseModel):
    """The acknowledgement of a webhook event."""

    status: Literal["accepted", "duplicate", "ignored"]
