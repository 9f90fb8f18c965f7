"""The tools of `/mcp`: the read-only ones from the table in `chat/tools.py`, and those that change something.

An agent reads, starts runs and prepares decisions; the person decides, by the forms of `api/mcp_elicitation.py`.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.server.mcpserver.resolve import Resolve
from mcp_types import ToolAnnotations
from pydantic import Field
from pydantic_core import to_jsonable_python

from api import mcp_elicitation as elicitation
from api.errors import to_api_error
from api.mcp_elicitation import Amount, Code, Ctx, McpCaller, mcp_caller, short_id
from chat import confirmations
from chat.commands import ConfirmationCommand
from chat.confirmations import PendingConfirmation
from chat.tools import Tool, ToolRequest, describe_run, tool_table
from graph.chat import ChatContext
from providers.orders import digest_of
from runs import queries, run_requests, start
from runs.services import Services
from storage.actors import RequestContext
from storage.reviews import record_served
from storage.runs import get_run

#: The same limit as in `api/schemas.py`.
MAX_BUDGET_USD = 100_000
MAX_LISTED_RUNS = 20

READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)
STARTING = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
DECIDING = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)

Json = dict[str, Any]


def register_tools(server: MCPServer[Any], services: Services) -> None:
    """Add the tools and the resources to the server."""
    read_only = {tool.name: tool for tool in tool_table(services) if tool.is_read_only}
    for name, tool in read_only.items():
        server.add_tool(_read_only_function(tool), name, description=tool.description, annotations=READ_ONLY)
    server.add_tool(start_run, annotations=STARTING)
    for function in (decide_review, request_changes, cancel_run):
        server.add_tool(function, annotations=DECIDING)
    for kind in ("run", "review"):
        uri, tool = f"{kind}://{{run_id}}", read_only[f"get_{kind}"]
        add_resource = server.resource(uri, name=kind, description=tool.description, mime_type="application/json")
        add_resource(_resource_function(tool))


async def _call(tool: Tool, ctx: Ctx, arguments: Json) -> Json:
    caller = mcp_caller(ctx)
    context = ChatContext(base_url=caller.base_url)
    result = await tool.function(ToolRequest(tool.services, context, max_runs=MAX_LISTED_RUNS), **arguments)
    if tool.name == "get_review":
        actor, review = caller.context.actor, result.value
        await record_served(tool.services.db, actor, review["run_id"], [review])
    value: Json = to_jsonable_python({tool.key: result.value} if tool.key else result.value)
    return value


def _read_only_function(tool: Tool) -> Callable[..., Awaitable[Json]]:
    """Return the function of a read-only tool, with the signature from which the SDK derives the schema."""

    async def call(ctx: Ctx, **arguments: Any) -> Json:
        return await _call(tool, ctx, arguments)

    parameters = [Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=Ctx), *signature(tool.args).parameters.values()]
    call.__signature__ = Signature(parameters, return_annotation=Json)  # type: ignore[attr-defined]  # see `inspect`
    return call


def _resource_function(tool: Tool) -> Callable[[str, Ctx], Awaitable[str]]:
    async def read(run_id: str, ctx: Ctx) -> str:
        try:
            return json.dumps(await _call(tool, ctx, {"run_id": run_id}), ensure_ascii=False)
        except Exception as error:
            raise ResourceError(to_api_error(error).message) from error

    return read


async def start_run(
    project: str,
    brief: str,
    ctx: Ctx,
    allowed: Annotated[ElicitationResult[Amount], Resolve(elicitation.elicit_budget)],
    budget_usd: Annotated[float | None, Field(ge=0, le=MAX_BUDGET_USD, allow_inf_nan=False)] = None,
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=255)] = None,
) -> Json:
    """Start a run: a video for a project from a brief. Returns at once; poll get_run.

    The same idempotency_key, or without one the same brief for the same project on the same day, is the same run,
    unless that was cancelled. A budget above the project's own is put to the person first.
    """
    match allowed:
        case AcceptedElicitation(data=amount) if amount is None or amount.usd == budget_usd:
            pass
        case _:
            raise ToolError("This exceeds the project's budget, and the person did not allow it.")
    caller = mcp_caller(ctx)
    key = idempotency_key or f"{datetime.now(UTC):%Y-%m-%d}:{digest_of([project, ' '.join(brief.split())])}"
    cap_usd = None if budget_usd is None else Decimal(str(budget_usd))
    context = replace(caller.context, idempotency_key=f"mcp:{key}")
    if idempotency_key is None:
        context = await _after_cancelled_runs(caller, context)
    run = await start.start_run(caller.services, project=project, brief=brief, budget_usd=cap_usd, context=context)
    return {"run_id": str(run.id), "status": run.status, "project": run.project}


async def _after_cancelled_runs(caller: McpCaller, context: RequestContext) -> RequestContext:
    """Return the context with a key of its own if its run was cancelled: the same words then ask for a new run."""
    while (run := await get_run(caller.services.db, start.run_id_for(context))) and run.error:
        if run.error["code"] != "cancelled":
            break
        context = replace(context, idempotency_key=f"{context.idempotency_key}+")
    return context


async def decide_review(
    run_id: str,
    decision: Literal["approve", "reject"],
    ctx: Ctx,
    pending: Annotated[PendingConfirmation, Resolve(elicitation.pending_decision)],
    answer: Annotated[ElicitationResult[Code], Resolve(elicitation.elicit_decision)],
    comment: str | None = None,
) -> Json:
    """Put to the person whether to approve or reject the content of a run's open gate. Rejecting ends the run."""
    return await _confirm(pending, answer, ctx)


