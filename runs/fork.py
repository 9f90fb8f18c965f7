"""Fork a run: a new one that begins with the ideas of another, and pays only for what differs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4, uuid5

from agents.ideator import Idea
from agents.shot_writer import shot_prompt, with_correlation_tag
from graph.nodes.clips import clip_offer
from graph.review_content import EditError, apply_edits
from graph.state import Clip, IdeasState
from prompts.project import Project
from runs.errors import InvalidRequest, RevisionNotFound
from runs.queries import get_run
from runs.services import Services
from runs.start import NAMESPACE, resolve_project
from storage import decisions
from storage import runs as table
from storage.orders import OrderRow
from storage.runs import RunRow


async def fork_run(
    services: Services,
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
    source = await get_run(services, run_id)
    content = await _shown(services, run_id, revision)
    try:
        ideas = apply_edits("ideation", {**content, "make": list(range(1, len(content["ideas"]) + 1))}, edits)["ideas"]
    except EditError as error:
        raise InvalidRequest(str(error), field="edits") from error
    name = project or source["project"]
    wanted = {**(source["options"] if name == source["project"] else {}), **(options or {})}
    spec = resolve_project(services, name, wanted)
    seed = _seed(services, spec, content["title"], ideas, await services.ledger.list_for_run(run_id))
    new_id = uuid5(NAMESPACE, f"{started_by}:fork:{request_key}") if request_key else uuid4()
    await table.create_run(
        services.db,
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
    services.wakeups.advance(str(new_id))
    return await get_run(services, new_id)


async def _shown(services: Services, run_id: UUID, revision: int | None) -> dict[str, Any]:
    reviews = await decisions.list_review_comments(services.db, run_id, "ideation")
    known = {row["revision"]: row["content"] for row in reviews}
    if not known or (revision is not None and revision not in known):
        there = ", ".join(map(str, sorted(known))) or "none yet"
        raise RevisionNotFound(f"The run has no such revision of its ideas; there are: {there}.")
    content: dict[str, Any] = known[max(known) if revision is None else revision]
    return content


def _seed(
    services: Services, spec: Project, title: str, ideas: list[dict[str, Any]], orders: list[OrderRow]
) -> dict[str, Any]:
    """What the thread begins with: the ideas, and the clips that need not be made."""
    paid = {
        _wording(order["request"]): order for order in orders if order["kind"] == "clip" and order["state"] == "settled"
    }
    clips: dict[str, Clip] = {}
    for number, idea in enumerate(ideas, start=1):
        order = paid.get(_would_be(services, spec, Idea.model_validate(idea)))
        if order and order["result"]:
            result = order["result"]
            clips[str(number)] = Clip(shot=order["key"], take=0, digest=result["digest"], seconds=result["seconds"])
    content: IdeasState = {
        "title": title,
        "ideas": ideas,
        "make": [number for number in range(1, len(ideas) + 1) if str(number) not in clips],
        **clip_offer(services.video, spec.clip_seconds, spec.clip_size),
    }
    made = {number: {"0": clip["shot"]} for number, clip in clips.items()}
    return {"ideas": content, "clips": clips, "made": made}


def _would_be(services: Services, spec: Project, idea: Idea) -> tuple[Any, ...]:
    words = with_correlation_tag(shot_prompt(spec, idea), "-")
    request = {"prompt": words, "seconds": spec.clip_seconds, "size": spec.clip_size, "model": services.video.model}
    return _wording(request)


def _wording(request: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a clip was ordered with, but for the slate in the last line of its prompt."""
    words = str(request["prompt"]).rpartition("\n")[0]
    return words, request["seconds"], request["size"], request["model"]
