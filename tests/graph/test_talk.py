"""What the thread of a talk keeps, and what a model is shown of it."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from graph.chat import MAX_CALLS_PER_ROUND, MAX_MESSAGES, MAX_TOOL_ROUNDS, ChatDependencies, recent_messages, supervisor


def _calls(count: int, name: str) -> list[AnyMessage]:
    calls = [{"name": "get_run", "args": {}, "id": f"{name}-{n}"} for n in range(count)]
    return [AIMessage("", tool_calls=calls), *(ToolMessage("a run", tool_call_id=c["id"]) for c in calls)]


class Eager:
    """A model that asks for everything at once."""

    def bind_tools(self, _tools: Any, **_how: Any) -> Eager:
        return self

    async def ainvoke(self, _messages: Any) -> AIMessage:
        calls = [{"name": "get_run", "args": {}, "id": str(n)} for n in range(3 * MAX_CALLS_PER_ROUND)]
        return AIMessage("", tool_calls=calls, response_metadata={"finish_reason": "tool_calls"})


async def test_a_model_that_asks_for_everything_at_once_gets_some() -> None:
    """What is too much is not asked for: the rest of the talk must not be pushed out by it."""
    deps = ChatDependencies(model=Eager(), tools=[], spent=None)
    (answer,) = (await supervisor({"messages": [HumanMessage("All of it")]}, deps=deps))["messages"]

    assert [call["id"] for call in answer.tool_calls] == [str(n) for n in range(MAX_CALLS_PER_ROUND)]


def test_the_longest_turn_finds_room() -> None:
    """The person's words are still there after as many calls as one turn may make."""
    turn = [
        HumanMessage("How are all my runs?"),
        *(message for turn in range(MAX_TOOL_ROUNDS) for message in _calls(MAX_CALLS_PER_ROUND, str(turn))),
        AIMessage("They are well."),
    ]
    before: list[AnyMessage] = [HumanMessage("Hello"), AIMessage("Hello")] * 20

    assert recent_messages([*before, *turn])[-len(turn) :] == turn
    assert len(recent_messages([*before, *turn])) <= MAX_MESSAGES


def test_a_turn_that_broke_off_leaves_no_call_behind() -> None:
    """A model server refuses a call that nobody answered; what was said around it stays."""
    broken = AIMessage("I look.", tool_calls=[{"name": "get_run", "args": {}, "id": "lost"}])
    talk: list[AnyMessage] = [
        HumanMessage("How is it?"),
        broken,
        HumanMessage("(I confirmed.)"),
        AIMessage("Approved."),
    ]

    assert recent_messages(talk) == [talk[0], *talk[2:]]
    assert recent_messages([*talk, HumanMessage("And?"), *_calls(2, "found")])[-3:] == _calls(2, "found")
