"""The console in the browser: the inbox, costs, troubles with the actions of a person, health, and API keys."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api import chat, console_reviews, console_runs, console_session, console_start, keys
from api.artifacts import Digest, FileRequestDep
from api.authentication import AppStateDep, count_request, require_admin
from api.checks import Check, run_checks
from api.console_runs import PAGE_ROWS
from api.console_session import PageRoute, SessionDep
from api.costs import FirstDay, LastDay
from api.wiring import AppState
from console.pages import console_page
from console.sessions import Session
from providers.orders import digest_of
from runs import costs, queries, run_requests
from runs.decide import check_approval_right
from runs.errors import OutcomeUnknown
from storage import api_keys
from storage.actors import Right
from storage.inbox import list_inbox

router = APIRouter(route_class=PageRoute, include_in_schema=False)
router.include_router(console_session.router)
router.include_router(chat.page_router)
router.include_router(console_runs.router)
router.include_router(console_start.router)
#: The last one: its routes have any name after the run.
router.include_router(console_reviews.router)

PageNumber = Annotated[int, Query(ge=1, le=1_000)]
Action = Literal["retry", "clips", "not-made", "stop-waiting", "cancel"]
#: The fields of the form about clips, with their numbers.
NUMBERED = r"(prompt|drop)\.[0-9]{1,4}"
#: How often a key can run the checks in a minute.
CHECKS_PER_MINUTE = 6


@router.get("/inbox")
async def show_inbox(
    request: Request, state: AppStateDep, session: SessionDep, page: PageNumber = 1, version: str = ""
) -> Response:
    """Show what waits for a person. To htmx, which polls, send the rows if they are not those of `version`."""
    rows = await list_inbox(state.services.db, limit=PAGE_ROWS + 1, offset=(page - 1) * PAGE_ROWS)
    is_part = "hx-request" in request.headers
    current = digest_of(repr(rows))[:16]
    if is_part and version == current:
        return Response(None, 204)
    template = "inbox_rows.html" if is_part else "inbox.html"
    more = {"number": page, "version": current, "has_more": len(rows) > PAGE_ROWS}
    return HTMLResponse(console_page(template, session, path="/inbox", rows=rows[:PAGE_ROWS], **more))


@router.get("/media/{digest}")
async def stream_media(digest: Digest, _session: SessionDep, file: FileRequestDep) -> Response:
    """Return a stored film, clip or image, whole or in part."""
    return await file.respond(digest)


@router.get("/costs")
async def show_costs(
    state: AppStateDep, session: SessionDep, first: FirstDay = None, last: LastDay = None, project: str = ""
) -> HTMLResponse:
    """Show what was spent, by day, project and provider, and what the caps leave."""
    report = await costs.report_costs(state.services, first, last, project or None)
    names = sorted({*state.services.projects, *filter(None, [project])})
    return HTMLResponse(console_page("costs.html", session, path="/costs", report=report, project=project, names=names))


@router.get("/trouble")
async def show_troubles(state: AppStateDep, session: SessionDep, page: PageNumber = 1) -> HTMLResponse:
    """Show what needs a person's help, with the actions that there are."""
    limit, offset = PAGE_ROWS + 1, (page - 1) * PAGE_ROWS
    rows = await list_inbox(state.services.db, limit=limit, offset=offset, only_troubles=True)
    more = {"number": page, "has_more": len(rows) > PAGE_ROWS}
    return HTMLResponse(console_page("trouble.html", session, path="/trouble", rows=rows[:PAGE_ROWS], **more))


@router.get("/trouble/{run_id:uuid}/{action}")
async def show_action(run_id: UUID, action: Action, state: AppStateDep, session: SessionDep) -> HTMLResponse:
    """Show what an action changes and may cost, with the button that does it."""
    return await _action_page(run_id, action, state, session)


