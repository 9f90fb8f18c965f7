"""The agents: the supervisor, which judges and answers with tools, and the writers of ideas, prompts and posts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, ToolCall, ToolMessage
from pydantic import BaseModel, Field, StrictBool, create_model, model_validator
from pydantic_core import to_json

from agents.structured import AnswerError, ask_structured, check_complete
from agents.texts import Hashtags, Idea, NarratedIdea, NewIdea, OverlayText, TextLength
from prompts.project import Project
from prompts.templates import prompt
from providers.chat_models import model_errors
from providers.orders import ModelAnswer, OrderKey, digest_of

#: Limits of one turn of the chat: rounds of tool calls, and calls per round.
MAX_TOOL_ROUNDS = 4
MAX_CALLS_PER_ROUND = 8
TOO_MANY_STEPS = "This takes more steps than one answer may have: ask for less."
#: A caption of a model may be longer than the platforms take: it is shortened for the review, with a notice.
MAX_MODEL_CHARACTERS = 10_000


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


class Rules(BaseModel, extra="forbid"):
    """The rules of a project, distilled from what people noted about its films."""

    rules: list[Annotated[str, TextLength(80)]] = Field(max_length=8)


async def distil_rules(
    model: BaseChatModel, project: Project, rules: Sequence[str], notes: Sequence[str]
) -> ModelAnswer[Rules]:
    """Return rules for a person to approve: the present ones, as the notes change them. Raises as `ask_structured`."""
    return await ask_structured(model, prompt("rules", project=project, rules=rules, notes=notes), Rules)


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
    #: A text for the person that no model reads.
    notice: str = ""
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


class Ideas(BaseModel, extra="forbid"):
    """The ideas of one film, one for each clip, in order."""

    title: Annotated[str, TextLength(80)]
    ideas: list[NewIdea]


class PreviousReview(TypedDict):
    """An earlier revision: a line about each of its ideas, and the comment of the reviewer."""

    revision: int
    ideas: list[str]
    comment: str


async def ideate(
    model: BaseChatModel,
    project: Project,
    brief: str,
    *,
    rules: Sequence[str] = (),
    history: Sequence[PreviousReview] = (),
    comment: str = "",
) -> ModelAnswer[Ideas]:
    """Return as many ideas as the project has clips; they follow its `rules`. Raises the errors of `ask_structured`."""
    count = Field(min_length=project.clips, max_length=project.clips)
    ideas: Any = list[NarratedIdea] if project.voice else list[NewIdea]
    schema = create_model("Ideas", __base__=Ideas, __doc__=Ideas.__doc__, ideas=(ideas, count))
    request = prompt("ideator", project=project, brief=brief, rules=rules, history=list(history), comment=comment)
    return await ask_structured(model, request, schema)


class Shot(BaseModel, extra="forbid"):
    """The rewritten prompt of a clip."""

    prompt: Annotated[str, TextLength(4000)]


def shot_prompt(project: Project, idea: Idea, note: str = "") -> str:
    """Return the prompt of a clip from its idea and the reviewer's note on the take before.

    It is built without a model, so that an approval of the idea covers everything that will be ordered.
    """
    return prompt("shot", project=project, idea=idea, note=note).request


def with_correlation_tag(words: str, key: OrderKey) -> str:
    """Return the prompt with a tag in its last line, which identifies the order in the provider's list of tasks."""
    tag = f"{digest_of(key.run_id)[:8]}-{key.number}-{key.attempt}"
    return prompt("correlation_tag", words=words, tag=tag).request


def without_correlation_tag(prompt: str) -> str:
    """Return the prompt of an order without the line of its tag: clips with equal results are equal here."""
    return prompt.rpartition("\n")[0].rstrip()


async def rewrite_shot(model: BaseChatModel, refused: str, reason: str) -> ModelAnswer[Shot]:
    """Return another prompt for an idea after moderation refused the last one. Raises as `ask_structured` does."""
    return await ask_structured(model, prompt("shot_writer", refused=refused, reason=reason), Shot)


class Caption(BaseModel, extra="forbid"):
    """The text that is posted with a film, as a model writes it. Hashtags that are none do not invalidate it."""

    caption: Annotated[str, TextLength(MAX_MODEL_CHARACTERS)]
    hashtags: Hashtags

    @model_validator(mode="before")
    @classmethod
    def _drop_unusable_hashtags(cls, answer: Any) -> Any:
        if not isinstance(answer, dict):
            return answer
        tags = answer.get("hashtags")
        texts = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else tags
        return {**answer, "hashtags": texts if isinstance(texts, str | list) else []}


async def write_caption(
    model: BaseChatModel, brief: str, title: str, ideas: Sequence[Idea], *, previous: str = "", comment: str = ""
) -> ModelAnswer[Caption]:
    """Return a caption for these ideas; with a comment, another than `previous`. Raises as `ask_structured` does."""
    request = prompt("caption", brief=brief, title=title, ideas=ideas, previous=previous, comment=comment)
    return await ask_structured(model, request, Caption)
