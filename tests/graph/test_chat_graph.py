"""The messages that a chat thread keeps, and those that the model is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from agents.roles import MAX_CALLS_PER_ROUND, MAX_TOOL_ROUNDS, ToolError, ToolResult, respond
from graph.chat import (
    MAX_MESSAGES,
    RECURSION_LIMIT,
    ChatContext,
    ChatDependencies,
    build_chat_graph,
    recent_messages,
)


def _calls(count: int, name: str) -> list[AnyMessage]:
    calls = [{"name": "get_run", "args": {}, "id": f"{name}-{n}"} for n in range(count)]
    return [AIMessage("", tool_calls=calls), *(ToolMessage("a run", tool_call_id=c["id"]) for c in calls)]


class GreedyModel:
    """A model that calls a tool many times at once, whenever it may."""

    def __init__(self) -> None:
        self.tool_choice = ""
        self.count = 0

    def bind_tools(self, _tools: Any, tool_choice: str = "auto") -> GreedyModel:
        self.tool_choice = tool_choice
        return self

    async def ainvoke(self, _messages: Any) -> AIMessage:
        self.count += 1
        calls = [{"name": "get_run", "args": {}, "id": f"{self.count}-{n}"} for n in range(3 * MAX_CALLS_PER_ROUND)]
        if self.tool_choice == "none":
            return AIMessage("They are well.", response_metadata={"finish_reason": "stop"})
        return AIMessage("", tool_calls=calls, response_metadata={"finish_reason": "tool_calls"})


class NoArguments(BaseModel):
    """No arguments."""


class GetRun:
    """A tool that starts a run with its first call and fails with the third."""

    name, description, args, is_read_only = "get_run", "Get a run.", NoArguments, True

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.contexts: list[tuple[ChatContext, list[str]]] = []

    async def run(self, _args: BaseModel, context: ChatContext, started: Sequence[str]) -> ToolResult:
        self.contexts.append((context, list(started)))
        if len(self.contexts) == 3:
            raise self.error
        is_first = len(self.contexts) == 1
        return ToolResult("a run", ["run-1"], ["run-1"] if is_first else [], {"code": "K7Q2"} if is_first else None)


@asynccontextmanager
async def _admit(_input_tokens: int) -> AsyncIterator[Callable[[int, int], Awaitable[None]]]:
    async def record(*_tokens: int) -> None:
        pass

    yield record


async def test_calls_beyond_the_limit_of_a_round_are_dropped() -> None:
    """The results of one round must not push the rest of the conversation out of the thread."""
    messages: list[AnyMessage] = [HumanMessage("All of it")]
    answer = await respond(GreedyModel(), [], messages, may_call_tools=True)  # type: ignore[arg-type]  # a fake

    assert [call["id"] for call in answer.tool_calls] == [f"1-{n}" for n in range(MAX_CALLS_PER_ROUND)]


def test_the_longest_turn_fits_in_a_thread() -> None:
    """The person's message is still there after as many calls as one turn may have."""
    turn = [
        HumanMessage("How are all my runs?"),
        *(message for turn in range(MAX_TOOL_ROUNDS) for message in _calls(MAX_CALLS_PER_ROUND, str(turn))),
        AIMessage("They are well."),
    ]
    before: list[AnyMessage] = [HumanMessage("Hello"), AIMessage("Hello")] * 20

    assert recent_messages([*before, *turn])[-len(turn) :] == turn
    assert len(recent_messages([*before, *turn])) <= MAX_MESSAGES


def test_an_interrupted_turn_leaves_no_call_behind() -> None:
    """A model server refuses a call without a result; the messages around it stay."""
    broken = AIMessage("I look.", tool_calls=[{"name": "get_run", "args": {}, "id": "lost"}])
    messages: list[AnyMessage] = [
        HumanMessage("How is it?"),
        broken,
        HumanMessage("(I confirmed.)"),
        AIMessage("Approved."),
    ]

    assert recent_messages(messages) == [messages[0], *messages[2:]]
    assert recent_messages([*messages, HumanMessage("And?"), *_calls(2, "found")])[-3:] == _calls(2, "found")


def test_an_interrupted_round_leaves_no_result_behind() -> None:
    """A model server refuses a result without its call, too."""
    messages: list[AnyMessage] = [HumanMessage("How are they?"), *_calls(2, "lost")[:-1], HumanMessage("And?")]

    assert recent_messages(messages) == [messages[0], messages[-1]]


async def test_tools_receive_the_context_and_their_results_become_state() -> None:
    """A refusal is a sentence for the model; the code of a prepared decision is in no checkpoint."""
    tool, saver = GetRun(ToolError("There is no such run.")), InMemorySaver()
    deps = ChatDependencies(GreedyModel(), [tool], _admit)  # type: ignore[arg-type]  # fakes
    graph = build_chat_graph(deps).compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "chat"}, "recursion_limit": RECURSION_LIMIT}
    context = ChatContext(session_id="chat", message="How?", actor="key_1")
    state = await graph.ainvoke({"messages": [HumanMessage("How?")]}, config, context=context)
    kept = (await graph.aget_state(config)).values

    assert len(tool.contexts) == MAX_TOOL_ROUNDS * MAX_CALLS_PER_ROUND
    assert tool.contexts[0] == (context, [])
    assert tool.contexts[1] == (context, ["run-1"])
    assert [str(m.text) for m in state["messages"] if "failed" in str(m.text)] == [
        "The call failed: There is no such run."
    ]
    assert (state["run_ids"], state["started"], state["pending"]) == (["run-1"], ["run-1"], [{"code": "K7Q2"}])
    assert state["messages"][-1].text == "They are well."
    assert set(kept) == {"messages", "started"}


async def test_a_started_run_is_remembered_when_a_later_call_fails() -> None:
    """Every call is a superstep of its own."""
    tool, saver = GetRun(RuntimeError("The database is gone.")), InMemorySaver()
    deps = ChatDependencies(GreedyModel(), [tool], _admit)  # type: ignore[arg-type]  # fakes
    graph = build_chat_graph(deps).compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "chat"}}
    with pytest.raises(RuntimeError):
        await graph.ainvoke({"messages": [HumanMessage("How?")]}, config, context=ChatContext())

    assert (await graph.aget_state(config)).values["started"] == ["run-1"]


async def test_without_a_session_only_read_only_tools_are_called() -> None:
    """A call of another tool is answered as one of an unknown tool."""
    tool = GetRun(RuntimeError())
    tool.is_read_only = False
    deps = ChatDependencies(GreedyModel(), [tool], _admit)  # type: ignore[arg-type]  # fakes
    graph = build_chat_graph(deps).compile()
    state = await graph.ainvoke(
        {"messages": [HumanMessage("How?")]},
        {"recursion_limit": RECURSION_LIMIT},
        context=ChatContext(read_only_reason="Only read."),
    )

    assert tool.contexts == []
    assert "there is no tool 'get_run'" in str(state["messages"][2].text)
