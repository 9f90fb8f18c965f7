"""Fork a run: a new one that begins with the ideas of another, and pays only for what differs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4, uuid5

from agents.ideator import Idea
from agents.shot_writer import shot_words, with_slate
from graph.nodes.clips import offer_of
from graph.reviews import EditError, edited
from graph.state import Clip, ShownIdeas
from prompts.project import Project
from runs.errors import Invalid, RevisionNotFound
from runs.look import find
from runs.production import Production
from runs.start import NAMESPACE, chosen
from storage import decisions
from storage import runs as table
from storage.orders import OrderRow
from storage.runs import RunRow


async def fork(
    production: Production,
    run_id: UUID,
    *,
    revision: int | None = None,
    project: str | None = None,
    options: Mapping[str, int] | None = None,
    edits: list[Any] | None = None,
    budget_usd: Decimal | None = None,
    started_by: str,
    channel: str,
    request_key: str | None = None,
) -> RunRow:
    """A new run that opens the ideation gate with the ideas of `revision` of this run (its last one, if not named).

    `project` gives the same ideas another style, `edits` other ideas. A clip that would be ordered in the very same
    words was paid already and is used as it is. Raises RunNotFound, RevisionNotFound, ProjectNotFound or Invalid.
    """
    source = await find(production, run_id)
    shown = await _shown(production, run_id, revision)
    try:
        ideas = edited("ideation", {**shown, "make": list(range(1, len(shown["ideas"]) + 1))}, edits)["ideas"]
    except EditError as error:
        raise Invalid(str(error), field="edits") from error
    name = project or source["project"]
    wanted = {**(source["options"] if name == source["project"] else {}), **(options or {})}
    spec = chosen(production, name, wanted)
    seed = _seed(production, spec, shown["title"], ideas, await production.ledger.of_run(run_id))
    new_id = uuid5(NAMESPACE, f"{started_by}:fork:{request_key}") if request_key else uuid4()
    await table.start(
        production.db,
        new_id,
        project=name,
        brief=source["brief"],
        options=wanted,
        metadata=source["metadata"],
        cap_usd=spec.budget_usd if budget_usd is None else budget_usd,
        started_by=started_by,
        channel=channel,
        forked_from=run_id,
        seed=seed,
    )
    production.wake.advance(str(new_id))
    return await find(production, new_id)


async def _shown(production: Production, run_id: UUID, revision: int | None) -> dict[str, Any]:
    reviews = await decisions.reviews(production.db, run_id, "ideation")
    known = {row["revision"]: row["shown"] for row in reviews}
    if not known or (revision is not None and revision not in known):
        there = ", ".join(map(str, sorted(known))) or "none yet"
        raise RevisionNotFound(f"The run has no such revision of its ideas; there are: {there}.")
    shown: dict[str, Any] = known[max(known) if revision is None else revision]
    return shown


def _seed(
    production: Production, spec: Project, title: str, ideas: list[dict[str, Any]], orders: list[OrderRow]
) -> dict[str, Any]:
    """What the thread begins with: the ideas, and the clips that need not be made."""
    paid = {
        _wording(order["request"]): order for order in orders if order["kind"] == "clip" and order["state"] == "settled"
    }
    clips: dict[str, Clip] = {}
    for number, idea in enumerate(ideas, start=1):
        order = paid.get(_would_be(production, spec, Idea.model_validate(idea)))
        if order and order["result"]:
            result = order["result"]
            clips[str(number)] = Clip(shot=order["key"], take=0, digest=result["digest"], seconds=result["seconds"])
    shown: ShownIdeas = {
        "title": title,
        "ideas": ideas,
        "make": [number for number in range(1, len(ideas) + 1) if str(number) not in clips],
        **offer_of(production.video, spec.clip_seconds, spec.clip_size),
    }
    made = {number: {"0": clip["shot"]} for number, clip in clips.items()}
    return {"ideas": shown, "clips": clips, "made": made}


def _would_be(production: Production, spec: Project, idea: Idea) -> tuple[Any, ...]:
    words = with_slate(shot_words(spec, idea), "-")
    request = {"prompt": words, "seconds": spec.clip_seconds, "size": spec.clip_size, "model": production.video.model}
    return _wording(request)


def _wording(request: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a clip was ordered with, but for the slate in the last line of its prompt."""
    words = str(request["prompt"]).rpartition("\n")[0]
    return words, request["seconds"], request["size"], request["model"]
