"""The tools of `/mcp`: the read-only ones from the table in `chat/tools.py`, and those that change something.

An agent reads, starts runs and prepares decisions; the person decides, by the forms of `api/mcp_elicitation.py`.
"""

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from inspect import Parameter, signature
from typing import Annotated, Any, Literal, cast

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.server.mcpserver.resolve import Resolve
from mcp_types import ToolAnnotations
from pydantic import Field
from pydantic_core import to_jsonable_python

from agents.roles import ToolResult
from api import mcp_elicitation as elicitation
from api.errors import to_api_error
from api.mcp_elicitation import Amount, Code, CodeQuestion, Ctx, McpCaller, mcp_caller, short_id
from chat import confirmations
from chat.changes import MAX_BUDGET_USD
from chat.commands import ConfirmationCommand
from chat.confirmations import PendingConfirmation
from chat.tools import DESCRIPTIONS, Tool, ToolRequest, describe_run, tool_table
from graph.chat import ChatContext
from providers.orders import digest_of
from runs import queries, run_requests, start
from runs.services import Services
from storage.actors import RequestContext
from storage.reviews import record_served
from storage.runs import get_run

MAX_LISTED_RUNS = 20

READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)
STARTING = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
DECIDING = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)

DECISION = Parameter("decision", Parameter.KEYWORD_ONLY, annotation=Literal["approve", "reject", "retry"])

Json = dict[str, Any]


def register_tools(server: MCPServer[Any], services: Services) -> None:
    """Add the tools and the resources to the server."""
    table = {tool.name: tool for tool in tool_table(services)}
    for name, tool in table.items():
        if tool.is_read_only:
            server.add_tool(_read_only_function(tool), name, description=tool.description, annotations=READ_ONLY)
    server.add_tool(start_run, annotations=STARTING)
    prepare, retry = table["prepare_decision"], table["prepare_retry"]
    for name, tools in {"decide_review": (prepare, retry), "request_changes": (prepare,)}.items():
        description = "\n".join([DESCRIPTIONS[name], *(tool.description for tool in tools)])
        server.add_tool(_deciding_function(*tools), name, description=description, annotations=DECIDING)
    server.add_tool(cancel_run, annotations=DECIDING)
    for kind in ("run", "review"):
        uri, tool = f"{kind}://{{run_id}}", table[f"get_{kind}"]
        add_resource = server.resource(uri, name=kind, description=tool.description, mime_type="application/json")
        add_resource(_resource_function(tool))


async def _execute(tool: Tool, ctx: Ctx, arguments: Json) -> ToolResult:
    caller = mcp_caller(ctx)
    context = ChatContext(actor=caller.context.actor, channel="mcp", base_url=caller.base_url)
    return await tool.function(ToolRequest(tool.services, context, max_runs=MAX_LISTED_RUNS), **arguments)


async def _call(tool: Tool, ctx: Ctx, arguments: Json) -> Json:
    result = await _execute(tool, ctx, arguments)
    if tool.name == "get_review":
        actor, review = mcp_caller(ctx).context.actor, result.value
        await record_served(tool.services.db, actor, review["run_id"], [review])
    return cast("Json", to_jsonable_python({tool.key: result.value} if tool.key else result.value))


def _read_only_function(tool: Tool) -> Callable[..., Awaitable[Json]]:
    async def call(ctx: Ctx, **arguments: Any) -> Json:
        return await _call(tool, ctx, arguments)

    return _set_parameters(call, signature(tool.args).parameters.values())


