"""The tools of the supervisor and of MCP clients: read, start runs, prepare decisions, cancel. None of them decides.

`TOOLS` is the one table. `chat_tools` adapts it to the chat graph; `api/mcp_tools.py` serves its read-only part.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import to_json

from chat import confirmations, summaries
from graph.chat import ChatContext, ToolError, ToolResult
from graph.decisions import Verdict
from runs import cancel, media_links, start
from runs.errors import RunError
from runs.queries import parse_run_id
from runs.services import Services
from storage.actors import Actor, ActorKind, RequestContext, Right

MAX_LISTED_RUNS = 10


@dataclass(frozen=True)
class ToolRequest:
    """The circumstances of a tool call; `started` are the runs that were started in the session."""

    services: Services
    context: ChatContext
    started: Sequence[str] = ()
    max_runs: int = MAX_LISTED_RUNS

    def request_context(self, key: str) -> RequestContext:
        """Return the request context of an effect of the message, idempotent under `key`."""
        chat = self.context
        rights = cast("frozenset[Right]", frozenset(chat.rights))
        actor = Actor(cast("ActorKind", chat.actor_kind), chat.actor_id, chat.actor_name, rights)
        return RequestContext(actor, "chat", key if chat.message_key else None)


@dataclass(frozen=True)
class ToolOutput:
    """The output of a tool: a JSON-able value, and the fields of `ToolResult`."""

    value: Any
    run_ids: Sequence[str] = field(default_factory=list)
    started: Sequence[str] = field(default_factory=list)
    pending: Mapping[str, object] | None = None


class NoArguments(BaseModel):
    """No arguments."""


class RunArguments(BaseModel):
    """The run to read or to cancel."""

    run_id: str


class OptionalRunArguments(BaseModel):
    """The run to read, or none."""

    run_id: str | None = None


class StartRunArguments(BaseModel):
    """The project and the brief of a new run."""

    project: str
    brief: str


class PrepareDecisionArguments(BaseModel):
    """The decision to prepare."""

    run_id: str
    verdict: Verdict
    comment: str | None = None


async def list_projects(request: ToolRequest, _args: NoArguments) -> ToolOutput:
    """List the projects a video can be produced for, each with its length, its number of clips and its budget."""
    return ToolOutput(summaries.list_projects(request.services.projects))


async def list_runs(request: ToolRequest, _args: NoArguments) -> ToolOutput:
    """List the newest runs: id, project, brief, status and the amount spent."""
    return ToolOutput(await summaries.list_runs(request.services.db, limit=request.max_runs))


async def get_run(request: ToolRequest, args: RunArguments) -> ToolOutput:
    """Get one run: status, step, costs in USD, a link to its film, and the open gate, if any."""
    run_id = parse_run_id(args.run_id)
    run = await summaries.summarize_run(request.services.db, run_id, request.context.base_url)
    return ToolOutput(run, run_ids=[str(run_id)])


async def list_reviews(request: ToolRequest, _args: NoArguments) -> ToolOutput:
    """List the gates that wait for a person's decision, and what approving each would cost."""
    return ToolOutput(await summaries.list_open_reviews(request.services.db))


async def get_review(request: ToolRequest, args: RunArguments) -> ToolOutput:
    """Get the content of the open gate of a run: the ideas and their price, or the film and its caption."""
    run_id = parse_run_id(args.run_id)
    return ToolOutput(await summaries.summarize_review(request.services.db, run_id), run_ids=[str(run_id)])


async def get_costs(request: ToolRequest, args: OptionalRunArguments) -> ToolOutput:
    """Get the costs of one run in USD; without a run, the amount spent today and the day's cap."""
    run_id = parse_run_id(args.run_id) if args.run_id else None
    return ToolOutput(await summaries.summarize_costs(request.services, run_id))


async def get_media_link(request: ToolRequest, args: RunArguments) -> ToolOutput:
    """Get links to the film and the clips of a run. They work for a day, for everyone who has them."""
    run_id = parse_run_id(args.run_id)
    return ToolOutput(await media_links.links_of_run(request.services.db, run_id, request.context.base_url))


