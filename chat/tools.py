"""The tools of the supervisor and of MCP clients: those that read, and the one table of all.

The chat graph runs the tools of `tool_table`, and `api/mcp_tools.py` serves the read-only ones.
"""

import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from uuid import UUID

from pydantic import BaseModel, Field, create_model

from agents.roles import ToolError, ToolResult
from chat import changes
from chat.changes import ToolRequest as ToolRequest
from graph.chat import ChatContext, ChatTool
from graph.decisions import DecisionFields
from graph.review_content import Review
from graph.status import Status
from prompts.project import Project
from providers.video_models import VideoModels
from runs import links, planning, queries
from runs.costs import MAX_DAYS, report_costs
from runs.decide import quote_clips
from runs.errors import RunError
from runs.history import get_history
from runs.queries import RunView, parse_run_id
from runs.retry_quotes import RetryFields
from runs.services import Services
from storage.database import Database
from storage.runs import RunFilter
from storage.spending import day_costs

#: The description of each tool, for the models that call it.
DESCRIPTIONS: Mapping[str, str] = tomllib.loads(Path(__file__).with_name("tools.toml").read_text(encoding="utf-8"))
MAX_BRIEF_CHARACTERS = 300
#: The entries of a history that a tool shows, and the characters of each.
MAX_HISTORY_ENTRIES, MAX_ENTRY_CHARACTERS = 20, 200
REVIEW_STATUSES = ("awaiting_ideation_approval", "awaiting_publish_approval")


async def list_projects(request: ToolRequest) -> ToolResult:
    """List the projects that are offered."""
    services = request.services
    return ToolResult([_describe_project(services.projects[name], services.video) for name in sorted(services.offered)])


def _describe_project(project: Project, video: VideoModels) -> dict[str, object]:
    refusal = video.refusal(project)
    return {
        "project": project.name,
        "summary": project.summary,
        "clips": project.clips,
        "film_seconds": project.film_seconds,
        "budget_usd": float(project.budget_usd),
        **({"refused": {"code": refusal.code, "message": refusal.message}} if refusal else {}),
    }


async def get_planning_facts(request: ToolRequest) -> ToolResult:
    """Return the facts from which videos for today are proposed."""
    facts = await planning.get_planning_facts(request.services)
    return ToolResult(facts.model_dump(mode="json", exclude_none=True))


async def list_runs(
    request: ToolRequest,
    status: Status | None = None,
    project: str | None = None,
    text: str | None = None,
    before: str | None = None,
) -> ToolResult:
    """List the newest of these runs; `before` is the id of the last run of the page before."""
    db, last = request.services.db, await queries.get_run(request.services.db, parse_run_id(before)) if before else None
    position = (last.created_at, last.id) if last else None
    chosen: RunFilter = {"status": status, "project": project, "text": text, "before": position}
    runs = await queries.list_runs(db, limit=request.max_runs, **chosen)
    return ToolResult([{**_fields_of(run), "spent_usd": run.cost.spent_usd} for run in runs])


async def get_run(request: ToolRequest, run_id: str, include_history: bool = False) -> ToolResult:
    """Return one run, with the last entries of its history if asked."""
    parsed_id, services = parse_run_id(run_id), request.services
    details = await describe_run(services.db, parsed_id, request.context.base_url)
    if include_history:
        entries = (await get_history(services.db, services.ledger, parsed_id)).entries[-MAX_HISTORY_ENTRIES:]
        details["history"] = [f"{each.at:%Y-%m-%d %H:%M}: {each.text[:MAX_ENTRY_CHARACTERS]}" for each in entries]
    return ToolResult(details, run_ids=[str(parsed_id)])


async def describe_run(db: Database, run_id: UUID, base_url: str) -> dict[str, object]:
    """Return one run as the value of a tool, with a link to its film. Raises RunNotFound."""
    run = await queries.get_run_view(db, run_id)
    return {
        **_fields_of(run, "current_step", "cost", "error", "waiting"),
        "film": (await links.links_of_run(db, run_id, base_url)).get("film"),
        "open_gate": run.review.gate if run.review else None,
        "publication": run.artifacts.get("publication"),
    }


async def list_reviews(request: ToolRequest) -> ToolResult:
    """List the gates that wait for a person's decision, and what approving each would cost."""
    runs = [run for each in REVIEW_STATUSES for run in await queries.list_runs(request.services.db, status=each)]
    runs.sort(key=lambda run: run.created_at, reverse=True)
    return ToolResult([_describe_review(run, run.review) for run in runs if run.review])


async def get_review(request: ToolRequest, run_id: str) -> ToolResult:
    """Get the content of the open gate of a run: the ideas and their price, or the film and its caption."""
    run = await queries.get_run_view(request.services.db, parse_run_id(run_id))
    if run.review is None:
        raise queries.no_open_review(run.status)
    value = _describe_review(run, run.review) | {"content": run.review.content, "requested": run.review.requested}
    return ToolResult(value, run_ids=[str(run.run_id)])


