"""Chat sessions: run one turn of a conversation with the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from agents.structured import clean_text
from chat.confirmations import (
    ConfirmationCommand,
    PendingConfirmation,
    code_redactor,
    confirm,
    describe_outcome,
    describe_pending,
    parse_command,
)
from chat.messages import history_messages, place_message
from chat.requests import ChatRequest, StreamEvent, TurnResult
from chat.tools import chat_tools
from graph.chat import RECURSION_LIMIT, ChatContext, ChatDependencies, ChatState, build_chat_graph
from providers.orders import digest_of
from runs.errors import ApprovalNotPermitted, InvalidRequest, RunError
from runs.services import Services
from storage.chat_sessions import claim_session, thread_id_of
from storage.locks import LockBusy

__all__ = ["ChatGraph", "ChatRequest", "ChatServices", "StreamEvent", "TurnResult", "run_turn"]

MAX_MESSAGE_CHARACTERS = 10_000
#: How long a message waits for the turn before it.
LOCK_TIMEOUT_SECONDS = 20.0
LOCK_INTERVAL_SECONDS = 0.1

ChatGraph = CompiledStateGraph[ChatState, ChatContext, ChatState, ChatState]


@dataclass(frozen=True)
class ChatServices:
    """The services, the model, and the chat graph that is compiled from them once."""

    services: Services
    model: BaseChatModel

    @cached_property
    def graph(self) -> ChatGraph:
        """Return the compiled graph, without a checkpointer."""
        deps = ChatDependencies(self.model, chat_tools(self.services), self.services.ledger.record_usage)
        return build_chat_graph(deps).compile(name="chat")

    def graph_of_thread(self, session_id: str) -> tuple[ChatGraph, RunnableConfig]:
        """Return the graph with a checkpointer, and the configuration that names the session's thread."""
        config: RunnableConfig = {
            "configurable": {"thread_id": thread_id_of(session_id)},
            "recursion_limit": RECURSION_LIMIT,
        }
        return self.graph.copy(update={"checkpointer": self.services.new_saver()}), config

    async def prune_thread(self, session_id: str) -> None:
        """Keep only the newest checkpoint: a conversation is never rewound, and must not grow with its age."""
        await self.services.new_saver().aprune([thread_id_of(session_id)])


async def run_turn(chat: ChatServices, request: ChatRequest) -> AsyncIterator[StreamEvent | TurnResult]:
    """Run one turn and yield its events, the TurnResult last.

    A message that consists of a confirmation code is a decision, and no model reads it. Raises InvalidRequest for an
    empty or too long message and for a session of another actor, ApprovalNotPermitted, LockBusy, and as the model.
    """
    message = clean_text(request.message)
    if not 1 <= len(message) <= MAX_MESSAGE_CHARACTERS:
        raise InvalidRequest(f"The message must have 1 to {MAX_MESSAGE_CHARACTERS:,} characters.", field="message")
    command = parse_command(message)
    actor_id, session_id = request.context.actor.id, request.session_id
    if session_id is None:
        if command:
            raise InvalidRequest("This conversation has no id, so no decision was prepared in it: nothing to confirm.")
        async for event in _answer(chat, request, message):
            yield event
        return
    if not await claim_session(chat.services.db, session_id, actor_id):
        raise InvalidRequest(
            "The session belongs to another API key: omit session_id to start one.", field="session_id"
        )
    # A first message that is repeated starts another session: one after the other, both find the same run.
    lock = f"new:{actor_id}:{digest_of(message)}" if request.is_new_session else session_id
    async with _lock(chat.services, f"chat:{lock}"):
        if command:
            result = await _confirm(chat, request, session_id, message, command)
            yield StreamEvent("token", result.response)
            yield result
            return
        async for event in _answer(chat, request, message):
            yield event


