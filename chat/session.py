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

from agents.structured import clean_text
from chat import confirmations
from chat.confirmations import ConfirmationCommand, PendingConfirmation
from chat.placement import DIGEST, human_message, place_alone, place_with_history
from chat.tools import TurnEffects, acting_tools, read_tools
from graph.chat import MAX_TOOL_ROUNDS, ChatDependencies, ChatState, LastMessage, build_chat_graph
from providers.orders import digest_of
from runs.errors import ApprovalNotPermitted, InvalidRequest, RunError
from runs.services import Services
from runs.start import run_id_for
from storage import chat_sessions, runs
from storage.api_keys import ApiKeyRow
from storage.locks import LockBusy

MESSAGE_LIMIT = 10_000
#: Supersteps of one turn: rounds of tools, the answer, and forgetting.
RECURSION_LIMIT = 2 * MAX_TOOL_ROUNDS + 4
#: The same words at once again are the same message, sent twice; later they are a new one.
RESENT_WITHIN = timedelta(minutes=10)
#: How many of the runs it began a talk remembers.
REMEMBERED_RUNS = 50
#: How long a message waits for the one before it, in seconds.
PATIENCE = 20.0
TICK = 0.1


@dataclass(frozen=True)
class ChatRequest:
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
class TurnResult:
    """What came of one message. `tokens` are those that went in and came out."""

    session_id: str | None
    response: str
    run_ids: list[str] = field(default_factory=list)
    pending: PendingConfirmation | None = None
    tokens: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class StreamEvent:
    """Something to tell while a turn is under way: `token` (a piece of text) or `tool` (its name)."""

    kind: Literal["token", "tool"]
    text: str


async def run_turn(
    services: Services, model: BaseChatModel, asked: ChatRequest, *, who: ApiKeyRow
) -> AsyncIterator[StreamEvent | TurnResult]:
    """One turn, told as it goes; the last thing told is the Turn.

    A message that is nothing but a confirmation by code decides, and no model ever sees it. Raises Invalid for a
    message of no use and for a session that somebody else began, MayNotDecide, Busy, and what the model raises.
    """
    message = clean_text(asked.message)
    if not 1 <= len(message) <= MESSAGE_LIMIT:
        raise InvalidRequest(f"The message must have 1 to {MESSAGE_LIMIT:,} characters.", field="message")
    code = confirmations.parse_command(message)
    if asked.session_id is None:
        if code:
            raise InvalidRequest(
                "This conversation has no id: nothing was prepared in it, and nothing can be confirmed."
            )
        async for said in _in_passing(services, model, asked, message, who):
            yield said
        return
    if not await chat_sessions.claim_session(services.db, asked.session_id, who.id):
        raise InvalidRequest("This session is not yours: leave session_id out to begin one.", field="session_id")
    # Sent again without a session, the same words begin another one: one after the other, they find the same run.
    alone = f"new:{who.id}:{digest_of(message)}" if asked.begins else asked.session_id
    async with _alone(services, alone):
        if code:
            turn = await _confirmed(services, model, asked, message, code, who)
            yield StreamEvent("token", turn.response)
            yield turn
            return
        async for said in _remembered(services, model, asked, message, who):
            yield said


