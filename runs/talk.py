"""Talk with the supervisor: one turn of a conversation that is remembered by its session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph

from agents.asking import clean
from graph.supervisor import ROUNDS, Asking, Talk, TalkPorts, build_talk
from providers.orders import digest_of
from runs import prepare
from runs.errors import Invalid, MayNotDecide, RunError
from runs.prepare import Prepared, Spoken
from runs.production import Production
from runs.start import named
from runs.talk_place import DIGEST, place_in, place_of, written
from runs.talk_tools import Notes, doing, looking
from storage import runs, sessions
from storage.keys import KeyRow
from storage.locks import Busy

MESSAGE_LIMIT = 10_000
#: Supersteps of one turn: rounds of tools, the answer, and forgetting.
RECURSION_LIMIT = 2 * ROUNDS + 4
#: The same words at once again are the same message, sent twice; later they are a new one.
RESENT_WITHIN = timedelta(minutes=10)
#: How many of the runs it began a talk remembers.
STARTED = 50
#: How long a message waits for the one before it, in seconds.
PATIENCE = 20.0
TICK = 0.1


@dataclass(frozen=True)
class Asked:
    """A message, and what the door knows of it.

    Without a session nothing is remembered, and nothing begun; `begins` is whether it begins with this message.
    `once` is a name of the request, where it has one. `history` is what was said before, by whom and in which words,
    where the client sends that along; None where it never does. Links begin with `base_url`.
    """

    session_id: str | None
    message: str
    begins: bool = False
    once: str | None = None
    history: Sequence[tuple[Literal["user", "assistant"], str]] | None = None
    base_url: str = ""


@dataclass(frozen=True)
class Turn:
    """What came of one message. `tokens` are those that went in and came out."""

    session_id: str | None
    response: str
    run_ids: list[str] = field(default_factory=list)
    pending: Prepared | None = None
    tokens: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Said:
    """Something to tell while a turn is under way: `token` (a piece of text) or `tool` (its name)."""

    kind: Literal["token", "tool"]
    text: str


async def talk(
    production: Production, model: BaseChatModel, asked: Asked, *, who: KeyRow
) -> AsyncIterator[Said | Turn]:
    """One turn, told as it goes; the last thing told is the Turn.

    A message that is nothing but a confirmation by code decides, and no model ever sees it. Raises Invalid for a
    message of no use and for a session that somebody else began, MayNotDecide, Busy, and what the model raises.
    """
    message = clean(asked.message)
    if not 1 <= len(message) <= MESSAGE_LIMIT:
        raise Invalid(f"The message must have 1 to {MESSAGE_LIMIT:,} characters.", field="message")
    code = prepare.spoken(message)
    if asked.session_id is None:
        if code:
            raise Invalid("This conversation has no id: nothing was prepared in it, and nothing can be confirmed.")
        async for said in _in_passing(production, model, asked, message, who):
            yield said
        return
    if not await sessions.belongs(production.db, asked.session_id, who.id):
        raise Invalid("This session is not yours: leave session_id out to begin one.", field="session_id")
    # Sent again without a session, the same words begin another one: one after the other, they find the same run.
    alone = f"new:{who.id}:{digest_of(message)}" if asked.begins else asked.session_id
    async with _alone(production, alone):
        if code:
            turn = await _confirmed(production, model, asked, message, code, who)
            yield Said("token", turn.response)
            yield turn
            return
        async for said in _remembered(production, model, asked, message, who):
            yield said


@asynccontextmanager
async def _alone(production: Production, session_id: str) -> AsyncIterator[None]:
    """Nobody else speaks in this session meanwhile. Raises Busy when somebody does for too long."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(production.locks.hold(f"chat:{session_id}"))
            except Busy:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            else:
                yield
                return
        await asyncio.sleep(TICK)