@asynccontextmanager
async def _lock(services: Services, name: str) -> AsyncIterator[None]:
    """Wait for the lock and hold it. Raises LockBusy after LOCK_TIMEOUT_SECONDS."""
    deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT_SECONDS
    while True:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(services.locks.hold(name))
            except LockBusy:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            else:
                yield
                return
        await asyncio.sleep(LOCK_INTERVAL_SECONDS)


async def _answer(chat: ChatServices, request: ChatRequest, message: str) -> AsyncIterator[StreamEvent | TurnResult]:
    """Let the supervisor answer: in the session's thread, or without a session from the history the client sent."""
    redact = await code_redactor(chat.services.db, request.context.actor.id)
    session_id = request.session_id
    if session_id is None:
        graph, config = chat.graph, RunnableConfig(recursion_limit=RECURSION_LIMIT)
        turn: ChatState = {"messages": [*history_messages(request, redact), HumanMessage(redact(message))]}
    else:
        graph, config = chat.graph_of_thread(session_id)
        before = cast("ChatState", (await graph.aget_state(config)).values)
        turn = await place_message(chat.services.db, request, before, message, redact)
    state = ChatState()
    try:
        async for event in _stream(graph, turn, config, _context(request, message, turn)):
            if isinstance(event, StreamEvent):
                yield event
            else:
                state = event
    finally:
        if session_id is not None:
            await chat.prune_thread(session_id)
    response = str(state["messages"][-1].text)
    pending = cast("PendingConfirmation | None", state.get("pending"))
    if pending:
        question = f"\n\n{describe_pending(pending)}"
        yield StreamEvent("token", question)
        response += question
    input_tokens, output_tokens = state.get("tokens", [0, 0])
    yield TurnResult(session_id, response, state.get("run_ids", []), pending, (input_tokens, output_tokens))


def _context(request: ChatRequest, message: str, turn: ChatState) -> ChatContext:
    actor = request.context.actor
    return ChatContext(
        session_id=request.session_id,
        message=message,
        message_key=turn.get("last_message", {}).get("key", ""),
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_name=actor.name,
        rights=sorted(actor.rights),
        base_url=request.base_url,
        can_act=request.session_id is not None,
    )


async def _stream(
    graph: ChatGraph, turn: ChatState, config: RunnableConfig, context: ChatContext
) -> AsyncIterator[StreamEvent | ChatState]:
    """Run the graph and yield its events, the final state last."""
    state = ChatState()
    parts: AsyncIterator[Any] = graph.astream(turn, config, context=context, stream_mode=["messages", "values"])
    async for mode, part in parts:
        if mode == "values":
            state = part
        elif isinstance(part[0], AIMessageChunk) and part[0].text:
            yield StreamEvent("token", str(part[0].text))
        elif isinstance(part[0], ToolMessage):
            yield StreamEvent("tool", part[0].name or "")
    yield state


async def _confirm(
    chat: ChatServices, request: ChatRequest, session_id: str, message: str, command: ConfirmationCommand
) -> TurnResult:
    """Record the decision that the message confirms. The thread keeps the outcome, not the code."""
    context, services = request.context, chat.services
    try:
        row, decision = await confirm(services, command, context=context, session_id=session_id)
    except ApprovalNotPermitted:
        raise
    except RunError as refusal:
        return TurnResult(session_id, f"{refusal.message} Nothing was decided.")
    outcome = describe_outcome(row, decision)
    if decision:
        graph, config = chat.graph_of_thread(session_id)
        before = cast("ChatState", (await graph.aget_state(config)).values)
        redact = await code_redactor(services.db, context.actor.id)
        kept_text = f"(I confirmed by code: {row.verdict} at the {row.gate} gate of run {row.run_id}.)"
        turn = await place_message(services.db, request, before, message, redact, kept_text=kept_text)
        await graph.aupdate_state(
            config, {**turn, "messages": [*turn["messages"], AIMessage(outcome)]}, as_node="trim_history"
        )
        await chat.prune_thread(session_id)
    return TurnResult(session_id, outcome, [str(row.run_id)])
