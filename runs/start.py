"""Start a run."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID, uuid4, uuid5

from agents.structured import clean_text
from prompts.project import OptionError, Project
from providers.video_profiles import ProfileError
from runs.errors import InvalidRequest, ProjectNotFound
from runs.queries import get_run
from runs.services import Services
from storage import runs as table
from storage.runs import RunRow

NAMESPACE = UUID("b6b3a2a8-6b0b-4b52-8f4e-1d5a4c1c9d3e")
BRIEF_LIMIT = 10_000


async def start_run(
    services: Services,
    *,
    project: str,
    brief: str,
    options: Mapping[str, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    budget_usd: Decimal | None = None,
    started_by: str,
    channel: str,
    request_key: str | None = None,
) -> RunRow:
    """A new run, or the one that the same `request_key` of the same `started_by` began already.

    `budget_usd` caps the run instead of the project's own budget. Raises ProjectNotFound or Invalid.
    """
    spec = resolve_project(services, project, options or {})
    brief = clean_text(brief)
    if not 1 <= len(brief) <= BRIEF_LIMIT:
        raise InvalidRequest(f"The brief must have 1 to {BRIEF_LIMIT:,} characters, not {len(brief):,}.", field="brief")
    run_id = run_id_for(started_by, request_key) if request_key else uuid4()
    await table.create_run(
        services.db,
        run_id,
        project=project,
        brief=brief,
        options=options or {},
        metadata=metadata or {},
        cap_usd=spec.budget_usd if budget_usd is None else budget_usd,
        started_by=started_by,
        channel=channel,
    )
    services.wakeups.advance(str(run_id))
    return await get_run(services, run_id)


def run_id_for(started_by: str, request_key: str) -> UUID:
    """The id of the run that this one begins under this key."""
    return uuid5(NAMESPACE, f"{started_by}:{request_key}")


def resolve_project(services: Services, project: str, options: Mapping[str, int]) -> Project:
    """The project with these options, if there is such a one and the maker of clips can do it.

    Raises ProjectNotFound or Invalid.
    """
    spec = services.projects.get(project)
    if spec is None:
        known = sorted(services.projects)
        raise ProjectNotFound(f"There is no project {project!r}; there are: {', '.join(known)}.", projects=known)
    try:
        spec = spec.with_options(options)
        services.video.check(spec.clip_seconds, spec.clip_size)
    except (OptionError, ProfileError) as error:
        raise InvalidRequest(str(error), field="options") from error
    return spec
