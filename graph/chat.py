"""The chat graph: a conversation with the supervisor, kept as a LangGraph thread."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Annotated, Any, Literal, TypedDict, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolCall, ToolMessage
from langchain_core.messages.utils import trim_messages
from langgraph.channels import UntrackedValue
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from pydantic import BaseModel, ValidationError

from agents import roles as agent
from agents.roles import MAX_CALLS_PER_ROUND, MAX_TOOL_ROUNDS, ToolError, ToolResult
from prompts.validation import describe_errors
from providers.chat_models import estimate_tokens, tokens_of

#: The number of messages that a thread keeps and the model is shown. The longest possible turn fits in it.
MAX_MESSAGES = 2 + MAX_TOOL_ROUNDS * (1 + MAX_CALLS_PER_ROUND) + 2
#: The number of characters of a tool's result that the model is shown.
MAX_RESULT_CHARACTERS = 6_000
#: The number of runs started in a session that its thread remembers.
MAX_REMEMBERED_RUNS = 50
#: Supersteps of the longest turn: every round with all its calls, the answer, trimming, and two to spare.
RECURSION_LIMIT = MAX_TOOL_ROUNDS * (1 + MAX_CALLS_PER_ROUND) + 4


class LastMessage(TypedDict, total=False):
    """The person's last message: its number among the person's messages, from 1, and the digest of its text."""

    number: int
    digest: str
    received_at: str  # in ISO 8601
    key: str  # under which its effects are idempotent
    idempotency_key: str | None  # the Idempotency-Key of its request


class ChatState(TypedDict, total=False):
    """The channels of a chat thread. `run_ids`, `pending`, `notices` and `tokens` exist only in a turn."""

    messages: Annotated[list[AnyMessage], add_messages]
    last_message: LastMessage
    started: list[str]  # the runs that were started in this session, oldest first
    run_ids: Annotated[list[str], UntrackedValue]  # the runs that the turn read or changed
    # The confirmations that the turn prepared. They contain codes, so they are never written to a checkpoint.
    pending: Annotated[list[Mapping[str, object]], UntrackedValue]
    notices: Annotated[list[str], UntrackedValue]  # texts for the person that no model reads, such as links that decide
    tokens: Annotated[list[int], UntrackedValue]  # input and output


@dataclass(frozen=True)
class ChatContext:
    """The runtime context of a turn. The server sets it; the defaults are those of LangGraph Studio.

    `message` are the person's own words. `message_key` is the idempotency key of what the message causes; `call_number`
    counts the different calls of a tool that it causes, from 0. `actor` is that of the message, for the tools, which
    define its type; `channel` is its channel. Links start with `base_url`. With `read_only_reason`, which the model
    reads, all tools called are read-only. `page_run_id` is the run of the page that the person has open.
    """

    session_id: str | None = None
    message: str = ""
    message_key: str = ""
    actor: Any = None
    channel: Literal["chat", "mcp"] = "chat"
    base_url: str = ""
    read_only_reason: str = ""
    page_run_id: str = ""
    call_number: int = 0


@dataclass(frozen=True, kw_only=True)
class ChatTool:
    """A tool of the supervisor. `args` is the model of its arguments, with the name and the description of the tool."""

    name: str
    description: str
    args: type[BaseModel]
    is_read_only: bool = True

    async def run(self, args: BaseModel, context: ChatContext, started: Sequence[str]) -> ToolResult:
        """Execute a call; `started` are the runs started in this session. Raises ToolError."""
        raise NotImplementedError


@dataclass(frozen=True)
class ChatDependencies:
    """The dependencies of the nodes."""

    model: BaseChatModel
    tools: Sequence[ChatTool]
    #: Admits a call by its input tokens, and yields what records those of the answer (input, output). Raises Refused.
    admit: Callable[[int], AbstractAsyncContextManager[Callable[[int, int], Awaitable[None]]]]


async def supervisor(state: ChatState, runtime: Runtime[ChatContext], *, deps: ChatDependencies) -> ChatState:
    """Answer, or call tools. Raises as `respond` does, and Refused if a cap is reached."""
    messages, allowed_tools = recent_messages(state["messages"]), [tool.args for tool in _allowed_tools(deps, runtime)]
    turn = _turn(state["messages"])
    rounds = [message for message in turn if isinstance(message, AIMessage) and message.tool_calls]
    may_call_tools = len(rounds) < MAX_TOOL_ROUNDS
    async with deps.admit(estimate_tokens(messages)) as record:
        answer = await agent.respond(
            deps.model,
            allowed_tools,
            messages,
            may_call_tools=may_call_tools,
            read_only_reason=_context_of(runtime).read_only_reason,
            page_run_id=_context_of(runtime).page_run_id,
        )
        tokens = tokens_of(answer, messages)
        await record(*tokens)
    before = state.get("tokens", [0, 0])
    return {"messages": [answer], "tokens": [before[0] + tokens[0], before[1] + tokens[1]]}


async def tools(state: ChatState, runtime: Runtime[ChatContext], *, deps: ChatDependencies) -> ChatState:
    """Execute the next tool call. A refusal becomes a sentence."""
    # One call per superstep: its result is in the thread even when a later call of the turn fails.
    call, started = agent.unanswered_calls(state["messages"])[0], state.get("started", [])
    tool = next((tool for tool in _allowed_tools(deps, runtime) if tool.name == call["name"]), None)
    try:
        if tool is None:
            raise ToolError(f"there is no tool {call['name']!r}.")
        context = replace(_context_of(runtime), call_number=_call_number(state["messages"], call))
        result = await tool.run(tool.args.model_validate(call["args"]), context, started)
    except ToolError as error:
        result = ToolResult(f"The call failed: {error}", status="error")
    except ValidationError as error:
        result = ToolResult(f"The arguments are invalid: {describe_errors(error.errors())}.", status="error")
    text, pending = result.text[:MAX_RESULT_CHARACTERS], state.get("pending", [])
    return {
        "messages": [ToolMessage(text, tool_call_id=str(call["id"]), name=call["name"], status=result.status)],
        "started": _merge(started, result.started)[-MAX_REMEMBERED_RUNS:],
        "run_ids": _merge(state.get("run_ids", []), result.run_ids),
        "notices": _merge(state.get("notices", []), [result.notice] if result.notice else []),
        "pending": [*pending, result.pending] if result.pending and result.pending not in pending else pending,
    }


async def trim_history(state: ChatState) -> ChatState:
    """Remove old messages, so that a thread does not grow with the conversation."""
    kept = {message.id for message in recent_messages(state["messages"])}
    return {"messages": remove_messages([message for message in state["messages"] if message.id not in kept])}


def remove_messages(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return the update that removes these messages from a thread."""
    # `add_messages` takes removals, although the type of the channel does not name them.
    return cast("list[AnyMessage]", [RemoveMessage(id=str(message.id)) for message in messages])


