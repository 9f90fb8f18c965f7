"""The tools of `/mcp`. An agent looks, starts runs and prepares decisions; it never decides.

The question goes past it to the person, as a form of the client (an elicitation) in which the person writes the code
that the question shows.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import wraps
from typing import Annotated, Any, Literal, ParamSpec, TypeVar
from uuid import UUID

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel, Field
from starlette.requests import Request

from api.authentication import base_url
from api.errors import to_api_error
from api.wiring import AppState
from chat import confirmations, summaries
from chat.confirmations import ConfirmationCommand, PendingConfirmation, Verdict
from providers.orders import digest_of
from runs import cancel, media_links, queries, start
from runs.services import Services
from storage.api_keys import ApiKeyRow

CHANNEL = "mcp"
#: The first version in which a question to the person travels with the answer to the call, so that no connection
#: has to stay open for it.
ELICITATION_PROTOCOL_VERSION = "2026-07-28"
#: USD; as the REST API takes it.
BUDGET_LIMIT = 100_000

Ctx = Context[Any, Any]
P = ParamSpec("P")
T = TypeVar("T")


class Code(BaseModel):
    """What the person writes to confirm a decision."""

    code: str = Field(description="The code that the question shows, to confirm. Decline to leave things as they are.")


class Amount(BaseModel):
    """What the person writes to allow a higher budget."""

    usd: float = Field(description="The amount that the question shows, to allow it.")


@dataclass(frozen=True)
class ElicitationUnsupported:
    """The client has no way to put a question to the person."""


@dataclass(frozen=True)
class McpCaller:
    """Who calls a tool, and what is behind it."""

    parts: AppState
    who: ApiKeyRow
    base_url: str

    @property
    def services(self) -> Services:
        """The parts of a production."""
        return self.parts.services


def mcp_caller(ctx: Ctx) -> McpCaller:
    """Who calls."""
    request = ctx.request_context.request
    if not isinstance(request, Request):
        raise ToolError("This needs a request over HTTP.")
    return McpCaller(request.state.parts, request.state.who, base_url(request, request.state.parts))


def as_tool_errors(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """The same function, whose refusals reach the agent as a sentence."""

    @wraps(function)
    async def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except ToolError:
            raise
        except Exception as error:
            raise ToolError(to_api_error(error).body["error"]["message"]) from error

    return told


def can_elicit(ctx: Ctx) -> bool:
    """Whether the client can put a form to the person within a call."""
    capabilities = ctx.client_capabilities
    form = capabilities.elicitation if capabilities else None
    return (
        (ctx.protocol_version or "") >= ELICITATION_PROTOCOL_VERSION
        and form is not None
        and (form.form is not None or not form.url)
    )


# -- Looking


@as_tool_errors
async def list_projects(ctx: Ctx) -> dict[str, Any]:
    """The projects a video can be made for, each with its length, its number of clips and its budget."""
    return {"projects": summaries.list_projects(mcp_caller(ctx).services)}


@as_tool_errors
async def list_runs(ctx: Ctx) -> dict[str, Any]:
    """The newest runs: id, project, brief, status and what was spent."""
    return {"runs": await summaries.list_runs(mcp_caller(ctx).services, limit=20)}


@as_tool_errors
async def get_run(run_id: str, ctx: Ctx) -> dict[str, Any]:
    """How one run stands: status, step, costs in USD, a link to its film, and the gate that is open, if any."""
    who = mcp_caller(ctx)
    return await summaries.summarize_run(who.services, queries.parse_run_id(run_id), who.base_url)


@as_tool_errors
async def list_reviews(ctx: Ctx) -> dict[str, Any]:
    """The gates where a person is asked at the moment, and what saying yes would cost."""
    return {"reviews": await summaries.list_open_reviews(mcp_caller(ctx).services)}


@as_tool_errors
async def get_review(run_id: str, ctx: Ctx) -> dict[str, Any]:
    """What the open gate of a run shows: the ideas and their price, or the film and its caption."""
    return await summaries.summarize_review(mcp_caller(ctx).services, queries.parse_run_id(run_id))


@as_tool_errors
async def get_costs(ctx: Ctx, run_id: str | None = None) -> dict[str, Any]:
    """What one run costs, in USD; without a run what was spent today, and the day's cap."""
    return await summaries.summarize_costs(mcp_caller(ctx).services, queries.parse_run_id(run_id) if run_id else None)


