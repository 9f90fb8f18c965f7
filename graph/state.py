"""The state of a run: plain JSON in many small channels, split by rate of change.

Node names and channel names are written into checkpoints: a rename is a migration.
"""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads them too, and needs this one before Python 3.12

from graph.decisions import Gate
from providers.video_models import PriceSource

#: The node that runs next, as the node before it decides; "end" ends the run.
Route = Literal[
    "supervisor",
    "ideator",
    "ideation_gate",
    "plan_clips",
    "order_clip",
    "await_clips",
    "rewrite_shots",
    "await_narration",
    "order_render",
    "write_caption",
    "publish_gate",
    "order_publication",
    "await_publication",
    "end",
]
ChangeTarget = Literal["ideas", "clips", "caption", "render", "review"]
#: What makes one requested change; nothing has to be done to keep something.
ChangeStep = Literal["ideas", "clips", "overlay", "caption", "keep", "impossible"]


class RunInput(TypedDict):
    """The input of a run."""

    project: str
    brief: str


class ChangeRequest(TypedDict):
    """The part of the work that the supervisor selected, and the comment of the reviewer behind it.

    `clips` are to be generated again. The target `review` goes back to the gate, where nothing has to be generated.
    `notes` are what the comment says about clips, by number, and `caption` what it says about the caption.
    """

    target: ChangeTarget
    clips: list[int]
    comment: str
    notes: NotRequired[dict[str, str]]
    caption: NotRequired[str]


class ChangeResult(TypedDict):
    """A requested change in the words of the reviewer, the step that makes it, and its outcome so far."""

    text: str
    step: ChangeStep
    clips: list[int]
    outcome: Literal["done", "not_done", "not_possible"]
    reason: str


class Offer(TypedDict):
    """A clip as the provider offers it: model, length in seconds, size in pixels, price in USD.

    An offer of an earlier version has no `provider` or `price_source`. Without `sound` it is not known whether there is
    any. `speech` is the offer of the narrations (`SpeechOffer`), `narrated` are those that are ordered already.
    """

    provider: NotRequired[str]
    model: str
    sound: NotRequired[bool | None]
    seconds: int
    size: str
    usd_per_clip: str
    price_source: NotRequired[PriceSource]
    speech: NotRequired[dict[str, str]]
    narrated: NotRequired[list[str]]


class IdeasState(Offer):
    """The ideas of the film and the offer for each clip. `make` lists the numbers of the clips to order.

    `follows` are the rules of the project that the ideas were made with.

    `notice` is a sentence for the reviewer about the offer; `moderation` is "none" if nothing has moderated them.
    """

    title: str
    ideas: list[dict[str, Any]]
    make: list[int]
    notice: NotRequired[str | None]
    moderation: NotRequired[Literal["none"] | None]
    follows: NotRequired[list[str]]


class Clip(TypedDict):
    """The clip in use for a number: its take and the digest of its file. Take 0 is a clip of the source of a fork."""

    take: int
    digest: str


class CaptionState(TypedDict):
    """The post that goes with the film. Posts of earlier versions have only the first three fields.

    `destinations` are pages, boards or subreddits by platform, `publisher` is the service and account that posts,
    `notices` are sentences for the reviewer about what a platform does not take. Before an approved `publish_at`, a
    time in ISO form, nothing is posted. `labels` are the flags for generated content by platform, and `disclosure` says
    whether the project requires a marked film.
    """

    caption: str
    hashtags: list[str]
    platforms: list[str]
    destinations: NotRequired[dict[str, str]]
    publisher: NotRequired[str]
    notices: NotRequired[list[str]]
    publish_at: NotRequired[str]
    labels: NotRequired[dict[str, str]]
    disclosure: NotRequired[Literal["required", "optional"]]


class RunFailure(TypedDict):
    """The reason why a run ended before publication."""

    code: str
    message: str


class RunState(TypedDict, total=False):
    """The channels, each with the nodes that write it. Keys of dictionaries are clip numbers as text."""

    project: str  # input
    brief: str  # input
    run_id: str  # supervisor: the thread id
    options: dict[str, int]  # supervisor
    image: str  # supervisor: the first clip of new ideas starts from it
    route: Route  # every node that has more than one successor
    rules: list[str]  # supervisor: those of the project when it sent the run to the ideator
    change: ChangeRequest  # supervisor; plan_clips when the offer changed
    requested: list[ChangeResult]  # supervisor; the nodes that make the changes mark them as done
    ideas: IdeasState  # ideator, supervisor, plan_clips (new offer), the gates (edits)
    gate: Gate  # the gates: the one answered last
    decisions: dict[str, dict[str, Any]]  # the gates: last `GateDecision` by gate
    shots: dict[str, dict[str, Any]]  # plan_clips: the `Order` of the newest take by number
    ordered: list[int]  # plan_clips: numbers of this round
    failed_shots: list[int]  # await_clips: numbers that need another take
    prompts: dict[str, str]  # rewrite_shots, await_clips: rewritten prompts by number
    reoffered_prompts: dict[str, str]  # plan_clips: prompts of the clips that wait for approval of a new offer
    dropped: list[int]  # await_clips: numbers left out on request of a person
    made: dict[str, dict[str, str]]  # await_clips: for each number, the orders of its finished takes by take
    clips: dict[str, Clip]  # await_clips, supervisor (a take was chosen)
    speech: dict[str, dict[str, Any]]  # plan_clips, await_narration: the newest `Order` of each text, by its request
    render_key: str  # order_render: its newest order
    music: dict[str, str]  # publish_gate (edits): `Music` under the film, or empty
    film: dict[str, Any]  # await_render: result of its order
    caption: CaptionState  # write_caption, publish_gate (edits), order_ and await_publication (another publisher)
    publication_key: str  # order_publication: its newest order
    publication: dict[str, Any]  # await_publication: the outcome of its orders, with the links by platform
    failure: RunFailure  # the node that ended the run
