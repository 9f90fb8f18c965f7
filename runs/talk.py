"""Talk with the supervisor: one turn of a conversation that is remembered by its session."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.graph.state import CompiledStateGraph

from agents.asking import clean
from graph.supervisor import ROUNDS, Asking, Talk, TalkPorts, build_talk
from providers.orders import digest_of
from runs import control, media_links, prepare, shown
from runs.errors import Invalid, MayNotDecide, RunError
from runs.prepare import Prepared, Spoken
from runs.production import Production
from runs.start import named, start
from storage import runs, sessions
from storage.keys import KeyRow
from storage.locks import Busy

log = logging.getLogger(__name__)

MESSAGE_LIMIT = 10_000
#: Supersteps of one turn: rounds of tools, the answer, and forgetting.
RECURSION_LIMIT = 2 * ROUNDS + 4
#: The same words at once again are the same message, sent twice; later they are a new one.
RESENT_WITHIN = timedelta(minutes=10)
#: How many of the runs it began a talk remembers.
STARTED = 50
#: How long a message waits for the one before it, in seconds.
PATIENCE = 20.0
TICK = 0.1


@dataclass(frozen=True)
class Asked:
    """A message, and what the door knows of it.

    Without a session nothing is remembered, and nothing begun; `begins` is whether it begins with this message.
    `number` is which of the person's messages it is, where the client counts; `once` a name of the request, where it
    has one. `history` is what the client says was said before. Links begin with `base_url`.
    """

    session_id: str | None
    message: str
    begins: bool = False
    number: int | None = None
    once: str | None = None
    history: Sequence[AnyMessage] = ()
    base_url: str = ""


@dataclass(frozen=True)
class Turn:
    """What came of one message. `tokens` are those that went in and came out."""

    session_id: str | None
    response: str
    run_ids: list[str] = field(default_factory=list)
    pending: Prepared | None = None
    tokens: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Said:
    """Something to tell while a turn is under way: `token` (a piece of text) or `tool` (its name)."""

    kind: Literal["token", "tool"]
    text: str


@dataclass
class _Notes:
    """What comes about in a turn beside its words."""

    touched: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    pending: Prepared | None = None
    tokens: tuple[int, int] = (0, 0)


async def talk(
    production: Production, model: BaseChatModel, asked: Asked, *, who: KeyRow
) -> AsyncIterator[Said | Turn]:
    """One turn, told as it goes; the last thing told is the Turn.

    A message that is nothing but a confirmation by code decides, and no model ever sees it. Raises Invalid for a
    message of no use and for a session that somebody else began, MayNotDecide, Busy, and what the model raises.
    """
    message = clean(asked.message)
    if not 1 <= len(message) <= MESSAGE_LIMIT:
        raise Invalid(f"The message must have 1 to {MESSAGE_LIMIT:,} characters.", field="message")
    code = prepare.spoken(message)
    if asked.session_id is None:
        if code:
            raise Invalid("This conversation has no id: nothing was prepared in it, and nothing can be confirmed.")
        async for said in _in_passing(production, model, asked, message, who):
            yield said
        return
    if not await sessions.belongs(production.db, asked.session_id, who.id):
        raise Invalid("This session is not yours: leave session_id out to begin one.", field="session_id")
    async with _alone(production, asked.session_id):
        if code:
            turn = await _confirmed(production, model, asked, code, asked.session_id, who)
            yield Said("token", turn.response)
            yield turn
            return
        async for said in _remembered(production, model, asked, message, asked.session_id, who):
            yield said


@asynccontextmanager
async def _alone(production: Production, session_id: str) -> AsyncIterator[None]:
    """Nobody else speaks in this session meanwhile. Raises Busy when somebody does for too long."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(production.locks.hold(f"chat:{session_id}"))
            except Busy:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            else:
                yield
                return
        await asyncio.sleep(TICK)


async def _in_passing(
    production: Production, model: BaseChatModel, asked: Asked, message: str, who: KeyRow
) -> AsyncIterator[Said | Turn]:
    """A turn of a conversation without an id: from what the client says was said, and with tools that only read."""
    notes = _Notes()
    ports = _ports(production, model, _looking(production, asked, notes), notes)
    given = {"messages": [*asked.history, HumanMessage(prepare.without_codes(message))]}
    answer = ""
    async for said in _told(build_talk(ports).compile(name="talk"), given, {"recursion_limit": RECURSION_LIMIT}):
        if isinstance(said, Said):
            yield said
        else:
            answer = said
    yield Turn(None, answer, list(dict.fromkeys(notes.touched)), tokens=notes.tokens)


