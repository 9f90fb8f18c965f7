"""Talk with the supervisor: one turn of a conversation that is remembered by its session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from graph.supervisor import TalkPorts, build_talk
from providers.orders import digest_of
from runs import look
from runs.errors import Invalid, RunError
from runs.production import Production
from runs.start import start
from storage import sessions

MESSAGE_LIMIT = 10_000
#: Supersteps of one turn: three rounds of tools and an answer.
RECURSION_LIMIT = 12


@dataclass(frozen=True)
class Turn:
    """What came of one message."""

    session_id: str
    response: str
    run_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Said:
    """Something to tell while a turn is under way: `token` (a piece of text) or `tool` (its name)."""

    kind: str
    text: str


async def talk(
    production: Production, model: BaseChatModel, session_id: str, message: str, *, said_by: str
) -> AsyncIterator[Said | Turn]:
    """One turn, told as it goes; the last thing told is the Turn.

    Raises Invalid for a message of no use and for a session that somebody else began, and what the model raises.
    """
    message = message.strip()
    if not 1 <= len(message) <= MESSAGE_LIMIT:
        raise Invalid(f"The message must have 1 to {MESSAGE_LIMIT:,} characters.", field="message")
    if not await sessions.belongs(production.db, session_id, said_by):
        raise Invalid("This session is not yours: leave session_id out to begin one.", field="session_id")
    async with production.locks.hold(f"chat:{session_id}"):
        touched: list[str] = []
        tools = _tools(production, session_id, message, said_by, touched)
        graph = build_talk(TalkPorts(model, tools, production.ledger.spent)).compile(
            checkpointer=production.new_saver(), name="talk"
        )
        config: RunnableConfig = {
            "configurable": {"thread_id": str(uuid5(NAMESPACE_URL, f"myloware:chat:{session_id}"))},
            "recursion_limit": RECURSION_LIMIT,
        }
        answer = ""
        async for piece, _ in graph.astream(
            {"messages": [HumanMessage(message)]}, config, stream_mode="messages", durability="sync"
        ):
            if isinstance(piece, AIMessageChunk) and piece.text:
                yield Said("token", str(piece.text))
            elif isinstance(piece, ToolMessage):
                yield Said("tool", piece.name or "")
        last = (await graph.aget_state(config)).values["messages"][-1]
        if isinstance(last, AIMessage):
            answer = str(last.text)
        yield Turn(session_id, answer, list(dict.fromkeys(touched)))


def _tools(production: Production, session_id: str, message: str, said_by: str, touched: list[str]) -> list[BaseTool]:
    """The supervisor's tools. They only read, and start runs; none of them decides."""

    async def list_projects() -> str:
        """The projects a video can be made for, each with its length, its number of clips and its budget."""
        return _told(
            [
                {
                    "project": name,
                    "summary": project.summary,
                    "clips": project.clips,
                    "film_seconds": project.film_seconds,
                    "budget_usd": float(project.budget_usd),
                }
                for name, project in sorted(production.projects.items())
            ]
        )

    async def start_run(project: str, brief: str) -> str:
        """Start making a video for a project from a brief. Asks a person before anything is spent."""
        # The same message of the same session starts one run, however often the model asks or the turn is repeated.
        key = f"chat:{session_id}:{digest_of([message, project])[:16]}"
        run = await start(production, project=project, brief=brief, started_by=said_by, channel="chat", request_key=key)
        touched.append(str(run["id"]))
        return _told({"run_id": str(run["id"]), "status": run["status"]})

    async def list_runs() -> str:
        """The ten newest runs: id, project, brief, status and current step."""
        runs = await look.page(production, limit=10)
        return _told([{key: run[key] for key in ("run_id", "project", "brief", "status")} for run in runs])

    async def get_run(run_id: str) -> str:
        """How one run stands: status, step, costs in USD, and what a person is asked, if anything."""
        try:
            run = await look.view(production, UUID(run_id))
        except ValueError:
            raise ToolException(f"{run_id!r} is not the id of a run.") from None
        touched.append(run["run_id"])
        shown = {key: run[key] for key in ("run_id", "project", "status", "current_step", "cost", "error")}
        gate = run["review"]["gate"] if run["review"] else None
        return _told({**shown, "open_gate": gate, "publication": run["artifacts"].get("publication")})

    functions = (list_projects, start_run, list_runs, get_run)
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


def _told(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
