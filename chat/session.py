"""Chat sessions: run one turn of a conversation with the supervisor, or answer a side request of a chat client."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from agents.structured import check_complete
from agents.texts import clean_text
from chat import confirmations
from chat.commands import ConfirmationCommand, answer_about_codes, code_redactor, parse_command
from chat.confirmations import PendingConfirmation
from chat.placement import is_single, messages_without_thread, place_message
from chat.side_requests import NO_CONVERSATION_ID, SINGLE_MESSAGE, own_words
from chat.tools import tool_table
from chat.turns import ChatRequest, StreamEvent, TurnEvents, TurnResult
from graph.chat import RECURSION_LIMIT, ChatContext, ChatDependencies, ChatState, LastMessage, build_chat_graph
from providers.chat_models import estimate_tokens, model_errors, tokens_of
from providers.orders import digest_of
from runs.errors import ApprovalNotPermitted, InvalidRequest, RunError
from runs.gate_news import describe_gate_news
from runs.services import Services
from storage.chat_sessions import claim_session, thread_id_of
from storage.locks import LockBusy
from storage.reviews import record_served

MAX_MESSAGE_CHARACTERS = 100_000
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
        deps = ChatDependencies(self.model, tool_table(self.services), self.services.ledger.chat_call)
        return build_chat_graph(deps).compile(name="chat").with_config(recursion_limit=RECURSION_LIMIT)

    async def open_thread(self, session_id: str) -> tuple[ChatGraph, RunnableConfig, ChatState]:
        """Return the graph with a checkpointer, the configuration that names the session's thread, and its state."""
        graph = self.graph.copy(update={"checkpointer": self.services.new_saver()})
        config = RunnableConfig(configurable={"thread_id": thread_id_of(session_id)})
        return graph, config, cast("ChatState", (await graph.aget_state(config)).values)

    async def read_conversation(self, session_id: str) -> list[tuple[str, str]]:
        """Return the messages of a session that have a text, as (role, text), oldest first."""
        _, _, state = await self.open_thread(session_id)
        return [
            ("user" if isinstance(message, HumanMessage) else "assistant", str(message.text))
            for message in state.get("messages", [])
            if message.text and not isinstance(message, ToolMessage)
        ]

    async def prune_thread(self, session_id: str) -> None:
        """Keep only the newest checkpoint: a conversation is never rewound, and must not grow with its age."""
        await self.services.new_saver().aprune([thread_id_of(session_id)])


async def run_turn(chat: ChatServices, request: ChatRequest) -> TurnEvents:
    """Run one turn and yield its events, the TurnResult last.

    A message that consists of a confirmation code is a decision, and no model reads it. Raises InvalidRequest for an
    empty or too long message and for a session of another actor, ApprovalNotPermitted, LockBusy, and as the model.
    """
    message = clean_text(request.message)
    if not 1 <= len(message) <= MAX_MESSAGE_CHARACTERS:
        raise InvalidRequest(f"The message must have 1 to {MAX_MESSAGE_CHARACTERS:,} characters.", field="message")
    request, words = replace(request, message=message), own_words(message)
    actor_id, session_id = request.context.actor.id, request.session_id
    async with AsyncExitStack() as stack:
        if session_id is not None:
            if not await claim_session(chat.services.db, session_id, actor_id):
                refusal = "The session belongs to another API key: omit session_id to start one."
                raise InvalidRequest(refusal, field="session_id")
            # A first message that is repeated starts another session: one after the other, both find the same run.
            lock = f"new:{actor_id}:{digest_of(message)}" if request.is_new_session else session_id
            await _acquire_lock(stack, chat.services, f"chat:{lock}")
        elif parse_command(words):
            raise InvalidRequest(f"Nothing was decided. {NO_CONVERSATION_ID}")
        if session_id is not None and (result := await _answer_about_codes(chat, request, session_id, words)):
            yield StreamEvent("token", result.response)
            yield result
        else:
            async for event in _answer(chat, request, words):
                yield event


async def _acquire_lock(stack: AsyncExitStack, services: Services, name: str) -> None:
    """Acquire the lock until the stack is closed. Raises LockBusy after LOCK_TIMEOUT_SECONDS."""
    deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            return await stack.enter_async_context(services.locks.hold(name))
        except LockBusy:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(LOCK_INTERVAL_SECONDS)


async def _prepare_turn(
    chat: ChatServices, request: ChatRequest
) -> tuple[ChatGraph, RunnableConfig, ChatState, str, str]:
    """Return the graph, its configuration and input, the reason, if any, why the turn can only read, and the news.

    A turn that can only read is kept in no thread.
    """
    if request.session_id is None:
        turn = await messages_without_thread(chat.services.db, request)
        return chat.graph, RunnableConfig(), turn, NO_CONVERSATION_ID, ""
    graph, config, before = await chat.open_thread(request.session_id)
    if is_single(request, before):
        turn = await messages_without_thread(chat.services.db, request, before["messages"])
        return chat.graph, RunnableConfig(), turn, SINGLE_MESSAGE, ""
    news = await _gate_news(chat, request, before)
    return graph, config, await place_message(chat.services.db, request, before), "", news


