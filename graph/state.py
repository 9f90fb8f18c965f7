"""What a run's thread remembers: plain JSON, many small channels by rate of change.

Node names and these keys are written into checkpoints: renaming one is a migration.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Gate = Literal["ideation", "publish"]


class RunFacts(TypedDict):
    """What never changes about a run."""

    id: str
    project: str
    brief: str
    options: dict[str, int]


class Going(TypedDict):
    """Where the supervisor sent the work, and the reviewer's words that made it."""

    step: Literal["ideas", "clips", "caption", "render"]
    clips: list[int]
    comment: str


class ShownIdeas(TypedDict):
    """The ideas of the film and what making them costs. `make` names the clips that would be ordered."""

    title: str
    ideas: list[dict[str, Any]]
    make: list[int]
    usd_per_clip: str


class Decided(TypedDict):
    """The last decision at a gate. `number` is that of its row, or 0 in Studio, where there is none."""

    number: int
    revision: int
    verdict: Literal["approve", "revise", "reject"]
    comment: str
    clips: list[int]
    approved_digest: str | None


class Shot(TypedDict):
    """One clip as it is ordered: `key` is that of the order, `take` counts from 1."""

    number: int
    take: int
    key: str
    prompt: str
    seconds: int
    size: str
    model: str
    usd: str
    decision: int
    digest: str
    remake: bool


class Clip(TypedDict):
    """A clip that was made. `shot` is the key of the order that made it."""

    shot: str
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


class State(TypedDict, total=False):
    """The channels. Each is written by the node that its comment names."""

    run: RunFacts  # the input
    going: Going  # supervisor
    ideas: ShownIdeas  # ideator, supervisor, ideation_gate (edits)
    gate: Gate  # the gates: which was answered last
    revisions: dict[str, int]  # the gates: how often each was answered
    decisions: dict[str, Decided]  # the gates
    shots: dict[str, Shot]  # plan_clips
    failed_shots: list[int]  # await_clips: to be taken again
    retries: int  # plan_clips, order_render, order_publication: a person's retries when it was ordered
    clips: dict[str, Clip]  # await_clips
    render: Render  # order_render
    film: dict[str, Any]  # await_render
    caption: dict[str, Any]  # write_caption, publish_gate (edits)
    publication: Publication  # order_publication, await_publication
    failure: dict[str, str]  # whoever ended the run: code and message
