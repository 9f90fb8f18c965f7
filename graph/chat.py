"""The chat graph: a talk with the supervisor, remembered as a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Annotated, Any, Literal, Protocol, TypedDict, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.tools import BaseTool, ToolException
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import ValidationError

from agents.structured import AnswerError, check_complete
from prompts.templates import prompt
from providers.chat_models import model_errors

#: How often one turn may ask for tools, how many at once, and how much of an answer of theirs is read.
MAX_TOOL_ROUNDS = 4
MAX_CALLS_PER_ROUND = 8
MAX_RESULT_CHARACTERS = 6_000
#: How many of the last messages the thread keeps; the supervisor is shown all of them. The longest turn finds room.
MAX_MESSAGES = 2 + MAX_TOOL_ROUNDS * (1 + MAX_CALLS_PER_ROUND) + 2


class LastMessage(TypedDict, total=False):
    """The last message of the person: which it was, a digest of it, when it came, and by what it is known.

    `once` is the name that the request had, if it had one.
    """

    number: int
    digest: str
    at: str
    name: str
    once: str | None


class ChatState(TypedDict):
    """What the thread of a talk remembers. `started` are the runs that were begun in it, the last ones."""

    messages: Annotated[list[AnyMessage], add_messages]
    asked: LastMessage
    started: list[str]


class RecordUsage(Protocol):
    """Writes down the tokens that a message of the supervisor took."""

    async def __call__(self, key: str, input_tokens: int, output_tokens: int) -> None: ...


@dataclass(frozen=True)
class ChatDependencies:
    """What the talk may ask for."""

    model: BaseChatModel
    tools: Sequence[BaseTool]
    spent: RecordUsage


async def supervisor(state: ChatState, *, deps: ChatDependencies) -> dict[str, Any]:
    """Answers, or asks for tools. An answer that was cut off is an error: half a tool call must never be made."""
    enough = _rounds(state["messages"]) >= MAX_TOOL_ROUNDS
    model = deps.model.bind_tools(deps.tools, **({"tool_choice": "none"} if enough else {}))
    async with model_errors():
        answer = await model.ainvoke([SystemMessage(prompt("chat").system), *recent_messages(state["messages"])])
    check_complete(answer)
    if not answer.text and not answer.tool_calls:
        # A refusal that was streamed leaves nothing else behind.
        raise AnswerError("model_refused", "The model gave no answer.")
    usage = answer.usage_metadata
    if usage:
        await deps.spent(f"chat:{answer.id}", usage["input_tokens"], usage["output_tokens"])
    if enough and answer.tool_calls:
        answer = AIMessage(answer.text or "That takes more steps than one answer has: ask for less.", id=answer.id)
    return {"messages": [answer.model_copy(update={"tool_calls": answer.tool_calls[:MAX_CALLS_PER_ROUND]})]}


async def tools(state: ChatState, *, deps: ChatDependencies) -> dict[str, Any]:
    """Does what the supervisor asked for, one after the other; what goes wrong is told to it in a sentence."""
    asked = state["messages"][-1]
    known = {tool.name: tool for tool in deps.tools}
    answers = []
    for call in asked.tool_calls if isinstance(asked, AIMessage) else []:
        try:
            said = await known[call["name"]].ainvoke(call["args"])
        except KeyError:
            said = f"There is no tool {call['name']!r}."
        except (ToolException, ValidationError) as error:
            said = f"That did not work: {error}"
        answers.append(ToolMessage(str(said)[:MAX_RESULT_CHARACTERS], tool_call_id=call["id"], name=call["name"]))
    return {"messages": answers}


async def trim_history(state: ChatState) -> dict[str, Any]:
    """Lets go of what is too long ago, so that a thread does not grow with the talk."""
    kept = {message.id for message in recent_messages(state["messages"])}
    return {"messages": [RemoveMessage(id=str(m.id)) for m in state["messages"] if m.id not in kept]}


def recent_messages(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The last messages, from one of the person's on, without calls of a turn that broke off: no model takes those."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    whole = [m for m in messages if not isinstance(m, AIMessage) or {call["id"] for call in m.tool_calls} <= answered]
    kept = trim_messages(whole, max_tokens=MAX_MESSAGES, token_counter=len, strategy="last", start_on="human")
    return cast("list[AnyMessage]", kept)


def _rounds(messages: Sequence[AnyMessage]) -> int:
    """How often tools were asked for since the person spoke."""
    turn = takewhile(lambda message: not isinstance(message, HumanMessage), reversed(messages))
    return sum(isinstance(message, AIMessage) and bool(message.tool_calls) for message in turn)


def _after_supervisor(state: ChatState) -> Literal["tools", "forget"]:
    last = state["messages"][-1]
    return "tools" if isinstance(last, AIMessage) and last.tool_calls else "forget"


def build_chat_graph(deps: ChatDependencies) -> StateGraph[ChatState]:
    """The talk, not yet compiled."""
    talk = StateGraph(ChatState)
    talk.add_node("supervisor", partial(supervisor, deps=deps))
    talk.add_node("tools", partial(tools, deps=deps))
    talk.add_node("forget", trim_history)
    talk.add_edge(START, "supervisor")
    talk.add_conditional_edges("supervisor", _after_supervisor)
    talk.add_edge("tools", "supervisor")
    return talk
