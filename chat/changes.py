"""The tools of the supervisor that change something: start runs, and prepare decisions. None decides or cancels."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from pydantic import Field

from agents.roles import ToolError, ToolResult
from chat import confirmations
from chat.confirmations import PendingConfirmation
from graph.chat import ChatContext
from graph.decisions import DecisionInput
from runs import links, queries, start
from runs.queries import parse_run_id
from runs.retry_quotes import RetryFields, quote_retry
from runs.run_requests import get_cancellable_run
from runs.services import Services
from storage.actors import Actor, RequestContext
from storage.runs import RunRow

MAX_LISTED_RUNS, MAX_RUNS_PER_MESSAGE, MAX_BUDGET_USD = 10, 6, 100_000
#: The actor of what is done in LangGraph Studio, which sends none.
STUDIO = Actor("studio", "studio", "LangGraph Studio", frozenset({"start", "approve"}))


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
        return RequestContext(actor, self.context.channel, f"{key}{suffix}" if key else None)

    def check_named(self, run_id: UUID) -> None:
        """Raise ToolError unless the run is of this conversation or page, or the person just wrote its id."""
        known = (*self.started, self.context.page_run_id)
        if str(run_id) not in known and str(run_id) not in self.context.message.lower():
            raise ToolError("Only the person can name a run from outside this conversation: ask for its id.")

    def next_context(self) -> RequestContext:
        """Return the context of the next run that the message starts. Raises ToolError if there are too many."""
        number = self.context.call_number
        if number >= MAX_RUNS_PER_MESSAGE:
            raise ToolError(f"One message starts at most {MAX_RUNS_PER_MESSAGE} runs; the person asks again for more.")
        return self.request_context(f":{number}" if number else "")


async def start_run(
    request: ToolRequest,
    project: str,
    brief: str,
    budget_usd: Annotated[float | None, Field(ge=0, le=MAX_BUDGET_USD, allow_inf_nan=False)] = None,
    options: dict[str, int] | None = None,
) -> ToolResult:
    """Start a run, unless its budget is above that of its project, which only the person can allow."""
    services, usd = request.services, None if budget_usd is None else Decimal(str(budget_usd))
    spec, context = services.projects.get(project), request.next_context()
    if spec and usd is not None and usd > spec.budget_usd:
        form = urlencode({"project": project, "brief": brief, "budget_usd": usd})
        refusal = f"Above {spec.budget_usd} USD, the budget of {project}, only the person starts a run, here"
        raise ToolError(f"{refusal}: {request.context.base_url}/new?{form}")
    chosen: dict[str, Any] = {"project": project, "brief": brief, "options": options, "budget_usd": usd}
    return _started(await start.start_run(services, **chosen, context=context), request.context.base_url)


async def fork_run(
    request: ToolRequest, run_id: str, revision: int | None = None, project: str | None = None
) -> ToolResult:
    """Start a run with the ideas of another."""
    context, source = request.next_context(), parse_run_id(run_id)
    run = await start.fork_run(request.services, source, revision=revision, project=project, context=context)
    return _started(run, request.context.base_url)


def _started(run: RunRow, base_url: str) -> ToolResult:
    value = {"run_id": run.id, "status": run.status, "project": run.project, "brief": run.brief}
    return ToolResult({**value, "page": f"{base_url}/runs/{run.id}"}, run_ids=[str(run.id)], started=[str(run.id)])


async def prepare_decision(request: ToolRequest, run_id: str, **fields: Any) -> ToolResult:
    """Prepare a decision with these fields of `DecisionFields`. Nothing is decided."""
    services, parsed_id, decision = request.services, parse_run_id(run_id), DecisionInput(**fields)
    where = {"session_id": request.context.session_id or "", "base_url": request.context.base_url}
    context = request.request_context()
    return _prepared(await confirmations.create_pending(services, parsed_id, decision, context=context, **where))


async def prepare_retry(request: ToolRequest, run_id: str, **fields: Any) -> ToolResult:
    """Prepare a retry with these fields of `RetryFields`. Nothing is ordered."""
    services, context, session_id = request.services, request.request_context(), request.context.session_id or ""
    quote = await quote_retry(services, parse_run_id(run_id), RetryFields(**fields), context.actor)
    retry = {"verdict": "approve", "digest": quote.confirm, "comment": quote.model_dump_json()}
    run = await queries.get_run(services.db, parse_run_id(run_id))
    return _prepared(await confirmations.store_pending(services.db, run, context, session_id, **retry))


def _prepared(pending: PendingConfirmation) -> ToolResult:
    # Without the content, which the person is shown in full: a model that repeats it could change it.
    first_line = pending["what"].partition("\n")[0]
    value = {"prepared": first_line, "decided": False, "next": "The person confirms it, or not."}
    return ToolResult(value, run_ids=[pending["run_id"]], pending=pending)


async def create_review_link(
    request: ToolRequest, run_id: str, hours: Annotated[float, Field(gt=0, le=links.MAX_HOURS)] = links.DEFAULT_HOURS
) -> ToolResult:
    """Create a reviewer's link, which the person sees and no model."""
    request.check_named(parsed_id := parse_run_id(run_id))
    run = await queries.get_run_view(request.services.db, parsed_id)
    if run.review is None:
        raise queries.no_open_review(run.status)
    db, gate, base_url = request.services.db, run.review.gate, request.context.base_url
    context = request.request_context()
    url, link = await links.create_link(db, parsed_id, gate, base_url, hours=hours, context=context)
    until = f"{link.expires_at:%Y-%m-%d %H:%M} UTC"
    notice = f"Whoever has this link can decide the {gate} gate of run {run_id} once, until {until}"
    return ToolResult({"created": True, "gate": gate}, run_ids=[run_id], notice=f"{notice}: {url}")


async def cancel_run(request: ToolRequest, run_id: str) -> ToolResult:
    """Prepare the end of a run. Nothing is cancelled."""
    request.check_named(parsed_id := parse_run_id(run_id))
    db, context, session_id = request.services.db, request.request_context(), request.context.session_id or ""
    run = await get_cancellable_run(db, parsed_id, context.actor)
    return _prepared(await confirmations.store_pending(db, run, context, session_id, verdict="cancel"))
