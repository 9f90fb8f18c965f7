"""The collaborators that runs need, created once per process and passed to the functions of this package."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import RunControl

from graph.state import RunState
from prompts.project import Project
from providers.messengers import Messenger
from providers.notifications import NotificationSender
from providers.speech import SpeechOffer
from providers.video_models import VideoModels
from runs.queue import Queue
from storage.artifacts import Artifacts
from storage.database import Database
from storage.ledger import Ledger
from storage.locks import Locks


@dataclass(frozen=True)
class NotificationTargets:
    """The URLs that receive notifications about runs, and those that receive escalated reviews as well.

    `messengers`, by endpoint, receive what needs a person, with links to pages below `base_url`. `sandbox` names the
    services that the sandbox replaces.
    """

    sender: NotificationSender | None = None
    urls: tuple[str, ...] = ()
    escalation_urls: tuple[str, ...] = ()
    messengers: Mapping[str, Messenger] = field(default_factory=dict)
    base_url: str = ""
    sandbox: tuple[str, ...] = ()


#: Compiled without a checkpointer: each drive takes a copy with its own.
RunGraph = CompiledStateGraph[RunState]
#: Creates a checkpointer. Each drive of a run uses its own, because one checkpointer serialises its callers.
NewSaver = Callable[[], BaseCheckpointSaver[str]]


@dataclass(frozen=True)
class Services:
    """The collaborators. `scratch` is a folder for temporary files."""

    db: Database
    ledger: Ledger
    locks: Locks
    artifacts: Artifacts
    projects: Mapping[str, Project]
    #: The names of the projects that new runs can have; the others have older runs only.
    offered: Collection[str]
    video: VideoModels
    run_graph: RunGraph
    new_saver: NewSaver
    wakeups: Queue
    scratch: Path
    #: Whether the renderer signs films: those of an earlier version are then rendered again at an open gate.
    signs_films: bool = False
    notification_targets: NotificationTargets = field(default_factory=NotificationTargets)
    #: The language model. The store of the run graph keeps what it distils: see `rules.py`.
    model: BaseChatModel | None = None
    #: The offer of the speech server, without a voice.
    speech: SpeechOffer | None = None
    #: How long ended runs and idle chat sessions are kept; None: for ever.
    keep: timedelta | None = None
    #: A requested drain stops every drive of this process at its next superstep.
    drain: RunControl = field(default_factory=RunControl)