async def _in_passing(
    production: Production, model: BaseChatModel, asked: Asked, message: str, who: KeyRow
) -> AsyncIterator[Said | Turn]:
    """A turn of a conversation without an id: from what the client says was said, and with tools that only read."""
    notes, hidden = Notes(), await prepare.hider(production, who)
    ports = _ports(production, model, looking(production, asked.base_url, notes), notes)
    given = {"messages": [*_said_before(asked, hidden), HumanMessage(hidden(message))]}
    answer = ""
    async for said in _told(build_talk(ports).compile(name="talk"), given, {"recursion_limit": RECURSION_LIMIT}):
        if isinstance(said, Said):
            yield said
        else:
            answer = said
    yield Turn(None, answer, list(dict.fromkeys(notes.touched)), tokens=notes.tokens)


async def _remembered(
    production: Production, model: BaseChatModel, asked: Asked, message: str, who: KeyRow
) -> AsyncIterator[Said | Turn]:
    """A turn of a session: from its thread, and into it."""
    session_id, notes = str(asked.session_id), Notes()
    config = _config(session_id)
    before = (await _talk_of(production, model).aget_state(config)).values
    now, given = await _put(production, before, asked, message, who)
    tools = [
        *looking(production, asked.base_url, notes),
        *doing(
            production,
            notes,
            who=who,
            session_id=session_id,
            message=message,
            name=now["name"],
            started_here=before.get("started", []),
        ),
    ]
    ports = _ports(production, model, tools, notes)
    graph = build_talk(ports).compile(checkpointer=production.new_saver(), name="talk")
    answer = ""
    try:
        async for said in _told(graph, {"messages": given, "asked": now}, config):
            if isinstance(said, Said):
                yield said
            else:
                answer = said
    finally:
        # What was begun is remembered, also when the turn broke off behind it.
        if notes.started:
            started = [*before.get("started", []), *notes.started]
            await graph.aupdate_state(config, {"started": list(dict.fromkeys(started))[-STARTED:]}, as_node="forget")
        await _tidy(production, config)
    if notes.pending:
        said_of_it = f"\n\n{notes.pending.as_text()}"
        yield Said("token", said_of_it)
        answer += said_of_it
    yield Turn(session_id, answer, list(dict.fromkeys(notes.touched)), notes.pending, notes.tokens)


async def _confirmed(
    production: Production, model: BaseChatModel, asked: Asked, message: str, code: Spoken, who: KeyRow
) -> Turn:
    """A confirmation: decided, or not, without a model; the thread remembers the outcome, not the code."""
    session_id = str(asked.session_id)
    try:
        row, decided = await prepare.confirm(production, code, who=who, door="chat", session=session_id)
    except MayNotDecide:
        raise
    except RunError as refused:
        return Turn(session_id, f"{refused.message} Nothing was decided.")
    text = prepare.outcome(row, decided)
    if decided:
        config, graph = _config(session_id), _talk_of(production, model)
        before = (await graph.aget_state(config)).values
        told = f"(I confirmed by code: {row['verdict']} at the {row['gate']} gate of run {row['run_id']}.)"
        now, given = await _put(production, before, asked, message, who, told=told)
        await graph.aupdate_state(config, {"messages": [*given, AIMessage(text)], "asked": now}, as_node="forget")
        await _tidy(production, config)
    return Turn(session_id, text, [str(row["run_id"])])


