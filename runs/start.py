"""Start a run."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal
from uuid import UUID, uuid4, uuid5

from agents.texts import clean_text
from prompts.project import OptionError, Project
from providers.video_provider import IMAGE_KIND
from runs.errors import ApprovalNotPermitted, ImageRefused, InvalidRequest, ProjectNotFound, ProjectRefused
from runs.services import Services
from storage import runs as table
from storage.actors import Actor, RequestContext
from storage.runs import NewRun, RunRow

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
    run = await table.create_run(services.db, new, context)
    services.wakeups.advance(str(run_id))
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
        raise InvalidRequest(message, field="brief")
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
        raise InvalidRequest(message, field=field)
    if clip and (refusal := services.video.image_refusal(*clip, (image.facts["width"], image.facts["height"]))):
        raise ImageRefused(f"{place}: {refusal}")


def run_cap(spec: Project, budget_usd: Decimal | None, actor: Actor) -> Decimal:
    """Return the cap of a run, by default the project's. Raises ApprovalNotPermitted for more, except for approvers."""
    if budget_usd is not None and budget_usd > spec.budget_usd and not actor.can_approve:
        raise ApprovalNotPermitted(
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
        raise ProjectNotFound(f"Project {name!r} not found. Projects: {', '.join(known)}.", projects=known)
    try:
        spec = services.projects[name].with_options(options)
    except OptionError as error:
        raise InvalidRequest(str(error), field="options") from error
    if spec.voice and services.speech is None:
        message = f"Project {name} cannot be started: it has a voice, and SPEECH_BASE_URL is not set."
        raise ProjectRefused(message, project=name, reason="speech_not_configured")
    if refusal := services.video.refusal(spec):
        if "clip_seconds" in options:
            raise InvalidRequest(refusal.message, field="options") from refusal
        message = f"Project {name} cannot be started: {refusal.message}"
        raise ProjectRefused(message, project=name, reason=refusal.code) from refusal
    return spec
