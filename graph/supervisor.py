"""The chat graph: a talk with the supervisor, remembered as a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Protocol, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.tools import BaseTool, ToolException
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import tools_condition
from pydantic import ValidationError

from agents.asking import AnswerError, must_be_whole
from prompts.templates import prompt
from providers.chat_models import model_errors

#: How many of the last messages the supervisor is shown.
REMEMBERED = 30


class Talk(TypedDict):
    """What the thread of a talk remembers."""

    messages: Annotated[list[AnyMessage], add_messages]


class Spent(Protocol):
    """Writes down the tokens that a message of the supervisor took."""

    async def __call__(self, key: str, input_tokens: int, output_tokens: int) -> None: ...


@dataclass(frozen=True)
class TalkPorts:
    """What the talk may ask for."""

    model: BaseChatModel
    tools: Sequence[BaseTool]
    spent: Spent


async def supervisor(state: Talk, *, ports: TalkPorts) -> dict[str, Any]:
    """Answers, or asks for tools. An answer that was cut off is an error: half a tool call must never be made."""
    recent = trim_messages(
        state["messages"], max_tokens=REMEMBERED, token_counter=len, strategy="last", start_on="human"
    )
    async with model_errors():
        answer = await ports.model.bind_tools(ports.tools).ainvoke([SystemMessage(prompt("chat").system), *recent])
    must_be_whole(answer)
    if not answer.text and not answer.tool_calls:
        # A refusal that was streamed leaves nothing else behind.
        raise AnswerError("model_refused", "The model gave no answer.")
    usage = answer.usage_metadata
    if usage:
        await ports.spent(f"chat:{answer.id}", usage["input_tokens"], usage["output_tokens"])
    return {"messages": [answer]}


async def tools(state: Talk, *, ports: TalkPorts) -> dict[str, Any]:
    """Does what the supervisor asked for, one after the other; what goes wrong is told to it in a sentence."""
    asked = state["messages"][-1]
    known = {tool.name: tool for tool in ports.tools}
    answers = []
    for call in asked.tool_calls if isinstance(asked, AIMessage) else []:
        try:
            said = await known[call["name"]].ainvoke(call["args"])
        except KeyError:
            said = f"There is no tool {call['name']!r}."
        except (ToolException, ValidationError) as error:
            said = f"That did not work: {error}"
        answers.append(ToolMessage(str(said), tool_call_id=call["id"], name=call["name"]))
    return {"messages": answers}


def build_talk(ports: TalkPorts) -> StateGraph[Talk]:
    """The talk, not yet compiled."""
    talk = StateGraph(Talk)
    talk.add_node("supervisor", partial(supervisor, ports=ports))
    talk.add_node("tools", partial(tools, ports=ports))
    talk.add_edge(START, "supervisor")
    talk.add_conditional_edges("supervisor", tools_condition)
    talk.add_edge("tools", "supervisor")
    return talk
