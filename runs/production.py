"""Everything that running a production takes, put together once by the wiring and handed to every function here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.runtime import RunControl

from graph.state import State
from prompts.project import Project
from providers.notices import Sent
from providers.video_profiles import VideoModel
from storage.artifacts import Artifacts
from storage.ledger import Ledger
from storage.locks import Locks
from storage.pool import Database


class Wake(Protocol):
    """Says that something happened. Only a hint: the sweeper finds whatever it was lost for."""

    def advance(self, run_id: str) -> None:
        """The run may be able to go on."""
        ...

    def collect(self, order: str) -> None:
        """There may be news of the order of this key."""
        ...


class Sender(Protocol):
    """Sends a notice to an address outside."""

    async def send(self, url: str, *, id: str, body: bytes) -> Sent:  # noqa: A002 - its name in the contract
        """Try once, and say what came of it."""
        ...


@dataclass(frozen=True)
class Outside:
    """Who is told of what happens to runs, and who else when nobody decides in time."""

    sender: Sender | None = None
    urls: tuple[str, ...] = ()
    escalation: tuple[str, ...] = ()


class NewSaver(Protocol):
    """Makes a checkpointer. Each drive of a run gets its own, because one serialises all its callers."""

    def __call__(self) -> BaseCheckpointSaver[str]: ...


@dataclass(frozen=True)
class Production:
    """The parts. `scratch` is a folder for files under way."""

    db: Database
    ledger: Ledger
    locks: Locks
    artifacts: Artifacts
    projects: Mapping[str, Project]
    video: VideoModel
    line: StateGraph[State]
    new_saver: NewSaver
    wake: Wake
    scratch: Path
    outside: Outside = field(default_factory=Outside)
    #: Asked to drain, every drive of this process stops at its next superstep.
    draining: RunControl = field(default_factory=RunControl)