async def _put(
    production: Production, before: dict[str, Any], asked: Asked, message: str, who: KeyRow, *, told: str | None = None
) -> tuple[Asking, list[AnyMessage | RemoveMessage]]:
    """The message in its place: what is known of it, and what changes in the thread, as `add_messages` takes it.

    The thread keeps what was `told` in the place of its words, if anything.
    """
    last: Asking = before.get("asked", {})
    known: list[AnyMessage] = before.get("messages", [])
    hidden, digest, at = await prepare.hider(production, who), digest_of(message), datetime.now(UTC)
    again = last.get("digest") == digest and _again(last, asked, at)
    if asked.history is None:
        place = place_of(known, digest, last=last.get("number", 0), again=again)
    else:
        place = place_in(known, _said_before(asked, hidden), digest, last=last.get("number", 0), again=again)
    is_last = last.get("digest") == digest and last.get("number") == place.number and "name" in last
    name = last["name"] if is_last else await _name(production, asked, place.number, digest, at, who)
    now: Asking = {"number": place.number, "digest": digest, "at": at.isoformat(), "name": name, "once": asked.once}
    gone = [RemoveMessage(id=str(message.id)) for message in place.gone]
    return now, [*gone, *place.missed, written(told or hidden(message), place.number, digest)]


def _again(last: Asking, asked: Asked, at: datetime) -> bool:
    """Whether the same words are the same message, sent twice: the name of a request tells, or else the time."""
    before = last.get("once")
    if before and asked.once:
        return before == asked.once
    return at - datetime.fromisoformat(last["at"]) < RESENT_WITHIN


def _said_before(asked: Asked, hidden: Callable[[str], str]) -> list[AnyMessage]:
    """What the client says was said before, as messages; those of the person with the digest of what they wrote."""
    return [
        AIMessage(hidden(text))
        if by == "assistant"
        else HumanMessage(hidden(text), additional_kwargs={DIGEST: digest_of(text)})
        for by, text in asked.history or ()
    ]


async def _told(
    graph: CompiledStateGraph[Talk], given: dict[str, Any], config: RunnableConfig
) -> AsyncIterator[Said | str]:
    """The turn as it goes; at last its answer."""
    answer = ""
    going: AsyncIterator[Any] = graph.astream(given, config, stream_mode=["messages", "values"])  # type: ignore[call-overload]  # a part of Talk is enough
    async for mode, piece in going:
        if mode == "values":
            last = piece["messages"][-1] if piece["messages"] else None
            answer = str(last.text) if isinstance(last, AIMessage) else answer
        elif isinstance(piece[0], AIMessageChunk) and piece[0].text:
            yield Said("token", str(piece[0].text))
        elif isinstance(piece[0], ToolMessage):
            yield Said("tool", piece[0].name or "")
    yield answer


def _config(session_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": sessions.thread_of(session_id)}, "recursion_limit": RECURSION_LIMIT}


def _talk_of(production: Production, model: BaseChatModel) -> CompiledStateGraph[Talk]:
    """The talk, to be looked at and written to without a turn."""
    ports = TalkPorts(model, [], production.ledger.spent)
    return build_talk(ports).compile(checkpointer=production.new_saver(), name="talk")


def _ports(production: Production, model: BaseChatModel, tools: list[BaseTool], notes: Notes) -> TalkPorts:
    async def spent(key: str, input_tokens: int, output_tokens: int) -> None:
        notes.tokens = notes.tokens[0] + input_tokens, notes.tokens[1] + output_tokens
        await production.ledger.spent(key, input_tokens, output_tokens)

    return TalkPorts(model, tools, spent)


async def _tidy(production: Production, config: RunnableConfig) -> None:
    """Keep the thread's newest checkpoint only: nobody goes back in a talk, and it must not grow with its age."""
    await production.new_saver().aprune([config["configurable"]["thread_id"]])


async def _name(production: Production, asked: Asked, number: int, digest: str, at: datetime, who: KeyRow) -> str:
    """What this message is known by: the same when it comes again, from whichever tab."""
    short = digest[:16]
    if asked.once:
        return f"chat:once:{asked.once}:{short}"
    if not asked.begins:
        return f"chat:{asked.session_id}:{number}:{short}"
    # The same words from the same key at once again are the same.
    span = int(at.timestamp() // RESENT_WITHIN.total_seconds())
    before = f"chat:new:{short}:{span - 1}"
    return before if await runs.get(production.db, named(who.id, before)) else f"chat:new:{short}:{span}"