@as_tool_errors
async def get_media_link(run_id: str, ctx: Ctx) -> dict[str, Any]:
    """Links to the film and the clips of a run. They work for a day, for whoever has them."""
    who = mcp_caller(ctx)
    return {"links": await media_links.links_of_run(who.services, queries.parse_run_id(run_id), who.base_url)}


READ_TOOLS = (list_projects, list_runs, get_run, list_reviews, get_review, get_costs, get_media_link)

# -- Asking the person


@as_tool_errors
async def pending_decision(run_id: str, decision: Verdict, ctx: Ctx, comment: str | None = None) -> PendingConfirmation:
    """The decision under its code. Asked for again while the question is open, it is the same."""
    who = mcp_caller(ctx)
    return await confirmations.create_pending(
        who.services, queries.parse_run_id(run_id), decision, comment=comment, who=who.who, door="mcp"
    )


async def pending_changes(run_id: str, comment: str, ctx: Ctx) -> PendingConfirmation:
    """The same, for a request for changes."""
    return await pending_decision(run_id, "revise", ctx, comment)


def _question(waiting: PendingConfirmation, ctx: Ctx) -> Elicit[Code] | ElicitationUnsupported:
    if not can_elicit(ctx):
        return ElicitationUnsupported()
    row = waiting.row
    return Elicit(
        f"{waiting.what}\nRun {row['run_id']}, {row['gate']} gate, revision {row['revision']}, "
        f"digest {row['digest'][:12]}.\nTo {row['verdict']} it yourself, write the code {row['code']}.",
        Code,
    )


async def elicit_decision(
    waiting: Annotated[PendingConfirmation, Resolve(pending_decision)], ctx: Ctx
) -> Elicit[Code] | ElicitationUnsupported:
    """The question whether to decide so."""
    return _question(waiting, ctx)


async def elicit_changes(
    waiting: Annotated[PendingConfirmation, Resolve(pending_changes)], ctx: Ctx
) -> Elicit[Code] | ElicitationUnsupported:
    """The question whether to ask for these changes."""
    return _question(waiting, ctx)


async def elicit_budget(
    project: str, budget_usd: float | None, ctx: Ctx
) -> Elicit[Amount] | ElicitationUnsupported | None:
    """The question whether more may be spent than the project allows; None when it is not more."""
    spec = mcp_caller(ctx).services.projects.get(project)
    if spec is None or budget_usd is None or Decimal(str(budget_usd)) <= spec.budget_usd:
        return None
    if not can_elicit(ctx):
        return ElicitationUnsupported()
    said = f"A run of {project} may cost {spec.budget_usd} USD. To allow {budget_usd} USD, write the amount."
    return Elicit(said, Amount)


@as_tool_errors
async def elicit_cancellation(run_id: str, ctx: Ctx) -> Elicit[Code] | ElicitationUnsupported | None:
    """The question whether to end a run; None for one that an agent with this key started."""
    who = mcp_caller(ctx)
    run = await queries.get_run(who.services, queries.parse_run_id(run_id))
    if (run["channel"], run["started_by"]) == (CHANNEL, who.who.id):
        return None
    if not can_elicit(ctx):
        return ElicitationUnsupported()
    about = f"{run['project']}, {confirmations.quoted(run['brief'])}"
    return Elicit(f"End run {run['id']} for good ({about})? To end it yourself, write {_short(run['id'])}.", Code)


def _short(run_id: UUID) -> str:
    return str(run_id)[:8]


async def _confirmed(waiting: PendingConfirmation, said: Any, ctx: Ctx) -> dict[str, Any]:
    who, row = mcp_caller(ctx), waiting.row
    about = {"run_id": str(row["run_id"]), "gate": row["gate"], "revision": row["revision"], "what": waiting.what}
    match said:
        case AcceptedElicitation(data=Code(code=code)):
            if code.strip().upper() != row["code"]:
                raise ToolError("That is not the code that the question showed: nothing was decided.")
            spoken = ConfirmationCommand("confirm", row["code"])
            done = await confirmations.confirm(who.services, spoken, who=who.who, door="mcp")
            return {**about, "decided": True, "verdict": row["verdict"], "outcome": confirmations.outcome(*done)}
        case AcceptedElicitation(data=ElicitationUnsupported()):
            return {**about, "decided": False, "next": _elsewhere(row["run_id"], row["gate"], who.base_url)}
        case _:
            return {**about, "decided": False, "next": "The person did not confirm it: leave it as it is."}