def _set_parameters(function: Callable[..., Any], parameters: Iterable[Parameter]) -> Callable[..., Any]:
    """Give a function these parameters in place of `**arguments`: the SDK derives the schema from them. Return it."""
    added, present = list(parameters), signature(function)
    own = [one.replace(kind=one.KEYWORD_ONLY) for one in present.parameters.values() if one.kind != one.VAR_KEYWORD]
    function.__signature__ = present.replace(parameters=[*own, *added])  # type: ignore[attr-defined]  # see `inspect`
    function.__annotations__ |= {each.name: each.annotation for each in added}
    return function


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
    options: dict[str, int] | None = None,
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=255)] = None,
) -> Json:
    """Start a run: a video for a project from a brief. Returns at once; poll get_run.

    The same idempotency_key, or without one the same brief for the same project on the same day, is the same run,
    unless that was cancelled. `options` are the project's, such as clips. A budget above its own is put to the person.
    """
    if not isinstance(allowed, AcceptedElicitation) or (allowed.data and allowed.data.usd != budget_usd):
        raise ToolError("This exceeds the project's budget, and the person did not allow it.")
    caller = mcp_caller(ctx)
    key = idempotency_key or f"{datetime.now(UTC):%Y-%m-%d}:{digest_of([project, ' '.join(brief.split())])}"
    cap_usd = None if budget_usd is None else Decimal(str(budget_usd))
    context = replace(caller.context, idempotency_key=f"mcp:{key}")
    if idempotency_key is None:
        context = await _after_cancelled_runs(caller, context)
    chosen: Json = {"project": project, "brief": brief, "options": options, "budget_usd": cap_usd}
    run = await start.start_run(caller.services, **chosen, context=context)
    return {"run_id": str(run.id), "status": run.status, "project": run.project}


async def _after_cancelled_runs(caller: McpCaller, context: RequestContext) -> RequestContext:
    """Return the context with a key of its own if its run was cancelled: the same words then ask for a new run."""
    db = caller.services.db
    while (run := await get_run(db, start.run_id_for(context))) and (run.error or {}).get("code") == "cancelled":
        context = replace(context, idempotency_key=f"{context.idempotency_key}+")
    return context


def _deciding_function(prepare: Tool, retry: Tool | None = None) -> Callable[..., Awaitable[Json]]:
    """Return the function of a tool that puts to the person what these tools of the table prepare, with their fields.

    With a `retry` its parameter `decision` chooses what is prepared; otherwise it is a request for changes.
    """
    inherited = [each for tool in (prepare, retry) if tool for each in signature(tool.args).parameters.values()]
    parameters = {each.name: each for each in (*inherited, *([DECISION] if retry else ())) if each.name != "verdict"}

    async def prepare_call(ctx: Ctx, **arguments: Any) -> PendingConfirmation:
        decision = arguments.pop("decision", "revise")
        tool, chosen = (retry, {}) if retry and decision == "retry" else (prepare, {"verdict": decision})
        chosen |= {name: value for name, value in arguments.items() if value != parameters[name].default}
        if unfit := chosen.keys() - tool.args.model_fields:
            raise ToolError(f"{', '.join(sorted(unfit))}: cannot be part of the decision {decision}.")
        return cast("PendingConfirmation", (await _execute(tool, ctx, chosen)).pending)

    async def ask(ctx: Ctx, pending: Annotated[PendingConfirmation, Resolve(prepare_call)]) -> CodeQuestion:
        return elicitation.elicit_decision(pending, ctx)

    async def call(
        ctx: Ctx,
        pending: Annotated[PendingConfirmation, Resolve(prepare_call)],
        answer: Annotated[ElicitationResult[Code], Resolve(ask)],
        **_arguments: Any,
    ) -> Json:
        return await _confirm(pending, answer, ctx)

    _set_parameters(prepare_call, parameters.values())
    return _set_parameters(call, parameters.values())


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
            )
            address = f"{caller.base_url}/runs/{pending['run_id']}/{pending['gate'] or ''}".rstrip("/")
            return result | {"decided": False, "next": f"{next_step} decide, with nothing filled in: {address}"}
        case _:
            return result | {"decided": False, "next": "The person did not confirm it: do not try again."}


async def cancel_run(
    run_id: str, ctx: Ctx, answer: Annotated[ElicitationResult[Code], Resolve(elicitation.elicit_cancellation)]
) -> Json:
    """End a run permanently. Placed orders are paid; no more are placed.

    A run that was not started by an agent with this API key is put to the person first.
    """
    caller, parsed_id = mcp_caller(ctx), queries.parse_run_id(run_id)
    form = answer.data if isinstance(answer, AcceptedElicitation) else Code(code="")
    if form and form.code.strip().lower() != short_id(parsed_id):
        raise ToolError("No agent started this run, and the person did not confirm its end.")
    await run_requests.cancel_run(
        caller.services, parsed_id, replace(caller.context, idempotency_key=f"mcp:{parsed_id}")
    )
    return cast("Json", to_jsonable_python(await describe_run(caller.services.db, parsed_id, caller.base_url)))
