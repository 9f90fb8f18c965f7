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

from api.callers import base_url
from api.errors import as_api_error
from api.wiring import Assembly
from providers.orders import digest_of
from runs import control, look, media_links, prepare, shown
from runs.prepare import Prepared, Spoken, Verdict
from runs.production import Production
from runs.start import start
from storage.keys import KeyRow

CHANNEL = "mcp"
#: The first version in which a question to the person travels with the answer to the call, so that no connection
#: has to stay open for it.
ASKS_SINCE = "2026-07-28"
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
class CannotAsk:
    """The client has no way to put a question to the person."""


@dataclass(frozen=True)
class Asker:
    """Who calls a tool, and what is behind it."""

    parts: Assembly
    who: KeyRow
    base_url: str

    @property
    def production(self) -> Production:
        """The parts of a production."""
        return self.parts.production


def asker(ctx: Ctx) -> Asker:
    """Who calls."""
    request = ctx.request_context.request
    if not isinstance(request, Request):
        raise ToolError("This needs a request over HTTP.")
    return Asker(request.state.parts, request.state.who, base_url(request, request.state.parts))


def in_words(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """The same function, whose refusals reach the agent as a sentence."""

    @wraps(function)
    async def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except ToolError:
            raise
        except Exception as error:
            raise ToolError(as_api_error(error).body["error"]["message"]) from error

    return told


def can_ask(ctx: Ctx) -> bool:
    """Whether the client can put a form to the person within a call."""
    capabilities = ctx.client_capabilities
    form = capabilities.elicitation if capabilities else None
    return (ctx.protocol_version or "") >= ASKS_SINCE and form is not None and (form.form is not None or not form.url)


# -- Looking


@in_words
async def list_projects(ctx: Ctx) -> dict[str, Any]:
    """The projects a video can be made for, each with its length, its number of clips and its budget."""
    return {"projects": shown.projects(asker(ctx).production)}


@in_words
async def list_runs(ctx: Ctx) -> dict[str, Any]:
    """The newest runs: id, project, brief, status and what was spent."""
    return {"runs": await shown.runs(asker(ctx).production, limit=20)}


@in_words
async def get_run(run_id: str, ctx: Ctx) -> dict[str, Any]:
    """How one run stands: status, step, costs in USD, a link to its film, and the gate that is open, if any."""
    who = asker(ctx)
    return await shown.run(who.production, look.id_of(run_id), who.base_url)


@in_words
async def list_reviews(ctx: Ctx) -> dict[str, Any]:
    """The gates where a person is asked at the moment, and what saying yes would cost."""
    return {"reviews": await shown.reviews(asker(ctx).production)}


@in_words
async def get_review(run_id: str, ctx: Ctx) -> dict[str, Any]:
    """What the open gate of a run shows: the ideas and their price, or the film and its caption."""
    return await shown.review(asker(ctx).production, look.id_of(run_id))


@in_words
async def get_costs(ctx: Ctx, run_id: str | None = None) -> dict[str, Any]:
    """What one run costs, in USD; without a run what was spent today, and the day's cap."""
    return await shown.costs_of(asker(ctx).production, look.id_of(run_id) if run_id else None)


@in_words
async def get_media_link(run_id: str, ctx: Ctx) -> dict[str, Any]:
    """Links to the film and the clips of a run. They work for a day, for whoever has them."""
    who = asker(ctx)
    return {"links": await media_links.of_run(who.production, look.id_of(run_id), who.base_url)}


READING = (list_projects, list_runs, get_run, list_reviews, get_review, get_costs, get_media_link)

# -- Asking the person


@in_words
async def prepared(run_id: str, decision: Verdict, ctx: Ctx, comment: str | None = None) -> Prepared:
    """The decision under its code. Asked for again while the question is open, it is the same."""
    who = asker(ctx)
    return await prepare.prepare(who.production, look.id_of(run_id), decision, comment=comment, who=who.who, door="mcp")


async def prepared_changes(run_id: str, comment: str, ctx: Ctx) -> Prepared:
    """The same, for a request for changes."""
    return await prepared(run_id, "revise", ctx, comment)


def _question(waiting: Prepared, ctx: Ctx) -> Elicit[Code] | CannotAsk:
    if not can_ask(ctx):
        return CannotAsk()
    row = waiting.row
    return Elicit(
        f"{waiting.what}\nRun {row['run_id']}, {row['gate']} gate, revision {row['revision']}, "
        f"digest {row['digest'][:12]}.\nTo {row['verdict']} it yourself, write the code {row['code']}.",
        Code,
    )


async def decision_asked(waiting: Annotated[Prepared, Resolve(prepared)], ctx: Ctx) -> Elicit[Code] | CannotAsk:
    """The question whether to decide so."""
    return _question(waiting, ctx)


async def changes_asked(waiting: Annotated[Prepared, Resolve(prepared_changes)], ctx: Ctx) -> Elicit[Code] | CannotAsk:
    """The question whether to ask for these changes."""
    return _question(waiting, ctx)


async def budget_asked(project: str, budget_usd: float | None, ctx: Ctx) -> Elicit[Amount] | CannotAsk | None:
    """The question whether more may be spent than the project allows; None when it is not more."""
    spec = asker(ctx).production.projects.get(project)
    if spec is None or budget_usd is None or Decimal(str(budget_usd)) <= spec.budget_usd:
        return None
    if not can_ask(ctx):
        return CannotAsk()
    said = f"A run of {project} may cost {spec.budget_usd} USD. To allow {budget_usd} USD, write the amount."
    return Elicit(said, Amount)


@in_words
async def ending_asked(run_id: str, ctx: Ctx) -> Elicit[Code] | CannotAsk | None:
    """The question whether to end a run; None for one that an agent with this key started."""
    who = asker(ctx)
    run = await look.find(who.production, look.id_of(run_id))
    if (run["channel"], run["started_by"]) == (CHANNEL, who.who.id):
        return None
    if not can_ask(ctx):
        return CannotAsk()
    about = f"{run['project']}, {prepare.quoted(run['brief'])}"
    return Elicit(f"End run {run['id']} for good ({about})? To end it yourself, write {_short(run['id'])}.", Code)


def _short(run_id: UUID) -> str:
    return str(run_id)[:8]


async def _confirmed(waiting: Prepared, said: Any, ctx: Ctx) -> dict[str, Any]:
    who, row = asker(ctx), waiting.row
    about = {"run_id": str(row["run_id"]), "gate": row["gate"], "revision": row["revision"], "what": waiting.what}
    match said:
        case AcceptedElicitation(data=Code(code=code)):
            if code.strip().upper() != row["code"]:
                raise ToolError("That is not the code that the question showed: nothing was decided.")
            spoken = Spoken("confirm", row["code"])
            done = await prepare.confirm(who.production, spoken, who=who.who, door="mcp")
            return {**about, "decided": True, "verdict": row["verdict"], "outcome": prepare.outcome(*done)}
        case AcceptedElicitation(data=CannotAsk()):
            return {**about, "decided": False, "next": _elsewhere(row["run_id"], row["gate"], who.base_url)}
        case _:
            return {**about, "decided": False, "next": "The person did not confirm it: leave it as it is."}


def _elsewhere(run_id: UUID, gate: str, url: str) -> str:
    return (
        f"This client cannot put the question to the person. They decide themselves: in a chat with the supervisor, "
        f"with `myloware runs approve {run_id} {gate}`, or by POST {url}/v1/runs/{run_id}/approve."
    )


# -- Doing


@in_words
async def start_run(
    project: str,
    brief: str,
    ctx: Ctx,
    allowed: Annotated[ElicitationResult[Amount], Resolve(budget_asked)],
    budget_usd: Annotated[float | None, Field(ge=0, le=BUDGET_LIMIT, allow_inf_nan=False)] = None,
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=255)] = None,
) -> dict[str, Any]:
    """Start making a video for a project from a brief. Returns at once; look with get_run. The same idempotency_key,
    or without one the same brief for the same project on the same day, is the same run. A budget above the
    project's own is put to the person first.
    """
    who = asker(ctx)
    match allowed:
        case AcceptedElicitation(data=None):
            pass
        case AcceptedElicitation(data=Amount(usd=usd)) if usd == budget_usd:
            pass
        case AcceptedElicitation(data=CannotAsk()):
            raise ToolError("That is more than the project's budget, and this client cannot ask the person for it.")
        case _:
            raise ToolError("That is more than the project's budget, and the person did not allow it.")
    named = idempotency_key or f"{datetime.now(UTC):%Y-%m-%d}:{digest_of([project, ' '.join(brief.split())])}"
    run = await start(
        who.production,
        project=project,
        brief=brief,
        budget_usd=None if budget_usd is None else Decimal(str(budget_usd)),
        started_by=who.who.id,
        channel=CHANNEL,
        request_key=f"mcp:{named}",
    )
    return {"run_id": str(run["id"]), "status": run["status"], "project": run["project"]}


