"""Start a run from a brief, or fork one: a new run with the ideas of another, which pays only for the differences."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid4, uuid5

from agents.roles import shot_prompt, without_correlation_tag
from agents.texts import Idea, clean_text
from graph.nodes.clips import clip_offer
from graph.nodes.narration import speech_offer, with_speech
from graph.review_content import EditError, IdeasContent, edited_content, parse_content
from graph.state import Clip, IdeasState, RunState
from prompts.project import OptionError, Project
from providers.video_models import VideoModels
from providers.video_provider import IMAGE_KIND
from runs import errors
from runs.queries import get_kept_run
from runs.services import Services
from storage import reviews, runs as table
from storage.actors import Actor, RequestContext
from storage.database import Database
from storage.orders import OrderRow
from storage.runs import NewRun, RunRow
from telemetry.logs import identified
from telemetry.traces import span

NAMESPACE = UUID("b6b3a2a8-6b0b-4b52-8f4e-1d5a4c1c9d3e")
MAX_BRIEF_CHARACTERS = 10_000


async def start_run(
    services: Services,
    *,
    project: str,
    brief: str,
    options: Mapping[str, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    budget_usd: Decimal | None = None,
    image: str | None = None,
    run_id: UUID | None = None,
    context: RequestContext,
) -> RunRow:
    """Create a run, or return the run that the same actor started with the same idempotency key.

    `budget_usd` caps the run instead of the project's own budget, and its first clip starts from `image`. `run_id` is
    set only for a run that already has a thread, in Studio.
    Raises ProjectNotFound, ProjectRefused, InvalidRequest, ImageRefused or ApprovalNotPermitted.
    """
    spec = await check_project(services, project, options or {}, image)
    brief, cap_usd = checked_brief(brief), run_cap(spec, budget_usd, context.actor)
    chosen, kept, seed = dict(options or {}), dict(metadata or {}), {"image": image} if image else {}
    run_id = run_id or run_id_for(context)
    new = NewRun(id=run_id, project=project, brief=brief, options=chosen, metadata=kept, cap_usd=cap_usd, seed=seed)
    return await _create_run(services, new, context)


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
) -> RunRow:
    """Create a run that opens the ideation gate with the ideas of a revision of this run, by default the last one.

    `project` gives the ideas another style, `edits` replaces them. A clip whose order would have the same content is
    reused without cost. Raises RunNotFound, RunPruned, RevisionNotFound, ApprovalNotPermitted, or an error of
    `resolve_project`.
    """
    source = await get_kept_run(services.db, run_id)
    content = await _ideas_at(services.db, run_id, revision)
    content = content.model_copy(update={"make": list(range(1, len(content.ideas) + 1))})
    try:
        edited = edited_content(content, edits)
    except EditError as error:
        raise errors.InvalidRequest(str(error), field="edits") from error
    name = project or source.project
    merged_options = {**(source.options if name == source.project else {}), **(options or {})}
    spec = resolve_project(services, name, merged_options)
    seed = await _seed(services.video, spec, edited, await services.ledger.list_for_run(run_id))
    seed |= {"image": source.image} if source.image else {}
    seed["ideas"] = with_speech(seed["ideas"], speech_offer(spec, services.speech))
    new = NewRun(
        id=run_id_for(context, "fork"),
        project=name,
        brief=source.brief,
        options=merged_options,
        metadata=source.metadata,
        cap_usd=run_cap(spec, budget_usd, context.actor),
        forked_from=run_id,
        seed=seed,
    )
    return await _create_run(services, new, context)


async def _create_run(services: Services, new: NewRun, context: RequestContext) -> RunRow:
    with identified(str(new.id)), span("start run"):
        run = await table.create_run(services.db, new, context)
    services.wakeups.advance(str(run.id))
    return run


async def check_project(services: Services, name: str, options: Mapping[str, int], image: str | None) -> Project:
    """Return the project with these options, whose first clip can start from the image. Raises as `start_run`."""
    spec = resolve_project(services, name, options)
    if image:
        offer = services.video.offer(spec.clip_seconds, spec.clip_size, spec.video)
        await check_image(services, image, (offer.provider, offer.model, offer.size), "The image", field="image")
    return spec


def checked_brief(brief: str) -> str:
    """Return the brief as it is stored. Raises InvalidRequest."""
    brief = clean_text(brief)
    if not 1 <= len(brief) <= MAX_BRIEF_CHARACTERS:
        message = f"The brief must have 1 to {MAX_BRIEF_CHARACTERS:,} characters, not {len(brief):,}."
        raise errors.InvalidRequest(message, field="brief")
    return brief


async def check_image(
    services: Services, digest: str, clip: tuple[str, str, str] | None, place: str, *, field: str
) -> None:
    """Raise InvalidRequest for an unknown image, and ImageRefused if the clip (provider, model, size) takes none such.

    `place` begins the message.
    """
    image = await services.artifacts.find(digest)
    if image is None or image.kind != IMAGE_KIND:
        message = f"{place}: no uploaded image has the digest {digest[:12]}…; upload it first."
        raise errors.InvalidRequest(message, field=field)
    if clip and (refusal := services.video.image_refusal(*clip, (image.facts["width"], image.facts["height"]))):
        raise errors.ImageRefused(f"{place}: {refusal}")


def run_cap(spec: Project, budget_usd: Decimal | None, actor: Actor) -> Decimal:
    """Return the cap of a run, by default the project's. Raises ApprovalNotPermitted for more, except for approvers."""
    if budget_usd is not None and budget_usd > spec.budget_usd and not actor.can_approve:
        raise errors.ApprovalNotPermitted(
            "API key lacks approval permission, which a budget above the project's requires:"
            f" at most {spec.budget_usd:.2f} USD."
        )
    return spec.budget_usd if budget_usd is None else budget_usd


def run_id_for(context: RequestContext, action: Literal["start", "fork"] = "start") -> UUID:
    """Return the id of the run that this request creates: the same for the same actor and idempotency key."""
    if context.idempotency_key is None:
        return uuid4()
    return uuid5(NAMESPACE, f"{context.actor.id}:{action}:{context.idempotency_key}")


def resolve_project(services: Services, name: str, options: Mapping[str, int]) -> Project:
    """Return the project with options that suit the model. Raises ProjectNotFound, ProjectRefused or InvalidRequest."""
    if name not in services.offered:
        known = sorted(services.offered)
        raise errors.ProjectNotFound(f"Project {name!r} not found. Projects: {', '.join(known)}.", projects=known)
    try:
        spec = services.projects[name].with_options(options)
    except OptionError as error:
        raise errors.InvalidRequest(str(error), field="options") from error
    if spec.voice and services.speech is None:
        message = f"Project {name} cannot be started: it has a voice, and SPEECH_BASE_URL is not set."
        raise errors.ProjectRefused(message, project=name, reason="speech_not_configured")
    if refusal := services.video.refusal(spec):
        if "clip_seconds" in options:
            raise errors.InvalidRequest(refusal.message, field="options") from refusal
        message = f"Project {name} cannot be started: {refusal.message}"
        raise errors.ProjectRefused(message, project=name, reason=refusal.code) from refusal
    return spec


async def _ideas_at(db: Database, run_id: UUID, revision: int | None) -> IdeasContent:
    known = {row.revision: row.content for row in await reviews.list_reviews(db, run_id) if row.gate == "ideation"}
    if not known or (revision is not None and revision not in known):
        available = ", ".join(map(str, sorted(known))) or "none"
        raise errors.RevisionNotFound(f"Revision of the ideas not found. Available: {available}.")
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
        "follows": content.follows,
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