async def request_changes(
    run_id: str,
    comment: str,
    ctx: Ctx,
    pending: Annotated[PendingConfirmation, Resolve(elicitation.pending_changes)],
    answer: Annotated[ElicitationResult[Code], Resolve(elicitation.elicit_changes)],
) -> Json:
    """Put to the person whether to request changes at the open gate of a run; the comment describes them."""
    return await _confirm(pending, answer, ctx)


async def _confirm(pending: PendingConfirmation, answer: Any, ctx: Ctx) -> Json:
    """Record the decision if the person wrote its code."""
    caller = mcp_caller(ctx)
    result: Json = {key: pending[key] for key in ("run_id", "gate", "revision", "what")}
    match answer:
        case AcceptedElicitation(data=Code(code=code)):
            if code.strip().upper() != pending["code"]:
                raise ToolError("That is not the code of the question: nothing was decided.")
            command = ConfirmationCommand("confirm", pending["code"])
            outcome = await confirmations.confirm(caller.services, command, context=caller.context)
            return result | {"decided": True, "verdict": pending["verdict"], "outcome": outcome.text}
        case AcceptedElicitation(data=None):
            next_step = (
                "This client cannot put the question to the person. Give them this address, where they sign in and"
                f" decide: {caller.base_url}/runs/{pending['run_id']}/{pending['gate']}"
            )
            return result | {"decided": False, "next": next_step}
        case _:
            return result | {"decided": False, "next": "The person did not confirm it: do not try again."}


async def cancel_run(
    run_id: str, ctx: Ctx, answer: Annotated[ElicitationResult[Code], Resolve(elicitation.elicit_cancellation)]
) -> Json:
    """End a run permanently. Placed orders are paid; no more are placed.

    A run that was not started by an agent with this API key is put to the person first.
    """
    caller, parsed_id = mcp_caller(ctx), queries.parse_run_id(run_id)
    match answer:
        case AcceptedElicitation(data=form) if form is None or form.code.strip().lower() == short_id(parsed_id):
            pass
        case _:
            raise ToolError("No agent started this run, and the person did not confirm its end.")
    await run_requests.cancel_run(
        caller.services, parsed_id, replace(caller.context, idempotency_key=f"mcp:{parsed_id}")
    )
    value: Json = to_jsonable_python(await describe_run(caller.services.db, parsed_id, caller.base_url))
    return value
