"""Questions of MCP tools to the person, as forms of the client (elicitation).

An agent prepares a decision and never records it: the person writes the code that the question contains.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field
from starlette.requests import Request

from chat import confirmations
from chat.confirmations import PendingConfirmation
from chat.questions import quote_text
from runs import queries
from runs.services import Services
from storage.actors import RequestContext

Ctx = Context[Any, Any]


class Code(BaseModel):
    """The form in which the person confirms a decision."""

    code: str = Field(description="The code in the question, to confirm. Decline to change nothing.")


class Amount(BaseModel):
    """The form in which the person allows a higher budget."""

    usd: float = Field(description="The amount in the question, to allow it.")


CodeQuestion = Elicit[Code] | None


@dataclass(frozen=True)
class McpCaller:
    """The caller of a tool, with the services; links start with `base_url`."""

    services: Services
    context: RequestContext
    base_url: str


def mcp_caller(ctx: Ctx) -> McpCaller:
    """Return the caller that `McpEndpoint` authenticated. Raises ToolError without an HTTP request."""
    request = ctx.request_context.request
    if not isinstance(request, Request):
        raise ToolError("The tool requires a request over HTTP.")
    caller: McpCaller = request.state.mcp_caller
    return caller


def can_elicit(ctx: Ctx) -> bool:
    """Return whether the client can show the person a form within a call."""
    # A question is part of the answer to the call, or in older versions a request of the server in a session.
    can_ask = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS or ctx.session.can_send_request
    if ctx.client_capabilities is None or not can_ask:
        return False
    elicitation = ctx.client_capabilities.elicitation
    return elicitation is not None and (elicitation.form is not None or not elicitation.url)


def elicit_decision(pending: PendingConfirmation, ctx: Ctx) -> CodeQuestion:
    """Return the question whether to decide so; None for a client that cannot put it to the person."""
    if not can_elicit(ctx):
        return None
    question = confirmations.describe_review(pending)
    return Elicit(f"{question}\nTo {pending['verdict']} it yourself, write the code {pending['code']}.", Code)


async def elicit_budget(
    project: str, brief: str, budget_usd: float | None, options: dict[str, int] | None, ctx: Ctx
) -> Elicit[Amount] | None:
    """Return the question whether to exceed a project's budget; None if it is not, or may not be. Raises ToolError."""
    caller = mcp_caller(ctx)
    spec = caller.services.projects.get(project)
    if spec is None or budget_usd is None or Decimal(str(budget_usd)) <= spec.budget_usd:
        return None
    if not caller.context.actor.can_approve:
        return None  # the run is refused: nothing is put to the person
    if not can_elicit(ctx):
        refusal = "This exceeds the project's budget, and this client cannot ask the person to allow it"
        raise ToolError(f"{refusal}. They can start the run at {caller.base_url}/new")
    chosen = ", ".join([f"in project {project}", *(f"{name}: {value}" for name, value in (options or {}).items())])
    limit = f"The budget of a {project} run is {spec.budget_usd} USD. To allow {budget_usd} USD, write the amount."
    return Elicit(f"Start {quote_text(brief, len(brief))} {chosen}? {limit}", Amount)


async def elicit_cancellation(run_id: str, ctx: Ctx) -> CodeQuestion:
    """Return the question whether to end a run; None for one that an agent of this key started. Raises ToolError."""
    caller = mcp_caller(ctx)
    run = await queries.get_run(caller.services.db, queries.parse_run_id(run_id))
    if (run.channel, run.actor_id) == ("mcp", caller.context.actor.id):
        return None
    if not can_elicit(ctx):
        refusal = "No agent started this run, and this client cannot ask the person to end it"
        raise ToolError(f"{refusal}. They can at {caller.base_url}/runs/{run.id}")
    subject = f"{run.project}, {quote_text(run.brief)}"
    return Elicit(f"End run {run.id} permanently ({subject})? To end it yourself, write {short_id(run.id)}.", Code)


def short_id(run_id: UUID) -> str:
    """Return the part of a run id that the person writes to end the run."""
    return str(run_id)[:8]
