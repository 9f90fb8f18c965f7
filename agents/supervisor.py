"""The supervisor: screens briefs, moderates texts, reads comments on a film, and answers in the chat with tools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, ToolCall, ToolMessage
from pydantic import BaseModel, Field, StrictBool
from pydantic_core import to_json

from agents.structured import AnswerError, ask_structured, check_complete
from agents.texts import Idea, OverlayText, TextLength
from prompts.project import Project
from prompts.templates import prompt
from providers.chat_models import model_errors
from providers.orders import ModelAnswer

#: Limits of one turn of the chat: rounds of tool calls, and calls per round.
MAX_TOOL_ROUNDS = 4
MAX_CALLS_PER_ROUND = 8
TOO_MANY_STEPS = "This takes more steps than one answer may have: ask for less."


class Screening(BaseModel, extra="forbid"):
    """The judgement whether a brief can become a video of the project."""

    fits: bool
    reason: Annotated[str, TextLength(500, minimum=0)]


class ModerationAnswer(BaseModel, extra="forbid"):
    """The judgement whether any of the texts must not be used, and why, where no service moderates."""

    flagged: StrictBool
    categories: list[Literal["sexual", "hate", "harassment", "self-harm", "violence", "illicit"]]


class RequestedChange(BaseModel, extra="forbid"):
    """One change that a comment on a film requests.

    `step` makes the change to these `clips`; `overlay` is their new text. `reason` tells why it is impossible.
    """

    text: Annotated[str, TextLength(300)]
    step: Literal["ideas", "clips", "overlay", "caption", "keep", "impossible"]
    clips: list[int]
    overlay: OverlayText
    reason: Annotated[str, TextLength(300, minimum=0)]


class RequestedChanges(BaseModel, extra="forbid"):
    """All changes that a comment on a film requests, in its order."""

    changes: list[RequestedChange] = Field(min_length=1, max_length=20)


async def screen_brief(model: BaseChatModel, project: Project, brief: str) -> ModelAnswer[Screening]:
    """Return whether the brief fits the project. Raises as `ask_structured` does."""
    return await ask_structured(model, prompt("screening", project=project, brief=brief), Screening)


async def moderate(model: BaseChatModel, texts: Sequence[str]) -> ModelAnswer[ModerationAnswer]:
    """Return the judgement of the texts. Raises as `ask_structured` does: then no text is allowed."""
    return await ask_structured(model, prompt("moderation", texts=texts), ModerationAnswer)


async def read_comment(model: BaseChatModel, ideas: Sequence[Idea], comment: str) -> ModelAnswer[RequestedChanges]:
    """Return the changes that the comment on a finished film requests. Raises as `ask_structured` does."""
    return await ask_structured(model, prompt("requested_changes", ideas=ideas, comment=comment), RequestedChanges)


class ToolError(Exception):
    """A tool refused a call. The message is a sentence that the model reads."""


@dataclass(frozen=True)
class ToolResult:
    """The result of a tool call."""

    #: A sentence, or a value that pydantic can write as JSON.
    value: Any
    #: The runs that the call read or changed, and those that it started.
    run_ids: Sequence[str] = ()
    started: Sequence[str] = ()
    #: The confirmation that the call prepared, as JSON.
    pending: Mapping[str, object] | None = None
    status: Literal["success", "error"] = "success"

    @property
    def text(self) -> str:
        """Return the text for the model."""
        return self.value if isinstance(self.value, str) else to_json(self.value).decode()


async def respond(
    model: BaseChatModel,
    tools: Sequence[type[BaseModel]],
    messages: Sequence[AnyMessage],
    *,
    may_call_tools: bool,
    read_only_reason: str = "",
    page_run_id: str = "",
) -> AIMessage:
    """Return the next message of the chat agent, the supervisor: text, or at most MAX_CALLS_PER_ROUND tool calls.

    Each of the `tools` is the model of its arguments, which has its name and its description as docstring.
    `read_only_reason` tells the model why none of them changes anything; `page_run_id` is the run that the person sees.
    Raises AnswerError for an answer that was cut off, because half a tool call must never be executed, and for an
    empty one; and as `model_errors` does.
    """
    bound = model.bind_tools(tools, **({} if may_call_tools else {"tool_choice": "none"}))
    system = SystemMessage(prompt("chat", read_only_reason=read_only_reason, page_run_id=page_run_id).system)
    async with model_errors(model):
        answer = await bound.ainvoke([system, *messages])
    check_complete(answer)
    if not answer.text and not answer.tool_calls:
        # A refusal that was streamed leaves an empty message.
        raise AnswerError("model_refused", "The model gave no answer.")
    calls = answer.tool_calls[:MAX_CALLS_PER_ROUND] if may_call_tools else []
    content = answer.content if answer.text or calls else TOO_MANY_STEPS
    return AIMessage(content, id=answer.id, tool_calls=calls, usage_metadata=answer.usage_metadata)


def unanswered_calls(messages: Sequence[AnyMessage]) -> list[ToolCall]:
    """Return the tool calls of the last message of the model that have no result, in their order."""
    results = list(takewhile(lambda message: isinstance(message, ToolMessage), reversed(messages)))
    answered = {message.tool_call_id for message in results if isinstance(message, ToolMessage)}
    last = messages[-1 - len(results)]
    return [call for call in last.tool_calls if call["id"] not in answered] if isinstance(last, AIMessage) else []
