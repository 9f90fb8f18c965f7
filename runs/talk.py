"""Talk with the supervisor: one turn of a conversation that is remembered by its session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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
    `number` is which of the person's messages it is, where the client counts; `once` a name of the request, where it
    has one. `history` is what the client says was said before. Links begin with `base_url`.
    """

    session_id: str | None
    message: str
    begins: bool = False
    number: int | None = None
    once: str | None = None
    history: Sequence[AnyMessage] = ()
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
    async with _alone(production, asked.session_id):
        if code:
            turn = await _confirmed(production, model, asked, code, asked.session_id, who)
            yield Said("token", turn.response)
            yield turn
            return
        async for said in _remembered(production, model, asked, message, asked.session_id, who):
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
    notes = Notes()
    ports = _ports(production, model, looking(production, asked.base_url, notes), notes)
    given = {"messages": [*asked.history, HumanMessage(prepare.without_codes(message))]}
    answer = ""
    async for said in _told(build_talk(ports).compile(name="talk"), given, {"recursion_limit": RECURSION_LIMIT}):
        if isinstance(said, Said):
            yield said
        else:
            answer = said
    yield Turn(None, answer, list(dict.fromkeys(notes.touched)), tokens=notes.tokens)


async def _remembered(
    production: Production, model: BaseChatModel, asked: Asked, message: str, session_id: str, who: KeyRow
) -> AsyncIterator[Said | Turn]:
    """A turn of a session: from its thread, and into it."""
    notes, config, saver = Notes(), _config(session_id), production.new_saver()
    before = (await _talk_of(production, model, session_id).aget_state(config)).values
    now = _asking(before.get("asked"), asked, message)
    name = await _name(production, asked, now, who)
    tools = [
        *looking(production, asked.base_url, notes),
        *doing(
            production,
            notes,
            who=who,
            session_id=session_id,
            message=message,
            name=name,
            started_here=before.get("started", []),
        ),
    ]
    ports = _ports(production, model, tools, notes)
    graph = build_talk(ports).compile(checkpointer=saver, name="talk")
    known: list[AnyMessage] = before.get("messages", [])
    # A message that is sent or edited again takes the place of what was said from there on.
    gone = [RemoveMessage(id=str(m.id)) for m in _from(known, now["number"])]
    spoken = HumanMessage(prepare.without_codes(message), additional_kwargs={"number": now["number"]})
    given = {"messages": [*(asked.history if not known else ()), *gone, spoken], "asked": now}
    answer = ""
    async for said in _told(graph, given, config):
        if isinstance(said, Said):
            yield said
        else:
            answer = said
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
    production: Production, model: BaseChatModel, asked: Asked, code: Spoken, session_id: str, who: KeyRow
) -> Turn:
    """A confirmation: decided, or not, without a model; the thread remembers the outcome, not the code."""
    try:
        row, decided = await prepare.confirm(production, code, who=who, door="chat", session=session_id)
    except MayNotDecide:
        raise
    except RunError as refused:
        return Turn(session_id, f"{refused.message} Nothing was decided.")
    text = prepare.outcome(row, decided)
    if decided:
        config, graph = _config(session_id), _talk_of(production, model, session_id)
        before = (await graph.aget_state(config)).values
        now = _asking(before.get("asked"), asked, asked.message)
        told = HumanMessage(
            f"(I confirmed by code: {row['verdict']} at the {row['gate']} gate of run {row['run_id']}.)",
            additional_kwargs={"number": now["number"]},
        )
        values = {"messages": [told, AIMessage(text)], "asked": now}
        await graph.aupdate_state(config, values, as_node="forget")
        await _tidy(production, config)
    return Turn(session_id, text, [str(row["run_id"])])


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


def _talk_of(production: Production, model: BaseChatModel, session_id: str) -> CompiledStateGraph[Talk]:
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


def _asking(last: Asking | None, asked: Asked, message: str) -> Asking:
    """Which message this is: the client's number, or one more than the last, or the last, if it was sent again."""
    now, digest = datetime.now(UTC), digest_of(message)
    number = asked.number
    if number is None:
        number = last["number"] + 1 if last else 1
        if last and last["digest"] == digest and now - datetime.fromisoformat(last["at"]) < RESENT_WITHIN:
            number = last["number"]
    return {"number": number, "digest": digest, "at": now.isoformat()}


async def _name(production: Production, asked: Asked, now: Asking, who: KeyRow) -> str:
    """What this message is known by: the same when it comes again, from whichever tab."""
    digest = now["digest"][:16]
    if asked.once:
        return f"chat:once:{asked.once}"
    if not asked.begins:
        return f"chat:{asked.session_id}:{now['number']}:{digest}"
    # Sent again without a session it begins another one: the same words from the same key at once again are the same.
    span = int(datetime.fromisoformat(now["at"]).timestamp() // RESENT_WITHIN.total_seconds())
    before = f"chat:new:{digest}:{span - 1}"
    return before if await runs.get(production.db, named(who.id, before)) else f"chat:new:{digest}:{span}"


def _from(messages: Sequence[AnyMessage], number: int) -> list[AnyMessage]:
    """The messages from the person's one of this number on; or a last one that asks for tools and got no answer."""
    for position, message in enumerate(messages):
        if message.additional_kwargs.get("number", 0) >= number:
            return list(messages[position:])
    last = messages[-1] if messages else None
    return [last] if isinstance(last, AIMessage) and last.tool_calls else []
