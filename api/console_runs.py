"""The runs in the console: their list, the page that follows one, and what changed in it."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BeforeValidator
from sse_starlette import ServerSentEvent

from api import runs, schemas
from api.authentication import AppStateDep
from api.console_session import COOKIE, PageRoute, SessionDep
from api.events import Position, RunStream
from api.wiring import AppState
from console import pages, sessions
from console.sessions import Session
from graph.decisions import Gate
from graph.status import Status
from runs import history, queries, reviews
from runs.errors import RevisionNotFound
from storage.events import Event
from storage.runs import RunFilter

router = APIRouter(prefix="/runs", route_class=PageRoute, include_in_schema=False)

PAGE_ROWS = 50
#: What has no event, such as the progress of a wait, is sent within this time.
REFRESH_SECONDS = 5
#: A field of a form that is left empty is absent.
Filter = Annotated[schemas.T | None, BeforeValidator(lambda value: value or None)]


@router.get("")
async def list_runs(
    state: AppStateDep,
    session: SessionDep,
    status: Filter[Status] = None,
    project: Filter[schemas.ProjectName] = None,
    text: Filter[schemas.SearchText] = None,
    since: Filter[date] = None,
    until: Filter[date] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> HTMLResponse:
    """Show runs, newest first. What the page shows of a review is too little to decide on: it is not served."""
    chosen = RunFilter(status=status, project=project, text=text, since=since, until=until)
    page = await runs.list_page(state.services.db, PAGE_ROWS, cursor, chosen)
    projects = sorted({*state.services.projects, *filter(None, [project])})
    variables = {"page": page, "chosen": chosen, "projects": projects, "cursor": cursor}
    return HTMLResponse(pages.console_page("runs.html", session, path="/runs", **variables))


@router.get("/{run_id:uuid}")
async def show_run(run_id: UUID, state: AppStateDep, session: SessionDep) -> HTMLResponse:
    """Show a run: its state, its clips and everything that has happened."""
    variables = await _read_run(state, run_id)
    return HTMLResponse(pages.console_page("run.html", session, path="/runs", **variables))


@router.get("/{run_id:uuid}/stream")
async def follow_run(
    run_id: UUID, request: Request, state: AppStateDep, session: SessionDep, after: Position
) -> Response:
    """Send the parts of the page that change, as they change: the rows of events after `after`, state and clips."""
    await queries.get_run(state.services.db, run_id)
    return _PageStream(state, run_id, after, session, request.cookies[COOKIE])


@router.get("/{run_id:uuid}/revisions")
async def compare_revisions(
    run_id: UUID,
    state: AppStateDep,
    session: SessionDep,
    gate: Gate = "ideation",
    before: int | None = None,
    after: int | None = None,
) -> HTMLResponse:
    """Show what changed between two revisions of a gate, by default the last two.

    Raises RevisionNotFound or RunPruned.
    """
    run = await queries.get_run_view(state.services.db, run_id)
    queries.check_kept(run)
    found = await reviews.list_reviews(state.services, run_id)
    contents = {each.revision: each.content.model_dump(mode="json") for each in found if each.gate == gate}
    after = max(contents, default=0) if after is None else after
    before = max(after - 1, min(contents, default=0)) if before is None else before
    if contents and not {before, after} <= set(contents):
        raise RevisionNotFound(f"Revision not found. Available: {', '.join(map(str, contents))}.")
    changes = pages.shown_changes(reviews.diff_values(contents.get(before), contents.get(after)))
    gates, revisions = sorted({each.gate for each in found}), list(contents)
    variables = {"run": run, "gate": gate, "gates": gates, "before": before, "after": after, "changes": changes}
    return HTMLResponse(pages.console_page("revisions.html", session, path="/runs", revisions=revisions, **variables))


class _PageStream(RunStream):
    """The parts of the page of a run, as HTML. It ends with the session."""

    def __init__(self, state: AppState, run_id: UUID, after: int, session: Session, token: str) -> None:
        super().__init__(state, run_id, after, session.key)
        self._session, self._token, self._sent = session, token, dict[str, str]()

    async def is_admitted(self) -> bool:
        return await sessions.find_session(self.state.services.db, self._token) is not None

    async def wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), REFRESH_SECONDS)

    async def describe(self, events: list[Event], *, is_ended: bool) -> list[ServerSentEvent]:
        variables, new = await _read_run(self.state, self.run_id), {event.seq for event in events}
        messages = [
            ServerSentEvent(self._part("moment", {"moment": moment}), id=str(moment.seq), event="moment", sep="\n")
            for moment in variables["moments"]
            if moment.seq in new
        ]
        for name in ("state", "graph", "clips"):
            part = self._part(name, variables)
            if self._sent.get(name) != part:
                messages.append(ServerSentEvent(part, event=name, sep="\n"))
                self._sent[name] = part
        return [*messages, *([ServerSentEvent("end", event="end", sep="\n")] if is_ended else [])]

    def _part(self, name: str, variables: Mapping[str, Any]) -> str:
        return pages.console_page(f"run_{name}.html", self._session, **variables)


async def _read_run(state: AppState, run_id: UUID) -> dict[str, Any]:
    """Return what the templates of a run show. Raises RunNotFound."""
    services, db = state.services, state.services.db
    run = await queries.get_run_view(db, run_id)
    if run.pruned_at:
        moments = await history.list_kept_moments(db, run_id)
    else:
        moments = await history.list_moments(db, services.ledger, run_id)
    return {
        "run": run,
        "position": await queries.find_nodes(services, run_id),
        "moments": moments,
        "orders": await services.ledger.list_for_run(run_id),
    }
