"""What the supervisor can do in a talk: look, start runs, prepare decisions, cancel. It can decide nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from chat import confirmations, summaries
from chat.confirmations import PendingConfirmation
from runs import cancel, media_links, queries, start
from runs.errors import RunError
from runs.services import Services
from storage.api_keys import ApiKeyRow


@dataclass
class TurnEffects:
    """What comes about in a turn beside its words. `tokens` are those that went in and came out."""

    touched: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    pending: PendingConfirmation | None = None
    tokens: tuple[int, int] = (0, 0)


def read_tools(services: Services, base_url: str, notes: TurnEffects) -> list[BaseTool]:
    """The tools that only read. Links begin with `base_url`."""

    async def list_projects() -> str:
        """The projects a video can be made for, each with its length, its number of clips and its budget."""
        return _json(summaries.list_projects(services))

    async def list_runs() -> str:
        """The ten newest runs: id, project, brief, status and what was spent."""
        return _json(await summaries.list_runs(services))

    async def get_run(run_id: str) -> str:
        """How one run stands: status, step, costs in USD, a link to its film, and the gate that is open, if any."""
        found = _touch(await summaries.summarize_run(services, queries.parse_run_id(run_id), base_url), notes)
        return _json(found)

    async def list_reviews() -> str:
        """The gates where a person is asked at the moment, and what saying yes would cost."""
        return _json(await summaries.list_open_reviews(services))

    async def get_review(run_id: str) -> str:
        """What the open gate of a run shows: the ideas and their price, or the film and its caption."""
        return _json(_touch(await summaries.summarize_review(services, queries.parse_run_id(run_id)), notes))

    async def get_costs(run_id: str | None = None) -> str:
        """What one run costs, in USD; without a run what was spent today, and the day's cap."""
        return _json(await summaries.summarize_costs(services, queries.parse_run_id(run_id) if run_id else None))

    async def get_media_link(run_id: str) -> str:
        """Links to the film and the clips of a run. They work for a day, for whoever has them."""
        links = await media_links.links_of_run(services, queries.parse_run_id(run_id), base_url)
        if not links:
            raise ToolException("There is nothing to see yet: no clip is made.")
        return _json(links)

    return _tools(list_projects, list_runs, get_run, list_reviews, get_review, get_costs, get_media_link)


def acting_tools(
    services: Services,
    notes: TurnEffects,
    *,
    who: ApiKeyRow,
    session_id: str,
    message: str,
    name: str,
    started_here: Sequence[str],
) -> list[BaseTool]:
    """The tools that bring something about, for the person's `message`; they count once for its `name`.

    `started_here` are the ids of the runs that were started in this session.
    """

    async def start_run(project: str, brief: str) -> str:
        """Start making a video for a project from a brief. One message of the person starts one run."""
        run = await start.start_run(
            services, project=project, brief=brief, started_by=who.id, channel="chat", request_key=name
        )
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
        notes.pending = await confirmations.create_pending(
            services, queries.parse_run_id(run_id), verdict, comment=comment, who=who, door="chat", session=session_id
        )
        notes.touched.append(run_id)
        return _json({"prepared": notes.pending.what, "decided": False, "next": "The person confirms it, or not."})

    async def cancel_run(run_id: str) -> str:
        """End a run that was started in this conversation, or whose id the person just wrote."""
        found = queries.parse_run_id(run_id)
        if str(found) not in started_here and str(found) not in notes.started and str(found) not in message.lower():
            raise ToolException("Only the person can name a run of somewhere else: ask for its id.")
        await cancel.cancel_run(services, found, by=who.id, channel="chat", external_id=f"cancel:{name}:{found}")
        notes.touched.append(str(found))
        return _json({"run_id": str(found), "status": "failed", "error": "cancelled"})

    return _tools(start_run, prepare_decision, cancel_run)


def _touch(found: dict[str, Any], notes: TurnEffects) -> dict[str, Any]:
    notes.touched.append(found["run_id"])
    return found


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