async def _remembered(
    production: Production, model: BaseChatModel, asked: Asked, message: str, session_id: str, who: KeyRow
) -> AsyncIterator[Said | Turn]:
    """A turn of a session: from its thread, and into it."""
    notes, config, saver = _Notes(), _config(session_id), production.new_saver()
    before = (await _talk_of(production, model, session_id).aget_state(config)).values
    now = _asking(before.get("asked"), asked, message)
    name = await _name(production, asked, now, who)
    tools = [
        *_looking(production, asked, notes),
        *_doing(production, name, session_id, message, before.get("started", []), who, notes),
    ]
    ports = _ports(production, model, tools, notes)
    graph = build_talk(ports).compile(checkpointer=saver, name="talk")
    known: list[AnyMessage] = before.get("messages", [])
    # A message that is sent or edited again takes the place of what was said from there on.
    gone = [RemoveMessage(id=str(m.id)) for m in _from(known, now["number"])]
    spoken = HumanMessage(prepare.without_codes(message), additional_kwargs={"number": now["number"]})
    given = {"messages": [*(asked.history if not known else ()), *gone, spoken], "asked": now}
    answer = ""
    async for said in _told(graph, given, config):
        if isinstance(said, Said):
            yield said
        else:
            answer = said
    if notes.started:
        started = [*before.get("started", []), *notes.started]
        await graph.aupdate_state(config, {"started": list(dict.fromkeys(started))[-STARTED:]}, as_node="forget")
    await _tidy(production, config)
    if notes.pending:
        said_of_it = f"\n\n{notes.pending.as_text()}"
        yield Said("token", said_of_it)
        answer += said_of_it
    yield Turn(session_id, answer, list(dict.fromkeys(notes.touched)), notes.pending, notes.tokens)


async def _confirmed(
    production: Production, model: BaseChatModel, asked: Asked, code: Spoken, session_id: str, who: KeyRow
) -> Turn:
    """A confirmation: decided, or not, without a model; the thread remembers the outcome, not the code."""
    try:
        row, decided = await prepare.confirm(production, code, who=who, door="chat", session=session_id)
    except MayNotDecide:
        raise
    except RunError as refused:
        return Turn(session_id, f"{refused.message} Nothing was decided.")
    text = prepare.outcome(row, decided)
    if decided:
        config, graph = _config(session_id), _talk_of(production, model, session_id)
        before = (await graph.aget_state(config)).values
        now = _asking(before.get("asked"), asked, asked.message)
        told = HumanMessage(
            f"(I confirmed by code: {row['verdict']} at the {row['gate']} gate of run {row['run_id']}.)",
            additional_kwargs={"number": now["number"]},
        )
        values = {"messages": [told, AIMessage(text)], "asked": now}
        await graph.aupdate_state(config, values, as_node="forget")
        await _tidy(production, config)
    return Turn(session_id, text, [str(row["run_id"])])


async def _told(
    graph: CompiledStateGraph[Talk], given: dict[str, Any], config: RunnableConfig
) -> AsyncIterator[Said | str]:
    """The turn as it goes; at last its answer."""
    answer = ""
    going: AsyncIterator[Any] = graph.astream(given, config, stream_mode=["messages", "values"])  # type: ignore[call-overload]  # a part of Talk is enough
    async for mode, piece in going:
        if mode == "values":
            last = piece["messages"][-1] if piece["messages"] else None
            answer = str(last.text) if isinstance(last, AIMessage) else answer
        elif isinstance(piece[0], AIMessageChunk) and piece[0].text:
            yield Said("token", str(piece[0].text))
        elif isinstance(piece[0], ToolMessage):
            yield Said("tool", piece[0].name or "")
    yield answer


def _config(session_id: str) -> RunnableConfig:
    thread = str(uuid5(NAMESPACE_URL, f"myloware:chat:{session_id}"))
    return {"configurable": {"thread_id": thread}, "recursion_limit": RECURSION_LIMIT}


