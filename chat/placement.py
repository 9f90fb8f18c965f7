"""Place a message in its thread: a new message, a repeated one, or one that replaces another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from chat.commands import code_redactor
from chat.turns import ChatRequest
from graph.chat import ChatState, LastMessage, remove_messages
from providers.orders import digest_of
from runs.start import run_id_for
from storage import runs
from storage.database import Database

#: The key of `additional_kwargs` of a person's message for the digest of the text that was sent.
DIGEST = "digest"
#: The same text within this time is the same message, sent twice; later it is a new one.
REPEAT_WINDOW = timedelta(minutes=10)


@dataclass(frozen=True)
class Placement:
    """The place of a message in its thread, by its number among the person's messages, from 1."""

    number: int
    #: The messages of the thread that it replaces.
    replaced: list[AnyMessage]
    #: Messages before it that the client sent and the thread does not contain.
    missed: list[AnyMessage]


def human_message(text: str, digest: str) -> HumanMessage:
    """Return a person's message in the form that a thread keeps; `digest` is that of the text that was sent."""
    return HumanMessage(text, additional_kwargs={DIGEST: digest})


def find_place(
    known: Sequence[AnyMessage],
    history: Sequence[AnyMessage] | None,
    digest: str,
    *,
    last: int,
    is_repeat: bool = False,
) -> Placement:
    """Return the place of a message of a client that sends the `history` before it: all of it, or the end of it.

    The end of the history is searched in the thread; if it occurs more than once, the place with the longest match
    counts. `history` is None if the client never sends any. `last` is the number of the last message of the thread;
    without a history `is_repeat` is true if that message was sent again.
    """
    if history is None or not (sent_people := _human_messages(history)):
        return _place_without_history(known, history, last=last, is_repeat=is_repeat)
    known_people = _human_messages(known)
    known_digests = [message.additional_kwargs.get(DIGEST) for message in known_people]
    positions = [position for position, message in enumerate(history) if isinstance(message, HumanMessage)]
    sent_digests = [message.additional_kwargs[DIGEST] for message in sent_people]
    for end in range(len(positions), 0, -1):
        if (match := _find_match(known_digests, sent_digests[:end], digest)) is not None:
            number = last - len(known_people) + match + 2
            missed = list(history[positions[end] :]) if end < len(positions) else []
            return Placement(number + len(positions) - end, _messages_from(known, number, last), missed)
    return Placement(last + 1 + len(sent_people), [], list(history))


def _place_without_history(
    known: Sequence[AnyMessage], history: Sequence[AnyMessage] | None, *, last: int, is_repeat: bool
) -> Placement:
    """Place a message of a client that never sends its history, or the first one of a client that does."""
    number = 1 if known and history is not None else last if is_repeat else last + 1
    return Placement(number, _messages_from(known, number, last), [] if known else list(history or []))


def is_single(request: ChatRequest, state: ChatState) -> bool:
    """Return whether a client that sends its history sent none, although the session has one.

    Then it is a request of the client itself, or the edited first message. The first message, sent again, is not.
    """
    known = _human_messages(state.get("messages", []))
    if not known or request.history is None or any(role == "user" for role, _ in request.history):
        return False
    is_whole = len(known) == state.get("last_message", LastMessage()).get("number", 0)
    return not is_whole or known[0].additional_kwargs.get(DIGEST) != digest_of(request.message)


def _find_match(known: Sequence[str | None], sent: Sequence[str], digest: str) -> int | None:
    """Return the index in `known` at which `sent` ends, or None."""
    # If several places match equally well, a message equal to the last one of the thread is taken for that one.
    matches = [
        (_count_equal(known[: index + 1], sent), index + 2 == len(known) and known[index + 1] == digest, index)
        for index, each in enumerate(known)
        if each == sent[-1]
    ]
    return max(matches)[-1] if matches else None


def _human_messages(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    return [message for message in messages if isinstance(message, HumanMessage)]


def _messages_from(messages: Sequence[AnyMessage], number: int, last: int) -> list[AnyMessage]:
    """Return the messages from the person's message with this number on; `last` is the number of the last one."""
    positions = [position for position, message in enumerate(messages) if isinstance(message, HumanMessage)]
    replaced = positions[number - last - 1 :] if number <= last else []
    return list(messages[replaced[0] :]) if replaced else []


def _count_equal(known: Sequence[str | None], sent: Sequence[str]) -> int:
    """Count the equal digests from the end."""
    pairs = zip(reversed(known), reversed(sent), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


async def place_message(
    db: Database, request: ChatRequest, state: ChatState, *, kept_text: str | None = None
) -> ChatState:
    """Return the input that puts the message in its place; the thread keeps `kept_text`, if given, for its text."""
    redact = await code_redactor(db, request.context.actor.id)
    last, known = state.get("last_message", LastMessage()), state.get("messages", [])
    digest, now, last_number = digest_of(request.message), datetime.now(UTC), last.get("number", 0)
    is_repeat = last.get("digest") == digest and _is_repeat(last, request, now)
    history = None if request.history is None else _history_messages(request, redact)
    place = find_place(known, history, digest, last=last_number, is_repeat=is_repeat)
    is_last = last.get("digest") == digest and last_number == place.number and "key" in last
    placed: LastMessage = {
        "number": place.number,
        "digest": digest,
        "received_at": now.isoformat(),
        "key": last["key"] if is_last else await _message_key(db, request, place.number, digest, now),
        "idempotency_key": request.context.idempotency_key,
    }
    message = human_message(kept_text or redact(request.message), digest)
    return {"messages": [*remove_messages(place.replaced), *place.missed, message], "last_message": placed}


async def messages_without_thread(db: Database, request: ChatRequest, known: Sequence[AnyMessage] = ()) -> ChatState:
    """Return the input of a turn that no thread remembers: `known`, the history of the client, and the message."""
    redact = await code_redactor(db, request.context.actor.id)
    return {"messages": [*known, *_history_messages(request, redact), HumanMessage(redact(request.message))]}


def _history_messages(request: ChatRequest, redact: Callable[[str], str]) -> list[AnyMessage]:
    """Return the history that the client sent as messages, the person's with the digest of their text."""
    return [
        AIMessage(redact(text)) if role == "assistant" else human_message(redact(text), digest_of(text))
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