def recent_messages(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return the last messages, starting with one of the person."""
    # Tool calls of a turn that was interrupted are left out with their results: model servers refuse calls without.
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    rounds = [_call_ids(message) for message in messages if isinstance(message, AIMessage)]
    broken = {call for calls in rounds if not calls <= answered for call in calls}
    complete = [message for message in messages if not _call_ids(message) & broken]
    kept = trim_messages(complete, max_tokens=MAX_MESSAGES, token_counter=len, strategy="last", start_on="human")
    return cast("list[AnyMessage]", kept)


def _call_ids(message: AnyMessage) -> set[str]:
    if isinstance(message, ToolMessage):
        return {message.tool_call_id}
    return {str(call["id"]) for call in message.tool_calls} if isinstance(message, AIMessage) else set()


def _allowed_tools(deps: ChatDependencies, runtime: Runtime[ChatContext]) -> list[ChatTool]:
    can_act = not _context_of(runtime).read_only_reason
    return [tool for tool in deps.tools if tool.is_read_only or can_act]


def _context_of(runtime: Runtime[ChatContext]) -> ChatContext:
    return runtime.context or ChatContext()


def _turn(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return the messages since the person's last one, newest first."""
    return list(takewhile(lambda message: not isinstance(message, HumanMessage), reversed(messages)))


def _call_number(messages: Sequence[AnyMessage], call: ToolCall) -> int:
    """Return the number of the call among those of its tool that succeeded in the turn; repeated, it keeps it."""
    turn = _turn(messages)[::-1]
    args = {each["id"]: each["args"] for message in turn for each in getattr(message, "tool_calls", ())}
    different: list[dict[str, Any]] = []
    for message in turn:
        if isinstance(message, ToolMessage) and (message.name, message.status) == (call["name"], "success"):
            different += [args[message.tool_call_id]] if args[message.tool_call_id] not in different else []
    return [*different, call["args"]].index(call["args"])


def _merge(known: Sequence[str], new: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*known, *new]))


def _after_supervisor(state: ChatState) -> Literal["tools", "trim_history"]:
    return "tools" if agent.unanswered_calls(state["messages"]) else "trim_history"


def _after_tools(state: ChatState) -> Literal["tools", "supervisor"]:
    return "tools" if agent.unanswered_calls(state["messages"]) else "supervisor"


def build_chat_graph(deps: ChatDependencies) -> StateGraph[ChatState, ChatContext]:
    """Return the chat graph, not compiled."""
    graph = StateGraph(ChatState, context_schema=ChatContext)
    graph.add_node("supervisor", partial(supervisor, deps=deps))
    graph.add_node("tools", partial(tools, deps=deps))
    graph.add_node("trim_history", trim_history)
    graph.add_edge(START, "supervisor")
    graph.add_conditional_edges("supervisor", _after_supervisor)
    graph.add_conditional_edges("tools", _after_tools)
    return graph