def _talk_of(production: Production, model: BaseChatModel, session_id: str) -> CompiledStateGraph[Talk]:
    """The talk, to be looked at and written to without a turn."""
    ports = TalkPorts(model, [], production.ledger.spent)
    return build_talk(ports).compile(checkpointer=production.new_saver(), name="talk")


def _ports(production: Production, model: BaseChatModel, tools: list[BaseTool], notes: _Notes) -> TalkPorts:
    async def spent(key: str, input_tokens: int, output_tokens: int) -> None:
        notes.tokens = notes.tokens[0] + input_tokens, notes.tokens[1] + output_tokens
        await production.ledger.spent(key, input_tokens, output_tokens)

    return TalkPorts(model, tools, spent)


async def _tidy(production: Production, config: RunnableConfig) -> None:
    """Keep the thread's newest checkpoint only: nobody goes back in a talk, and it must not grow with its age."""
    await production.new_saver().aprune([config["configurable"]["thread_id"]])


def _asking(last: Asking | None, asked: Asked, message: str) -> Asking:
    """Which message this is: the client's number, or one more than the last, or the last, if it was sent again."""
    now, digest = datetime.now(UTC), digest_of(message)
    number = asked.number
    if number is None:
        number = last["number"] + 1 if last else 1
        if last and last["digest"] == digest and now - datetime.fromisoformat(last["at"]) < RESENT_WITHIN:
            number = last["number"]
    return {"number": number, "digest": digest, "at": now.isoformat()}