async def get_costs(
    request: ToolRequest,
    run_id: str | None = None,
    clips: list[int] | None = None,
    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 1,
    project: str | None = None,
) -> ToolResult:
    """Return the costs of a run, of clips of a run, or of the last days."""
    services = request.services
    if run_id and clips:
        quote = await quote_clips(services, parse_run_id(run_id), clips)
        return ToolResult({"run_id": run_id, "clips": clips, **quote.model_dump()}, run_ids=[run_id])
    if run_id:
        run = await queries.get_run_view(services.db, parse_run_id(run_id))
        return ToolResult({"run_id": run.run_id, "status": run.status, **run.cost.model_dump()})
    if days > 1 or project:
        first = datetime.now(UTC).date() - timedelta(days=days - 1)
        report = await report_costs(services, first, project=project)
        return ToolResult(report.model_dump(mode="json", include={"first", "last", "total", "projects", "caps"}))
    day, cap = await day_costs(services.db), services.ledger.caps.day_usd
    amounts = {"spent_today_usd": day.spent_usd, "reserved_today_usd": day.reserved_usd, "day_cap_usd": cap}
    return ToolResult({name: float(amount) for name, amount in amounts.items()})


async def get_media_link(request: ToolRequest, run_id: str) -> ToolResult:
    """Get links to the film and the clips of a run. They work for a day, for everyone who has them."""
    base_url = request.context.base_url
    return ToolResult(await links.links_of_run(request.services.db, parse_run_id(run_id), base_url))


def _describe_review(run: RunView, review: Review) -> dict[str, Any]:
    """Return an open review, and the cost of approving it."""
    estimated_usd = float(getattr(review.content, "estimated_usd", 0))
    described = {"title": review.content.title, "estimated_usd": estimated_usd, "digest": review.digest}
    return {"run_id": run.run_id, "status": run.status, "gate": review.gate, "revision": review.revision, **described}


def _fields_of(run: RunView, *more: str) -> dict[str, Any]:
    """Return the fields of a run that every tool shows, and those that are named; the brief is shortened."""
    line = " ".join(run.brief.split())
    brief = line if len(line) <= MAX_BRIEF_CHARACTERS else f"{line[:MAX_BRIEF_CHARACTERS]}…"
    return {**run.model_dump(include={"run_id", "status", "project", "needs_attention", *more}), "brief": brief}


@dataclass(frozen=True, kw_only=True)
class Tool(ChatTool):
    """A tool of the table. `function` executes a call."""

    services: Services
    function: Callable[..., Awaitable[ToolResult]]
    #: The field for its value where a result must be an object, as in MCP; None if it is one already.
    key: str | None = None
    #: The sentence for a chat in place of an empty value.
    empty_message: str | None = None

    async def run(self, args: BaseModel, context: ChatContext, started: Sequence[str]) -> ToolResult:
        """Execute a call of a chat. Raises ToolError with the message of a RunError."""
        try:
            result = await self.function(ToolRequest(self.services, context, started), **args.model_dump())
        except RunError as error:
            raise ToolError(error.message) from error
        if not result.value and self.empty_message:
            raise ToolError(self.empty_message)
        return result


def tool_table(services: Services) -> list[Tool]:
    """Return the tools that work on these services."""

    def tool(function: Callable[..., Awaitable[ToolResult]], base: Any = None, **options: Any) -> Tool:
        """Return a tool with the name and the parameters of its function, and the fields of `base`."""
        hints, (_, *parameters) = get_type_hints(function, include_extras=True), signature(function).parameters.values()
        named = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
        fields: Any = {
            each.name: (hints[each.name], ... if each.default is each.empty else each.default) for each in named
        }
        name, description = function.__name__, DESCRIPTIONS[function.__name__]
        args = create_model(name, __base__=base, __doc__=description, **fields)
        return Tool(name=name, description=description, args=args, function=function, services=services, **options)

    return [
        tool(list_projects, key="projects"),
        tool(get_planning_facts),
        tool(list_runs, key="runs"),
        tool(get_run),
        tool(list_reviews, key="reviews"),
        tool(get_review),
        tool(get_costs),
        tool(get_media_link, key="links", empty_message="There is nothing to see: no clip is finished."),
        tool(changes.start_run, is_read_only=False),
        tool(changes.fork_run, is_read_only=False),
        tool(changes.prepare_decision, DecisionFields, is_read_only=False),
        tool(changes.prepare_retry, RetryFields, is_read_only=False),
        tool(changes.create_review_link, is_read_only=False),
        tool(changes.cancel_run, is_read_only=False),
    ]