def _elsewhere(run_id: UUID, gate: str, url: str) -> str:
    return (
        f"This client cannot put the question to the person. They decide themselves: in a chat with the supervisor, "
        f"with `myloware runs approve {run_id} {gate}`, or by POST {url}/v1/runs/{run_id}/approve."
    )


# -- Doing


@as_tool_errors
async def start_run(
    project: str,
    brief: str,
    ctx: Ctx,
    allowed: Annotated[ElicitationResult[Amount], Resolve(elicit_budget)],
    budget_usd: Annotated[float | None, Field(ge=0, le=BUDGET_LIMIT, allow_inf_nan=False)] = None,
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=255)] = None,
) -> dict[str, Any]:
    """Start making a video for a project from a brief. Returns at once; look with get_run. The same idempotency_key,
    or without one the same brief for the same project on the same day, is the same run. A budget above the
    project's own is put to the person first.
    """
    who = mcp_caller(ctx)
    match allowed:
        case AcceptedElicitation(data=None):
            pass
        case AcceptedElicitation(data=Amount(usd=usd)) if usd == budget_usd:
            pass
        case AcceptedElicitation(data=ElicitationUnsupported()):
            raise ToolError("That is more than the project's budget, and this client cannot ask the person for it.")
        case _:
            raise ToolError("That is more than the project's budget, and the person did not allow it.")
    named = idempotency_key or f"{datetime.now(UTC):%Y-%m-%d}:{digest_of([project, ' '.join(brief.split())])}"
    run = await start.start_run(
        who.services,
        project=project,
        brief=brief,
        budget_usd=None if budget_usd is None else Decimal(str(budget_usd)),
        started_by=who.who.id,
        channel=CHANNEL,
        request_key=f"mcp:{named}",
    )
    return {"run_id": str(run["id"]), "status": run["status"], "project": run["project"]}


@as_tool_errors
async def decide_review(
    run_id: str,
    decision: Literal["approve", "reject"],
    ctx: Ctx,
    waiting: Annotated[PendingConfirmation, Resolve(pending_decision)],
    said: Annotated[ElicitationResult[Code], Resolve(elicit_decision)],
    comment: str | None = None,
) -> dict[str, Any]:
    """Put to the person whether to approve or reject what the open gate of a run shows. Rejecting ends the run."""
    return await _confirmed(waiting, said, ctx)


@as_tool_errors
async def request_changes(
    run_id: str,
    comment: str,
    ctx: Ctx,
    waiting: Annotated[PendingConfirmation, Resolve(pending_changes)],
    said: Annotated[ElicitationResult[Code], Resolve(elicit_changes)],
) -> dict[str, Any]:
    """Put to the person whether to ask for changes at the open gate of a run; the comment says which."""
    return await _confirmed(waiting, said, ctx)


@as_tool_errors
async def cancel_run(
    run_id: str, ctx: Ctx, said: Annotated[ElicitationResult[Code], Resolve(elicit_cancellation)]
) -> dict[str, Any]:
    """End a run for good. What was ordered already is paid; nothing more is ordered. A run that was not started by an
    agent with this key is put to the person first.
    """
    who, found = mcp_caller(ctx), queries.parse_run_id(run_id)
    match said:
        case AcceptedElicitation(data=None):
            pass
        case AcceptedElicitation(data=Code(code=code)) if code.strip().lower() == _short(found):
            pass
        case AcceptedElicitation(data=ElicitationUnsupported()):
            raise ToolError(f"No agent started this run, and this client cannot ask: `myloware runs cancel {found}`.")
        case _:
            raise ToolError("No agent started this run, and the person did not confirm its end: leave it as it is.")
    external_id = f"cancel:{who.who.id}:{found}"
    await cancel.cancel_run(who.services, found, by=who.who.id, channel=CHANNEL, external_id=external_id)
    return await summaries.summarize_run(who.services, found, who.base_url)


async def run_resource(run_id: str, ctx: Ctx) -> str:
    """A run, as get_run tells it."""
    return await _read(get_run(run_id, ctx))


async def review_resource(run_id: str, ctx: Ctx) -> str:
    """An open review, as get_review tells it."""
    return await _read(get_review(run_id, ctx))


async def _read(told: Awaitable[dict[str, Any]]) -> str:
    try:
        return json.dumps(await told, ensure_ascii=False)
    except ToolError as error:
        raise ResourceError(str(error)) from error
