"""Everything that running a production takes, put together once by the wiring and handed to every function here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.runtime import RunControl

from graph.state import RunState
from prompts.project import Project
from providers.notifications import SendResult
from providers.video_profiles import VideoModel
from storage.artifacts import Artifacts
from storage.database import Database
from storage.ledger import Ledger
from storage.locks import Locks


class Wakeups(Protocol):
    """Says that something happened. Only a hint: the sweeper finds whatever it was lost for."""

    def advance(self, run_id: str) -> None:
        """The run may be able to go on."""
        ...

    def reconcile(self, order: str) -> None:
        """There may be news of the order of this key."""
        ...


class NotificationSender(Protocol):
    """Sends a notice to an address outside."""

    async def send(self, url: str, *, id: str, body: bytes) -> SendResult:  # noqa: A002 - its name in the contract
        """Try once, and say what came of it."""
        ...


@dataclass(frozen=True)
class NotificationTargets:
    """Who is told of what happens to runs, and who else when nobody decides in time."""

    sender: NotificationSender | None = None
    urls: tuple[str, ...] = ()
    escalation: tuple[str, ...] = ()


class NewSaver(Protocol):
    """Makes a checkpointer. Each drive of a run gets its own, because one serialises all its callers."""

    def __call__(self) -> BaseCheckpointSaver[str]: ...


@dataclass(frozen=True)
class Services:
    """The parts. `scratch` is a folder for files under way."""

    db: Database
    ledger: Ledger
    locks: Locks
    artifacts: Artifacts
    projects: Mapping[str, Project]
    video: VideoModel
    run_graph: StateGraph[RunState]
    new_saver: NewSaver
    wakeups: Wakeups
    scratch: Path
    notification_targets: NotificationTargets = field(default_factory=NotificationTargets)
    #: Asked to drain, every drive of this process stops at its next superstep.
    draining: RunControl = field(default_factory=RunControl)