@router.post("/trouble/{run_id:uuid}/{action}")
async def act(run_id: UUID, action: Action, request: Request, state: AppStateDep, session: SessionDep) -> Response:
    """Cancel or retry a run. Orders of unknown outcome are shown first, with what the provider lists."""
    form = await request.form()
    kept = {name: str(text) for name, text in form.items() if re.fullmatch(NUMBERED, name) and str(text).strip()}
    prompts = {int(name.removeprefix("prompt.")): text for name, text in kept.items() if name.startswith("prompt.")}
    drop = [int(name.removeprefix("drop.")) for name in kept if name.startswith("drop.")]
    changes: dict[str, Any] = {"prompts": prompts, "drop": drop, "confirm": str(form.get("confirm"))}
    try:
        if action == "cancel":
            await run_requests.cancel_run(state.services, run_id, session.context)
        else:
            changes |= {"stop_waiting": action == "stop-waiting", "not_made": action == "not-made"}
            await run_requests.retry_run(state.services, run_id, **changes, context=session.context)
    except OutcomeUnknown as error:
        return await _action_page(run_id, "not-made", state, session, {**error.details, "kept": kept})
    return RedirectResponse(f"/runs/{run_id}", 303)


async def _action_page(
    run_id: UUID, action: Action, state: AppState, session: Session, evidence: dict[str, Any] | None = None
) -> HTMLResponse:
    run = await queries.get_run_view(state.services.db, run_id)
    queries.check_kept(run)
    clips = await run_requests.list_failed_clips(state.services, run_id)
    content = console_page("trouble_action.html", session, run=run, clips=clips, action=action, evidence=evidence)
    return HTMLResponse(content, 409 if evidence else 200)


@router.api_route("/doctor", methods=["GET", "POST"])
async def show_health(request: Request, state: AppStateDep, session: SessionDep) -> HTMLResponse:
    """Show readiness and the video models with their retirement dates; for a POST, run the checks of `doctor` too."""
    checks: list[Check] | None = None
    if request.method == "POST":
        check_approval_right(session.key.actor, ", which the checks require because they may cost money.")
        await count_request(state, f"doctor:{session.key.id}", limit=CHECKS_PER_MINUTE)
        checks = await run_checks(state.settings, {})
    found = {"ready": await state.readiness.check(), "checks": checks, "warnings": state.settings.weak_keys()}
    models, today = state.services.video.models, datetime.now(UTC).date()
    return HTMLResponse(console_page("health.html", session, path="/doctor", models=models, today=today, **found))


async def require_admin_session(session: SessionDep) -> Session:
    """Return a session whose key can manage keys. Raises ApiError 403."""
    await require_admin(session.key)
    return session


AdminDep = Annotated[Session, Depends(require_admin_session)]


@router.get("/keys")
async def show_keys(state: AppStateDep, session: AdminDep, revoke: str = "") -> HTMLResponse:
    """Show the API keys, and the form that adds one, or the button that revokes the key with this id."""
    return await _keys_page(state, session, revoke=revoke)


@router.post("/keys")
async def add_key(
    state: AppStateDep,
    session: AdminDep,
    name: Annotated[str, Form(pattern=api_keys.NAME_PATTERN)],
    can: Annotated[Right, Form()],
    days: Annotated[int | None, Form(ge=1, le=3650)] = None,
) -> HTMLResponse:
    """Add an API key, and show it once."""
    body = keys.AddKeyRequest(name=name, can=can, expires_at=days and datetime.now(UTC) + timedelta(days=days))
    added, _ = await keys.create_key(state, body, session.context)
    return await _keys_page(state, session, added=added)


@router.post("/keys/{key_id}/revoke")
async def revoke_key(key_id: str, state: AppStateDep, session: AdminDep) -> Response:
    """Revoke an API key."""
    await keys.end_key(state, key_id, session.context)
    return RedirectResponse("/keys", 303)


async def _keys_page(state: AppState, session: Session, *, added: str = "", revoke: str = "") -> HTMLResponse:
    rows = await api_keys.list_keys(state.services.db)
    return HTMLResponse(console_page("keys.html", session, path="/keys", rows=rows, added=added, revoke=revoke))