async def _gate_news(chat: ChatServices, request: ChatRequest, before: ChatState) -> str:
    """Return which gates of runs of the session opened since the person's last message, before the next answer."""
    last, started = before.get("last_message", LastMessage()), before.get("started", [])
    since = datetime.fromisoformat(last.get("received_at", datetime.now(UTC).isoformat()))
    news = await describe_gate_news(chat.services.db, started, since, request.base_url)
    return f"{news}\n\n" if news else ""


async def _answer(chat: ChatServices, request: ChatRequest, words: str) -> TurnEvents:
    """Let the supervisor answer: in the session's thread, or only reading. `words` are the person's own."""
    session_id = request.session_id
    graph, config, turn, read_only_reason, news = await _prepare_turn(chat, request)
    if news:
        yield StreamEvent("token", news)
    context = ChatContext(
        session_id=session_id,
        message=words,
        message_key=turn.get("last_message", {}).get("key", ""),
        actor=request.context.actor,
        base_url=request.base_url,
        read_only_reason=read_only_reason,
        page_run_id=str(request.page_run_id or ""),
    )
    state = ChatState()
    parts: AsyncIterator[Any] = graph.astream(turn, config, context=context, stream_mode=["messages", "values"])
    try:
        async for mode, part in parts:
            if mode == "values":
                state = part
            elif isinstance(part[0], AIMessageChunk) and part[0].text:
                yield StreamEvent("token", str(part[0].text))
            elif isinstance(part[0], ToolMessage):
                yield StreamEvent("tool", str(part[0].name))
    finally:
        if session_id is not None:
            await chat.prune_thread(session_id)
    response = f"{news}{state['messages'][-1].text}"
    pending = cast("list[PendingConfirmation]", state.get("pending", []))
    notice = "\n\n".join(state.get("notices", []))
    if added := await _text_for_person(chat, request, notice, pending):
        yield StreamEvent("token", added)
        response += added
    input_tokens, output_tokens = state.get("tokens", [0, 0])
    tokens = (input_tokens, output_tokens)
    yield TurnResult(session_id, response, state.get("run_ids", []), pending, tokens, f"{news}{notice}")


async def _text_for_person(
    chat: ChatServices, request: ChatRequest, notice: str, pending: list[PendingConfirmation]
) -> str:
    """Return what the person reads after the answer, in no model's words: notices, questions, what the client lacks."""
    for each in [each for each in pending if each["shows_review"]]:
        # The question shows the person the whole content, which serves the review.
        await record_served(chat.services.db, request.context.actor, each["run_id"], [each])
    texts = [notice, confirmations.describe_pending(pending) if pending else ""]
    if request.session_id is None and not request.history:
        texts.append(NO_CONVERSATION_ID)
    return "".join(f"\n\n{text}" for text in texts if text)


async def _answer_about_codes(
    chat: ChatServices, request: ChatRequest, session_id: str, words: str
) -> TurnResult | None:
    """Answer a message that confirms, withdraws or almost confirms; return None for any other message."""
    if command := parse_command(words):
        return await _confirm(chat, request, session_id, command)
    text = await answer_about_codes(chat.services.db, request.context.actor.id, session_id, words)
    return TurnResult(session_id, text) if text else None


async def _confirm(
    chat: ChatServices, request: ChatRequest, session_id: str, command: ConfirmationCommand
) -> TurnResult:
    """Record the decision that the message confirms. The thread keeps the outcome, not the code."""
    services = chat.services
    try:
        outcome = await confirmations.confirm(services, command, context=request.context, session_id=session_id)
    except ApprovalNotPermitted:
        raise
    except RunError as refusal:
        return TurnResult(session_id, f"{refusal.message} Nothing was decided.")
    row, text = outcome.row, outcome.text
    if outcome.is_new:
        graph, config, before = await chat.open_thread(session_id)
        text = f"{await _gate_news(chat, request, before)}{text}"
        place = f"at the {row.gate} gate of run" if row.gate else "run"
        kept_text = f"(I confirmed by code: {row.verdict} {place} {row.run_id}.)"
        turn = await place_message(services.db, request, before, kept_text=kept_text)
        turn["messages"].append(AIMessage(outcome.text))
        await graph.aupdate_state(config, dict(turn), as_node="trim_history")
        await chat.prune_thread(session_id)
    return TurnResult(session_id, text, [str(row.run_id)])


async def answer_side_request(chat: ChatServices, messages: Sequence[tuple[str, str]], actor_id: str) -> TurnEvents:
    """Let the model answer (role, text) messages without tools and without memory. Raises InvalidRequest."""
    redact = await code_redactor(chat.services.db, actor_id)
    prompt: list[AnyMessage] = [
        SystemMessage(redacted) if role in ("system", "developer") else HumanMessage(redacted)
        for role, text in messages
        if role != "assistant" and (redacted := redact(clean_text(text)))
    ]
    if not any(isinstance(message, HumanMessage) for message in prompt):
        raise InvalidRequest("The last message is empty.")
    async with chat.services.ledger.chat_call(estimate_tokens(prompt)) as record:
        async with model_errors(chat.model):
            answer = await chat.model.ainvoke(prompt)
        tokens = tokens_of(answer, prompt)
        await record(*tokens)
    check_complete(answer)
    text = str(answer.text)
    yield StreamEvent("token", text)
    yield TurnResult(None, text, tokens=tokens)
