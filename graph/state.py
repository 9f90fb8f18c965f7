"""What a run's thread remembers: plain JSON, many small channels by rate of change.

Node names and these keys are written into checkpoints: renaming one is a migration.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads them too, and needs this one before Python 3.12

from providers.orders import ClipNote

Gate = Literal["ideation", "publish"]


class RunFacts(TypedDict):
    """What never changes about a run."""

    id: str
    project: str
    brief: str
    options: dict[str, int]


class ChangeRequest(TypedDict):
    """Where the supervisor sent the work, and the reviewer's words that made it.

    `clips` are those to be made again; `review` is straight back to the gate, when nothing has to be made.
    `offer_changed` is whether clips go to the ideation gate because they cannot be had any more as they were shown.
    """

    step: Literal["ideas", "clips", "caption", "render", "review"]
    clips: list[int]
    comment: str
    offer_changed: NotRequired[bool]


class Offer(TypedDict):
    """A clip as it can be had: by which model, how long (seconds), in which size (pixels), and for how much (USD).

    `notice` is what a reviewer has to know beside.
    """

    model: str
    seconds: int
    size: str
    usd_per_clip: str
    notice: NotRequired[str]


class IdeasState(TypedDict):
    """The ideas of the film and what making them costs. `make` names the clips that would be ordered.

    The rest is the Offer of each.
    """

    model: NotRequired[str]  # these three are not in checkpoints from before the gate showed them
    seconds: NotRequired[int]
    size: NotRequired[str]
    usd_per_clip: str
    notice: NotRequired[str]
    title: str
    ideas: list[dict[str, Any]]
    make: list[int]


class DecisionState(TypedDict):
    """The last decision at a gate. `number` is that of its row, or 0 in Studio, where there is none."""

    number: int
    revision: int
    verdict: Literal["approve", "revise", "reject"]
    comment: str
    clips: list[ClipNote]
    takes: dict[str, int]
    edited: list[str]
    approved_digest: str | None


class ApprovalRef(TypedDict):
    """What an order of a clip stands under: the decision's number, the digest of what it was about, and its kind.

    `remake` is whether it asked for that clip to be made again.
    """

    decision: int
    digest: str
    remake: bool


class Shot(ApprovalRef):
    """One clip as it is ordered: `key` is that of the order, `take` counts from 1, `prompt` is `words` and a slate."""

    number: int
    take: int
    key: str
    words: str
    prompt: str
    seconds: int
    size: str
    model: str
    usd: str


class Clip(TypedDict):
    """The clip that is used for a number. `shot` is the key of the order that made it, in this run or another."""

    shot: str
    take: int
    digest: str
    seconds: float


class Render(TypedDict):
    """The render under way: the key of its order and what it is made from."""

    key: str
    attempt: int
    manifest: dict[str, Any]
    failed: bool


class Publication(TypedDict):
    """The publication under way or done."""

    key: str
    attempt: int
    facts: dict[str, Any]
    failed: bool


class RunState(TypedDict, total=False):
    """The channels. Each is written by the node that its comment names."""

    run: RunFacts  # the input
    going: ChangeRequest  # supervisor, plan_clips
    ideas: IdeasState  # ideator, supervisor, plan_clips (another offer), the gates (edits)
    gate: Gate  # the gates: which was answered last
    revisions: dict[str, int]  # the gates: how often each was answered
    decisions: dict[str, DecisionState]  # the gates
    shots: dict[str, Shot]  # plan_clips: the newest take of each number
    ordered: list[int]  # plan_clips: the numbers of this round
    failed_shots: list[int]  # await_clips: to be taken again
    prompts: dict[str, str]  # rewrite_shots, await_clips: the words of a shot that were written again
    dropped: list[int]  # await_clips: numbers that a person gave up
    made: dict[str, dict[str, str]]  # await_clips: for each number, its takes that were made, and their orders
    clips: dict[str, Clip]  # await_clips, supervisor (a take was chosen)
    render: Render  # order_render
    film: dict[str, Any]  # await_render
    caption: dict[str, Any]  # write_caption, publish_gate (edits)
    publication: Publication  # order_publication, await_publication
    failure: dict[str, str]  # whoever ended the run: code and message
