"""Turn the message of a request into the input of the session's thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from chat.placement import DIGEST, human_message, place_alone, place_with_history
from chat.requests import ChatRequest
from graph.chat import ChatState, LastMessage, remove_messages
from providers.orders import digest_of
from runs.start import run_id_for
from storage import runs
from storage.database import Database

#: The same text within this time is the same message, sent twice; later it is a new one.
REPEAT_WINDOW = timedelta(minutes=10)


async def place_message(
    db: Database,
    request: ChatRequest,
    state: ChatState,
    message: str,
    redact: Callable[[str], str],
    *,
    kept_text: str | None = None,
) -> ChatState:
    """Return the input for the thread in this `state`: the message in its place, and what is known of it.

    The thread keeps `kept_text` instead of the redacted text of the message, if given.
    """
    last, known = state.get("last_message", LastMessage()), state.get("messages", [])
    digest, now = digest_of(message), datetime.now(UTC)
    is_repeat = last.get("digest") == digest and _is_repeat(last, request, now)
    last_number = last.get("number", 0)
    if request.history is None:
        place = place_alone(known, last=last_number, is_repeat=is_repeat)
    else:
        history = history_messages(request, redact)
        place = place_with_history(known, history, digest, last=last_number, is_repeat=is_repeat)
    is_last = last.get("digest") == digest and last_number == place.number and "key" in last
    placed: LastMessage = {
        "number": place.number,
        "digest": digest,
        "received_at": now.isoformat(),
        "key": last["key"] if is_last else await _message_key(db, request, place.number, digest, now),
        "idempotency_key": request.context.idempotency_key,
    }
    text = human_message(kept_text or redact(message), place.number, digest)
    changes = [*remove_messages(place.replaced), *place.missed, text]
    return {"messages": changes, "last_message": placed}


def history_messages(request: ChatRequest, redact: Callable[[str], str]) -> list[AnyMessage]:
    """Return the history that the client sent as messages, the person's with the digest of their text."""
    return [
        AIMessage(redact(text))
        if role == "assistant"
        else HumanMessage(redact(text), additional_kwargs={DIGEST: digest_of(text)})
        for role, text in request.history or ()
    ]


def _is_repeat(last: LastMessage, request: ChatRequest, now: datetime) -> bool:
    """Return whether the same text is the same message: by the idempotency keys, or else by the time."""
    before, key = last.get("idempotency_key"), request.context.idempotency_key
    if before and key:
        return before == key
    return now - datetime.fromisoformat(last["received_at"]) < REPEAT_WINDOW


async def _message_key(db: Database, request: ChatRequest, number: int, digest: str, now: datetime) -> str:
    """Return the key under which the effects of the message are idempotent: the same when it is sent again."""
    short = digest[:16]
    if request.context.idempotency_key:
        return f"chat:request:{request.context.idempotency_key}:{short}"
    if not request.is_new_session:
        return f"chat:{request.session_id}:{number}:{short}"
    # Without a session the same text of the same actor within the window is the same message.
    window = int(now.timestamp() // REPEAT_WINDOW.total_seconds())
    previous = f"chat:new:{short}:{window - 1}"
    run_id = run_id_for(replace(request.context, idempotency_key=previous))
    return previous if await runs.get_run(db, run_id) else f"chat:new:{short}:{window}"
