"""Fork a run: a new run that starts with the ideas of another and pays only for the differences."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from agents.texts import Idea
from agents.writers import shot_prompt, without_correlation_tag
from graph.nodes.clips import clip_offer
from graph.nodes.narration import speech_offer, with_speech
from graph.review_content import EditError, IdeasContent, edited_content, parse_content
from graph.state import Clip, IdeasState, RunState
from prompts.project import Project
from providers.video_models import VideoModels
from runs.errors import InvalidRequest, RevisionNotFound
from runs.queries import get_run
from runs.services import Services
from runs.start import resolve_project, run_cap, run_id_for
from storage import reviews, runs as table
from storage.actors import RequestContext
from storage.database import Database
from storage.orders import OrderRow


async def fork_run(
    services: Services,
    run_id: UUID,
    *,
    revision: int | None = None,
    project: str | None = None,
    options: Mapping[str, int] | None = None,
    edits: list[dict[str, Any]] | None = None,
    budget_usd: Decimal | None = None,
    context: RequestContext,
) -> table.RunRow:
    """Create a run that opens the ideation gate with the ideas of a revision of this run, by default the last one.

    `project` gives the ideas another style, `edits` replaces them. A clip whose order would have the same content is
    reused without cost. Raises RunNotFound, RevisionNotFound, ApprovalNotPermitted, or an error of `resolve_project`.
    """
    source = await get_run(services.db, run_id)
    content = await _ideas_at(services.db, run_id, revision)
    content = content.model_copy(update={"make": list(range(1, len(content.ideas) + 1))})
    try:
        edited = edited_content(content, edits)
    except EditError as error:
        raise InvalidRequest(str(error), field="edits") from error
    name = project or source.project
    merged_options = {**(source.options if name == source.project else {}), **(options or {})}
    spec = resolve_project(services, name, merged_options)
    seed = await _seed(services.video, spec, edited, await services.ledger.list_for_run(run_id))
    seed |= {"image": source.image} if source.image else {}
    seed["ideas"] = with_speech(seed["ideas"], speech_offer(spec, services.speech))
    new = table.NewRun(
        id=run_id_for(context, "fork"),
        project=name,
        brief=source.brief,
        options=merged_options,
        metadata=source.metadata,
        cap_usd=run_cap(spec, budget_usd, context.actor),
        forked_from=run_id,
        seed=seed,
    )
    run = await table.create_run(services.db, new, context)
    services.wakeups.advance(str(run.id))
    return run


async def _ideas_at(db: Database, run_id: UUID, revision: int | None) -> IdeasContent:
    known = {row.revision: row.content for row in await reviews.list_reviews(db, run_id) if row.gate == "ideation"}
    if not known or (revision is not None and revision not in known):
        available = ", ".join(map(str, sorted(known))) or "none"
        raise RevisionNotFound(f"Revision of the ideas not found. Available: {available}.")
    content = parse_content(known[max(known) if revision is None else revision])
    assert isinstance(content, IdeasContent)  # noqa: S101 - the ideation gate shows nothing else
    return content


async def _seed(video: VideoModels, spec: Project, content: IdeasContent, orders: Sequence[OrderRow]) -> RunState:
    """Return the initial channels of the thread: the ideas, and the clips that can be reused."""
    reused = _reusable_orders(video, spec, content.ideas, orders)
    ideas: IdeasState = {
        "title": content.title,
        "ideas": [idea.model_dump() for idea in content.ideas],
        "make": [number for number in content.make if number not in reused],
        "notice": None,
        "moderation": content.moderation,
        **await clip_offer(video, spec.clip_seconds, spec.clip_size, spec.video),
    }
    clips = {str(n): Clip(take=0, digest=order.result["digest"]) for n, order in reused.items() if order.result}
    return {"ideas": ideas, "clips": clips, "made": {str(n): {"0": order.key} for n, order in reused.items()}}


def _reusable_orders(
    video: VideoModels, spec: Project, ideas: Sequence[Idea], orders: Sequence[OrderRow]
) -> dict[int, OrderRow]:
    """Return the settled orders of clips whose content is that of an idea, by the number of the idea."""
    settled = {_request_content(order.request): order for order in orders if order.clip and order.state == "settled"}
    offer = video.offer(spec.clip_seconds, spec.clip_size, spec.video)
    offered = offer.seconds, offer.size, offer.model, offer.sound
    contents = [(shot_prompt(spec, idea), *offered, idea.image or None) for idea in ideas]
    return {number: settled[content] for number, content in enumerate(contents, start=1) if content in settled}


def _request_content(request: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the content of a clip request, without the correlation tag of its order."""
    names = ("seconds", "size", "model", "sound", "image")
    return without_correlation_tag(request["prompt"]), *(request.get(name) for name in names)
