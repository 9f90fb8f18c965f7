"""The tools of the supervisor and of MCP clients: read, start runs, prepare decisions. None decides or cancels.

`tool_table` is the one table: the chat graph runs its tools, and `api/mcp_tools.py` serves the read-only ones.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints
from uuid import UUID

from pydantic import BaseModel, create_model

from agents.roles import ToolError, ToolResult
from chat import confirmations
from chat.confirmations import PendingConfirmation
from graph.chat import ChatContext, ChatTool
from graph.decisions import Verdict
from graph.review_content import Review
from prompts.project import Project
from providers.video_models import VideoModels
from runs import links, planning, queries, start
from runs.errors import RunError
from runs.queries import RunView, parse_run_id
from runs.services import Services
from storage.actors import Actor, RequestContext
from storage.database import Database
from storage.spending import day_costs

MAX_LISTED_RUNS, MAX_BRIEF_CHARACTERS, MAX_RUNS_PER_MESSAGE = 10, 300, 6
#: The actor of what is done in LangGraph Studio, which sends none.
STUDIO = Actor("studio", "studio", "LangGraph Studio", frozenset({"start", "approve"}))
REVIEW_STATUSES = ("awaiting_ideation_approval", "awaiting_publish_approval")


@dataclass(frozen=True)
class ToolRequest:
    """The circumstances of a tool call; `started` are the runs that were started in the session."""

    services: Services
    context: ChatContext
    started: Sequence[str] = ()
    max_runs: int = MAX_LISTED_RUNS

    def request_context(self, suffix: str = "") -> RequestContext:
        """Return the context of an effect of the message: the same message and `suffix` have one idempotency key."""
        actor, key = self.context.actor or STUDIO, self.context.message_key
        return RequestContext(actor, "chat", f"{key}{suffix}" if key else None)


async def list_projects(request: ToolRequest) -> ToolResult:
    """List the projects a video can be produced for, each with its length, its number of clips and its budget.

    A project with `refused` cannot be started, for the reason given there.
    """
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
    """Get what proposals for today's videos are made from.

    Today's date, the projects with the price of a film and what their caps leave, and the runs of the last two weeks
    with their outcome: what was published and when, what was rejected and why, and what is scheduled.
    """
    facts = await planning.get_planning_facts(request.services)
    return ToolResult(facts.model_dump(mode="json", exclude_none=True))


async def list_runs(request: ToolRequest) -> ToolResult:
    """List the newest runs: id, project, brief, status and the amount spent."""
    runs = await queries.list_runs(request.services.db, limit=request.max_runs)
    return ToolResult([{**_fields_of(run), "spent_usd": run.cost.spent_usd} for run in runs])


async def get_run(request: ToolRequest, run_id: str) -> ToolResult:
    """Get one run: status, step, costs in USD, a link to its film, and the open gate, if any."""
    parsed_id = parse_run_id(run_id)
    details = await describe_run(request.services.db, parsed_id, request.context.base_url)
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


async def get_costs(request: ToolRequest, run_id: str | None = None) -> ToolResult:
    """Get the costs of one run in USD; without a run, the amount spent today and the day's cap."""
    services = request.services
    if run_id:
        run = await queries.get_run_view(services.db, parse_run_id(run_id))
        return ToolResult({"run_id": run.run_id, "status": run.status, **run.cost.model_dump()})
    day, cap = await day_costs(services.db), services.ledger.caps.day_usd
    amounts = {"spent_today_usd": day.spent_usd, "reserved_today_usd": day.reserved_usd, "day_cap_usd": cap}
    return ToolResult({name: float(amount) for name, amount in amounts.items()})


async def get_media_link(request: ToolRequest, run_id: str) -> ToolResult:
    """Get links to the film and the clips of a run. They work for a day, for everyone who has them."""
    base_url = request.context.base_url
    return ToolResult(await links.links_of_run(request.services.db, parse_run_id(run_id), base_url))


async def start_run(request: ToolRequest, project: str, brief: str) -> ToolResult:
    """Start a run: a video for a project from a brief. One call for each video that the person asks for."""
    number = request.context.call_number
    if number >= MAX_RUNS_PER_MESSAGE:
        raise ToolError(f"One message starts at most {MAX_RUNS_PER_MESSAGE} runs; the person asks again for more.")
    context = request.request_context(f":{number}" if number else "")
    run = await start.start_run(request.services, project=project, brief=brief, context=context)
    value = {"run_id": run.id, "status": run.status, "project": run.project, "brief": run.brief}
    return ToolResult(value, run_ids=[str(run.id)], started=[str(run.id)])


async def prepare_decision(
    request: ToolRequest, run_id: str, verdict: Verdict, comment: str | None = None
) -> ToolResult:
    """Prepare a decision at the open gate of a run: approve, revise (with a comment) or reject (ends the run).

    The comment of revise describes the changes. Nothing is decided: the person sees the decision after your answer
    and confirms it, or not.
    """
    session = {"session_id": request.context.session_id or "", "base_url": request.context.base_url}
    db, parsed_id, context = request.services.db, parse_run_id(run_id), request.request_context()
    pending = await confirmations.create_pending(db, parsed_id, verdict, comment=comment, context=context, **session)
    return _prepared(pending)


def _prepared(pending: PendingConfirmation) -> ToolResult:
    # Without the content, which the person is shown in full: a model that repeats it could change it.
    first_line = pending["what"].partition("\n")[0]
    value = {"prepared": first_line, "decided": False, "next": "The person confirms it, or not."}
    return ToolResult(value, run_ids=[pending["run_id"]], pending=pending)


async def cancel_run(request: ToolRequest, run_id: str) -> ToolResult:
    """Prepare the end of a run of this conversation, of the page that is open, or whose id the person just wrote.

    Nothing is cancelled: the person sees the question after your answer and confirms it, or not.
    """
    parsed_id = parse_run_id(run_id)
    known = (*request.started, request.context.page_run_id)
    if str(parsed_id) not in known and str(parsed_id) not in request.context.message.lower():
        raise ToolError("Only the person can name a run from outside this conversation: ask for its id.")
    context, session_id = request.request_context(), request.context.session_id or ""
    db = request.services.db
    return _prepared(await confirmations.create_cancellation(db, parsed_id, context=context, session_id=session_id))


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

    def tool(function: Callable[..., Awaitable[ToolResult]], **options: Any) -> Tool:
        """Return a tool with the name, the docstring and the parameters of its function."""
        hints, (_, *parameters) = get_type_hints(function), inspect.signature(function).parameters.values()
        fields: Any = {p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in parameters}
        name, description = function.__name__, inspect.getdoc(function) or ""
        args = create_model(name, __doc__=description, **fields)
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
        tool(start_run, is_read_only=False),
        tool(prepare_decision, is_read_only=False),
        tool(cancel_run, is_read_only=False),
    ]
