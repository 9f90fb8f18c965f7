"""The chat of the console: a page, which every other page opens as a panel too."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sse_starlette import EventSourceResponse

from api.authentication import AppStateDep
from api.chat import stream_turn
from api.console_session import PageRoute, SessionDep
from api.errors import to_api_error
from api.wiring import AppState
from chat.confirmations import list_pending
from chat.session import run_turn
from chat.turns import ChatRequest, TurnResult
from console.pages import console_page
from console.sessions import Session
from storage.actors import RequestContext

router = APIRouter(prefix="/chat", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show_chat(request: Request, state: AppStateDep, session: SessionDep, run: UUID | None = None) -> HTMLResponse:
    """Show the conversation of the session and what can be confirmed in it; to htmx without the page around it."""
    template = "chat_panel.html" if "hx-request" in request.headers else "chat.html"
    return HTMLResponse(await _render(state, session, template, run_id=run))


@router.post("")
async def send_message(
    http_request: Request,
    state: AppStateDep,
    session: SessionDep,
    message: Annotated[str, Form()] = "",
    run: Annotated[UUID | None, Form()] = None,
    request: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Process a message, which may confirm or withdraw what was prepared. A script gets the turn as a stream.

    The events are those of REST, but `done` has the conversation as HTML. A form that is sent twice is one message.
    """
    context = RequestContext(session.key.actor, "chat", f"form:{request}" if request else None)
    text, base_url = message.replace("\r\n", "\n"), state.base_url
    sent = ChatRequest(session.chat_id, text, context, base_url=base_url, page_run_id=run)
    stream, render = state.turns.start(run_turn(state.chat, sent)), partial(_render, state, session, run_id=run)
    if "text/event-stream" in http_request.headers.get("accept", ""):
        return EventSourceResponse(stream_turn(stream, partial(render, "chat_log.html")), sep="\n")
    try:
        return HTMLResponse(await render("chat.html", await stream.result()))
    except Exception as error:
        problem = to_api_error(error)
        page = await render("chat.html", problem=problem, typed=message, request=request or uuid4())
        return HTMLResponse(page, problem.status, problem.headers)


async def _render(state: AppState, session: Session, template: str, turn: TurnResult | None = None, **more: Any) -> str:
    """Return the conversation after this turn, also with an answer that its thread does not keep."""
    messages = await state.chat.read_conversation(session.chat_id)
    is_kept = turn is None or any(text in turn.response for _, text in messages[-1:])
    answer = None if turn is None or is_kept else turn.response
    variables = {"problem": None, "typed": "", "request": uuid4(), "messages": messages, "answer": answer, **more}
    variables["pending"] = await list_pending(state.services.db, session.key.actor.id, session.chat_id)
    return console_page(template, session, path="/chat", **variables)