async def start_run(request: ToolRequest, args: StartRunArguments) -> ToolOutput:
    """Start a run: a video for a project from a brief. One message of the person starts one run."""
    context = request.request_context(request.context.message_key)
    run = await start.start_run(request.services, project=args.project, brief=args.brief, context=context)
    value = {"run_id": run.id, "status": run.status, "project": run.project, "brief": run.brief}
    return ToolOutput(value, run_ids=[str(run.id)], started=[str(run.id)])


async def prepare_decision(request: ToolRequest, args: PrepareDecisionArguments) -> ToolOutput:
    """Prepare a decision at the open gate of a run: approve, revise (with a comment) or reject (ends the run).

    The comment of revise describes the changes. Nothing is decided: the person sees the decision after your answer
    and confirms it, or not.
    """
    run_id = parse_run_id(args.run_id)
    pending = await confirmations.create_pending(
        request.services.db,
        run_id,
        args.verdict,
        comment=args.comment,
        context=request.request_context(request.context.message_key),
        session_id=request.context.session_id or "",
    )
    value = {"prepared": pending["what"], "decided": False, "next": "The person confirms it, or not."}
    return ToolOutput(value, run_ids=[str(run_id)], pending=pending)


async def cancel_run(request: ToolRequest, args: RunArguments) -> ToolOutput:
    """Cancel a run that was started in this conversation, or whose id the person just wrote."""
    run_id = parse_run_id(args.run_id)
    if str(run_id) not in request.started and str(run_id) not in request.context.message.lower():
        raise ToolError("Only the person can name a run from outside this conversation: ask for its id.")
    context = request.request_context(f"{request.context.message_key}:{run_id}")
    await cancel.cancel_run(request.services, run_id, context)
    return ToolOutput({"run_id": run_id, "status": "failed", "error": "cancelled"}, run_ids=[str(run_id)])


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool.

    Attributes:
        function: The function that executes a call. Its name and its docstring are those of the tool.
        args: The model of its arguments.
        is_read_only: Whether it changes nothing.
        key: The field for its value where a result must be an object, as in MCP; None if it is one already.
        empty_message: The sentence for a chat in place of an empty value.
    """

    function: Callable[[ToolRequest, Any], Awaitable[ToolOutput]]
    args: type[BaseModel] = NoArguments
    is_read_only: bool = True
    key: str | None = None
    empty_message: str | None = None

    @property
    def name(self) -> str:
        """Return the name of the tool."""
        return self.function.__name__

    @property
    def description(self) -> str:
        """Return the description for a model."""
        return inspect.getdoc(self.function) or ""


TOOLS = (
    Tool(function=list_projects, key="projects"),
    Tool(function=list_runs, key="runs"),
    Tool(function=get_run, args=RunArguments),
    Tool(function=list_reviews, key="reviews"),
    Tool(function=get_review, args=RunArguments),
    Tool(function=get_costs, args=OptionalRunArguments),
    Tool(
        function=get_media_link,
        args=RunArguments,
        key="links",
        empty_message="There is nothing to see yet: no clip is finished.",
    ),
    Tool(function=start_run, args=StartRunArguments, is_read_only=False),
    Tool(function=prepare_decision, args=PrepareDecisionArguments, is_read_only=False),
    Tool(function=cancel_run, args=RunArguments, is_read_only=False),
)


@dataclass(frozen=True, kw_only=True)
class ServiceTool(Tool):
    """A tool of the table with the services it works on: a `graph.chat.ChatTool`."""

    services: Services

    async def run(self, args: BaseModel, context: ChatContext, started: Sequence[str]) -> ToolResult:
        """Execute a call. Raises ToolError with the message of a RunError."""
        try:
            output = await self.function(ToolRequest(self.services, context, started), args)
        except RunError as error:
            raise ToolError(error.message) from error
        if not output.value and self.empty_message:
            raise ToolError(self.empty_message)
        return ToolResult(to_json(output.value).decode(), output.run_ids, output.started, output.pending)


def chat_tools(services: Services) -> list[ServiceTool]:
    """Return the tools for the chat graph."""
    return [ServiceTool(**vars(tool), services=services) for tool in TOOLS]