async def _name(production: Production, asked: Asked, now: Asking, who: KeyRow) -> str:
    """What this message is known by: the same when it comes again, from whichever tab."""
    digest = now["digest"][:16]
    if asked.once:
        return f"chat:once:{asked.once}"
    if not asked.begins:
        return f"chat:{asked.session_id}:{now['number']}:{digest}"
    # Sent again without a session it begins another one: the same words from the same key at once again are the same.
    span = int(datetime.fromisoformat(now["at"]).timestamp() // RESENT_WITHIN.total_seconds())
    before = f"chat:new:{digest}:{span - 1}"
    return before if await runs.get(production.db, named(who.id, before)) else f"chat:new:{digest}:{span}"


def _from(messages: Sequence[AnyMessage], number: int) -> list[AnyMessage]:
    """The messages from the person's one of this number on; or a last one that asks for tools and got no answer."""
    for position, message in enumerate(messages):
        if message.additional_kwargs.get("number", 0) >= number:
            return list(messages[position:])
    last = messages[-1] if messages else None
    return [last] if isinstance(last, AIMessage) and last.tool_calls else []


def _looking(production: Production, asked: Asked, notes: _Notes) -> list[BaseTool]:
    """The tools that only read."""

    async def list_projects() -> str:
        """The projects a video can be made for, each with its length, its number of clips and its budget."""
        return _json(shown.projects(production))

    async def list_runs() -> str:
        """The ten newest runs: id, project, brief, status and what was spent."""
        return _json(await shown.runs(production))

    async def get_run(run_id: str) -> str:
        """How one run stands: status, step, costs in USD, a link to its film, and the gate that is open, if any."""
        found = _touch(await shown.run(production, _uuid(run_id), asked.base_url), notes)
        return _json(found)

    async def list_reviews() -> str:
        """The gates where a person is asked at the moment, and what saying yes would cost."""
        return _json(await shown.reviews(production))

    async def get_review(run_id: str) -> str:
        """What the open gate of a run shows: the ideas and their price, or the film and its caption."""
        return _json(_touch(await shown.review(production, _uuid(run_id)), notes))

    async def get_costs(run_id: str | None = None) -> str:
        """What one run costs, in USD; without a run what was spent today, and the day's cap."""
        return _json(await shown.costs_of(production, _uuid(run_id) if run_id else None))

    async def get_media_link(run_id: str) -> str:
        """Links to the film and the clips of a run. They work for a day, for whoever has them."""
        links = await media_links.of_run(production, _uuid(run_id), asked.base_url)
        if not links:
            raise ToolException("There is nothing to see yet: no clip is made.")
        return _json(links)

    return _tools(list_projects, list_runs, get_run, list_reviews, get_review, get_costs, get_media_link)


def _doing(
    production: Production,
    name: str,
    session_id: str,
    message: str,
    started_here: Sequence[str],
    who: KeyRow,
    notes: _Notes,
) -> list[BaseTool]:
    """The tools that bring something about. `name` is that of the person's message: each counts once for it."""

    async def start_run(project: str, brief: str) -> str:
        """Start making a video for a project from a brief. One message of the person starts one run."""
        run = await start(production, project=project, brief=brief, started_by=who.id, channel="chat", request_key=name)
        run_id = str(run["id"])
        notes.touched.append(run_id)
        notes.started.append(run_id)
        return _json({"run_id": run_id, "status": run["status"], "project": run["project"], "brief": run["brief"]})

    async def prepare_decision(
        run_id: str, verdict: Literal["approve", "revise", "reject"], comment: str | None = None
    ) -> str:
        """Prepare a decision at the open gate of a run: approve, revise (with a comment on what should change) or
        reject (which ends the run). Nothing is decided: the person is shown it after your answer, and confirms it.
        """
        notes.pending = await prepare.prepare(
            production, _uuid(run_id), verdict, comment=comment, who=who, door="chat", session=session_id
        )
        notes.touched.append(run_id)
        return _json({"prepared": notes.pending.what, "decided": False, "next": "The person confirms it, or not."})

    async def cancel_run(run_id: str) -> str:
        """End a run that was started in this conversation, or whose id the person just wrote."""
        found = _uuid(run_id)
        if str(found) not in started_here and str(found) not in notes.started and str(found) not in message.lower():
            raise ToolException("Only the person can name a run of somewhere else: ask for its id.")
        await control.cancel(production, found, by=who.id, channel="chat", external_id=f"cancel:{name}:{found}")
        notes.touched.append(str(found))
        return _json({"run_id": str(found), "status": "failed", "error": "cancelled"})

    return _tools(start_run, prepare_decision, cancel_run)


def _touch(found: dict[str, Any], notes: _Notes) -> dict[str, Any]:
    notes.touched.append(found["run_id"])
    return found


def _uuid(run_id: str) -> UUID:
    try:
        return UUID(run_id)
    except ValueError:
        raise ToolException(f"{run_id[:80]!r} is not the id of a run.") from None


def _tools(*functions: Any) -> list[BaseTool]:
    return [StructuredTool.from_function(coroutine=_in_words(function)) for function in functions]


def _in_words(function: Any) -> Any:
    """The same function, whose refusals are told to the model as a sentence."""

    @wraps(function)
    async def told(*args: Any, **kwargs: Any) -> str:
        try:
            return str(await function(*args, **kwargs))
        except RunError as error:
            raise ToolException(error.message) from error

    return told


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


class Turns:
    """The turns under way in this process. Each ends by itself, whether anybody listens or not."""

    #: How long turns may take to end when the process is asked to stop, in seconds.
    GRACE = 10.0

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Turns:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.GRACE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def begin(self, turn: AsyncIterator[Said | Turn]) -> Heard:
        """Begin a turn in a task of its own; what is said in it can be heard."""
        heard = Heard()
        task = asyncio.create_task(self._run(turn, heard), name="turn")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return heard

    async def _run(self, turn: AsyncIterator[Said | Turn], heard: Heard) -> None:
        try:
            async for said in turn:
                heard.queue.put_nowait(said)
        except Exception as error:
            # Whoever listens raises it; when nobody does any more, the message was not answered, and is asked again.
            log.info("a turn ended with %r", error)
            heard.queue.put_nowait(error)


class Heard:
    """What is said in a turn, for one listener."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Said | Turn | Exception] = asyncio.Queue()

    async def within(self, seconds: float | None) -> Said | Turn | None:
        """The next thing said; None when nothing is for so long. Raises what the turn raised."""
        try:
            said = await asyncio.wait_for(self.queue.get(), seconds)
        except TimeoutError:
            return None
        if isinstance(said, Exception):
            raise said
        return said

    async def turn(self) -> Turn:
        """The whole turn. Raises what it raised."""
        while True:
            said = await self.within(None)
            if isinstance(said, Turn):
                return said