@in_words
async def decide_review(
    run_id: str,
    decision: Literal["approve", "reject"],
    ctx: Ctx,
    waiting: Annotated[Prepared, Resolve(prepared)],
    said: Annotated[ElicitationResult[Code], Resolve(decision_asked)],
    comment: str | None = None,
) -> dict[str, Any]:
    """Put to the person whether to approve or reject what the open gate of a run shows. Rejecting ends the run."""
    return await _confirmed(waiting, said, ctx)


@in_words
async def request_changes(
    run_id: str,
    comment: str,
    ctx: Ctx,
    waiting: Annotated[Prepared, Resolve(prepared_changes)],
    said: Annotated[ElicitationResult[Code], Resolve(changes_asked)],
) -> dict[str, Any]:
    """Put to the person whether to ask for changes at the open gate of a run; the comment says which."""
    return await _confirmed(waiting, said, ctx)


@in_words
async def cancel_run(
    run_id: str, ctx: Ctx, said: Annotated[ElicitationResult[Code], Resolve(ending_asked)]
) -> dict[str, Any]:
    """End a run for good. What was ordered already is paid; nothing more is ordered. A run that was not started by an
    agent with this key is put to the person first.
    """
    who, found = asker(ctx), look.id_of(run_id)
    match said:
        case AcceptedElicitation(data=None):
            pass
        case AcceptedElicitation(data=Code(code=code)) if code.strip().lower() == _short(found):
            pass
        case AcceptedElicitation(data=CannotAsk()):
            raise ToolError(f"No agent started this run, and this client cannot ask: `myloware runs cancel {found}`.")
        case _:
            raise ToolError("No agent started this run, and the person did not confirm its end: leave it as it is.")
    external_id = f"cancel:{who.who.id}:{found}"
    await control.cancel(who.production, found, by=who.who.id, channel=CHANNEL, external_id=external_id)
    return await shown.run(who.production, found, who.base_url)


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