@asynccontextmanager
async def _alone(services: Services, session_id: str) -> AsyncIterator[None]:
    """Nobody else speaks in this session meanwhile. Raises Busy when somebody does for too long."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(services.locks.hold(f"chat:{session_id}"))
            except LockBusy:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            else:
                yield
                return
        await asyncio.sleep(TICK)


async def _in_passing(
    services: Services, model: BaseChatModel, asked: ChatRequest, message: str, who: ApiKeyRow
) -> AsyncIterator[StreamEvent | TurnResult]:
    """A turn of a conversation without an id: from what the client says was said, and with tools that only read."""
    notes, hidden = TurnEffects(), await confirmations.code_redactor(services, who)
    deps = _ports(services, model, read_tools(services, asked.base_url, notes), notes)
    given = {"messages": [*_said_before(asked, hidden), HumanMessage(hidden(message))]}
    answer = ""
    async for said in _told(build_chat_graph(deps).compile(name="talk"), given, {"recursion_limit": RECURSION_LIMIT}):
        if isinstance(said, StreamEvent):
            yield said
        else:
            answer = said
    yield TurnResult(None, answer, list(dict.fromkeys(notes.touched)), tokens=notes.tokens)


async def _remembered(
    services: Services, model: BaseChatModel, asked: ChatRequest, message: str, who: ApiKeyRow
) -> AsyncIterator[StreamEvent | TurnResult]:
    """A turn of a session: from its thread, and into it."""
    session_id, notes = str(asked.session_id), TurnEffects()
    config = _config(session_id)
    before = (await _talk_of(services, model).aget_state(config)).values
    now, given = await _put(services, before, asked, message, who)
    tools = [
        *read_tools(services, asked.base_url, notes),
        *acting_tools(
            services,
            notes,
            who=who,
            session_id=session_id,
            message=message,
            name=now["name"],
            started_here=before.get("started", []),
        ),
    ]
    deps = _ports(services, model, tools, notes)
    graph = build_chat_graph(deps).compile(checkpointer=services.new_saver(), name="talk")
    answer = ""
    try:
        async for said in _told(graph, {"messages": given, "asked": now}, config):
            if isinstance(said, StreamEvent):
                yield said
            else:
                answer = said
    finally:
        # What was begun is remembered, also when the turn broke off behind it.
        if notes.started:
            started = [*before.get("started", []), *notes.started]
            await graph.aupdate_state(
                config, {"started": list(dict.fromkeys(started))[-REMEMBERED_RUNS:]}, as_node="forget"
            )
        await _tidy(services, config)
    if notes.pending:
        said_of_it = f"\n\n{notes.pending.as_text()}"
        yield StreamEvent("token", said_of_it)
        answer += said_of_it
    yield TurnResult(session_id, answer, list(dict.fromkeys(notes.touched)), notes.pending, notes.tokens)


async def _confirmed(
    services: Services,
    model: BaseChatModel,
    asked: ChatRequest,
    message: str,
    code: ConfirmationCommand,
    who: ApiKeyRow,
) -> TurnResult:
    """A confirmation: decided, or not, without a model; the thread remembers the outcome, not the code."""
    session_id = str(asked.session_id)
    try:
        row, decided = await confirmations.confirm(services, code, who=who, door="chat", session=session_id)
    except ApprovalNotPermitted:
        raise
    except RunError as refused:
        return TurnResult(session_id, f"{refused.message} Nothing was decided.")
    text = confirmations.outcome(row, decided)
    if decided:
        config, graph = _config(session_id), _talk_of(services, model)
        before = (await graph.aget_state(config)).values
        told = f"(I confirmed by code: {row['verdict']} at the {row['gate']} gate of run {row['run_id']}.)"
        now, given = await _put(services, before, asked, message, who, told=told)
        await graph.aupdate_state(config, {"messages": [*given, AIMessage(text)], "asked": now}, as_node="forget")
        await _tidy(services, config)
    return TurnResult(session_id, text, [str(row["run_id"])])


async def _put(
    services: Services,
    before: dict[str, Any],
    asked: ChatRequest,
    message: str,
    who: ApiKeyRow,
    *,
    told: str | None = None,
) -> tuple[LastMessage, list[AnyMessage | RemoveMessage]]:
    """The message in its place: what is known of it, and what changes in the thread, as `add_messages` takes it.

    The thread keeps what was `told` in the place of its words, if anything.
    """
    last: LastMessage = before.get("asked", {})
    known: list[AnyMessage] = before.get("messages", [])
    hidden, digest, at = await confirmations.code_redactor(services, who), digest_of(message), datetime.now(UTC)
    again = last.get("digest") == digest and _again(last, asked, at)
    if asked.history is None:
        place = place_alone(known, digest, last=last.get("number", 0), again=again)
    else:
        place = place_with_history(known, _said_before(asked, hidden), digest, last=last.get("number", 0), again=again)
    is_last = last.get("digest") == digest and last.get("number") == place.number and "name" in last
    name = last["name"] if is_last else await _name(services, asked, place.number, digest, at, who)
    now: LastMessage = {
        "number": place.number,
        "digest": digest,
        "at": at.isoformat(),
        "name": name,
        "once": asked.once,
    }
    gone = [RemoveMessage(id=str(message.id)) for message in place.gone]
    return now, [*gone, *place.missed, human_message(told or hidden(message), place.number, digest)]


def _again(last: LastMessage, asked: ChatRequest, at: datetime) -> bool:
    """Whether the same words are the same message, sent twice: the name of a request tells, or else the time."""
    before = last.get("once")
    if before and asked.once:
        return before == asked.once
    return at - datetime.fromisoformat(last["at"]) < RESENT_WITHIN


def _said_before(asked: ChatRequest, hidden: Callable[[str], str]) -> list[AnyMessage]:
    """What the client says was said before, as messages; those of the person with the digest of what they wrote."""
    return [
        AIMessage(hidden(text))
        if by == "assistant"
        else HumanMessage(hidden(text), additional_kwargs={DIGEST: digest_of(text)})
        for by, text in asked.history or ()
    ]


async def _told(
    graph: CompiledStateGraph[ChatState], given: dict[str, Any], config: RunnableConfig
) -> AsyncIterator[StreamEvent | str]:
    """The turn as it goes; at last its answer."""
    answer = ""
    going: AsyncIterator[Any] = graph.astream(given, config, stream_mode=["messages", "values"])  # type: ignore[call-overload]  # a part of Talk is enough
    async for mode, piece in going:
        if mode == "values":
            last = piece["messages"][-1] if piece["messages"] else None
            answer = str(last.text) if isinstance(last, AIMessage) else answer
        elif isinstance(piece[0], AIMessageChunk) and piece[0].text:
            yield StreamEvent("token", str(piece[0].text))
        elif isinstance(piece[0], ToolMessage):
            yield StreamEvent("tool", piece[0].name or "")
    yield answer


def _config(session_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": chat_sessions.thread_id_of(session_id)}, "recursion_limit": RECURSION_LIMIT}


def _talk_of(services: Services, model: BaseChatModel) -> CompiledStateGraph[ChatState]:
    """The talk, to be looked at and written to without a turn."""
    deps = ChatDependencies(model, [], services.ledger.record_usage)
    return build_chat_graph(deps).compile(checkpointer=services.new_saver(), name="talk")


def _ports(services: Services, model: BaseChatModel, tools: list[BaseTool], notes: TurnEffects) -> ChatDependencies:
    async def spent(key: str, input_tokens: int, output_tokens: int) -> None:
        notes.tokens = notes.tokens[0] + input_tokens, notes.tokens[1] + output_tokens
        await services.ledger.record_usage(key, input_tokens, output_tokens)

    return ChatDependencies(model, tools, spent)


async def _tidy(services: Services, config: RunnableConfig) -> None:
    """Keep the thread's newest checkpoint only: nobody goes back in a talk, and it must not grow with its age."""
    await services.new_saver().aprune([config["configurable"]["thread_id"]])


async def _name(services: Services, asked: ChatRequest, number: int, digest: str, at: datetime, who: ApiKeyRow) -> str:
    """What this message is known by: the same when it comes again, from whichever tab."""
    short = digest[:16]
    if asked.once:
        return f"chat:once:{asked.once}:{short}"
    if not asked.begins:
        return f"chat:{asked.session_id}:{number}:{short}"
    # The same words from the same key at once again are the same.
    span = int(at.timestamp() // RESENT_WITHIN.total_seconds())
    before = f"chat:new:{short}:{span - 1}"
    return before if await runs.get_run(services.db, run_id_for(who.id, before)) else f"chat:new:{short}:{span}"
