"""Studio writes rows of runs and decisions, polls orders itself, and sends requests to the sandbox only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import ValidationError

from api.settings import Settings
from api.settings_types import SettingsError
from api.studio import RunGraph, check_sandbox, sandbox_only, studio_run_graph, studio_settings
from api.wiring import AppState, open_app_state
from graph.nodes.orders import StepFailed
from runs.errors import InvalidRequest, ProjectNotFound
from storage.decision_chain import verify_chain
from storage.decisions import DecisionRow, list_decisions
from storage.orders import OrderRow
from storage.runs import get_run
from tests.app import SandboxClient, settings_for

SANDBOX = "http://127.0.0.1:8900"
SECONDS = 60
OTHER_CAPTION = {"caption": "Another caption", "hashtags": ["#other"]}


class Thread:
    """A thread of the run graph, as Studio's server keeps it: in memory, and resumed with unrecorded decisions."""

    def __init__(self, state: AppState, graph: RunGraph) -> None:
        self.id = str(uuid4())
        self.config: RunnableConfig = {"configurable": {"thread_id": self.id}}
        self.state = state
        self.graph = graph.copy(update={"checkpointer": InMemorySaver()})

    async def start(self, project: str = "tiny") -> None:
        await self.graph.ainvoke({"project": project, "brief": "A calm rain video"}, self.config)

    async def question(self) -> dict[str, Any] | None:
        """Return the value of the open interrupt."""
        interrupts = (await self.graph.aget_state(self.config)).interrupts
        return dict(interrupts[0].value) if interrupts else None

    async def answer(self, answer: Any) -> None:
        """Resume the open interrupt."""
        (interrupt,) = (await self.graph.aget_state(self.config)).interrupts
        await self.graph.ainvoke(Command(resume={interrupt.id: answer}), self.config)

    async def next_gate(self) -> str | None:
        """Return the next gate that opens; a wait for orders is resumed until it ends."""
        async with asyncio.timeout(SECONDS):
            while (question := await self.question()) and "gate" not in question:
                await asyncio.sleep(0.2)
                await self.answer({})
        return question and question["gate"]

    async def fork(self, node: str) -> None:
        """Continue from the oldest checkpoint at which this node is next."""
        history = [each async for each in self.graph.aget_state_history(self.config) if each.next == (node,)]
        await self.graph.ainvoke(None, history[-1].config)

    async def values(self) -> dict[str, Any]:
        """Return the channels of the thread."""
        return (await self.graph.aget_state(self.config)).values

    async def decisions(self) -> list[DecisionRow]:
        """Return the decision rows of the run."""
        return await list_decisions(self.state.services.db, self.id)

    async def orders(self, kind: str) -> list[OrderRow]:
        """Return the orders of the run of this kind."""
        return [row for row in await self.state.services.ledger.list_for_run(self.id) if row.kind == kind]


@pytest.fixture
async def state(database_url: str, sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[AppState]:
    """The application state that Studio opens."""
    configured = settings_for("postgresql://127.0.0.1:9/product", tmp_path, sandbox)
    settings = studio_settings(configured, sandbox=sandbox.url, folder=tmp_path / "studio", dsn=database_url)
    async with open_app_state(settings, client_options=sandbox_only(sandbox.url)) as opened:
        yield opened


@pytest.fixture
def thread(state: AppState) -> Thread:
    return Thread(state, studio_run_graph(state))


async def test_a_thread_writes_the_rows_of_a_run(thread: Thread) -> None:
    """The run, its decision and its orders are recorded, with the actor and the channel of Studio."""
    await thread.start()
    assert await thread.next_gate() == "ideation"
    await thread.answer({"decisions": [{"type": "approve"}]})

    run = await get_run(thread.state.services.db, thread.id)
    (decision,), (clip,) = await thread.decisions(), await thread.orders("clip")
    assert run is not None
    assert (run.project, run.brief, run.options, run.cap_usd) == ("tiny", "A calm rain video", {}, 5)
    assert (run.channel, run.actor_kind, run.actor_id) == ("studio", "studio", "studio")
    assert (decision.gate, decision.revision, decision.verdict) == ("ideation", 1, "approve")
    assert (decision.channel, decision.actor_kind, decision.actor_id) == ("studio", "studio", "studio")
    assert (clip.decision, clip.state) == (decision.number, "submitted")


@pytest.mark.slow
async def test_another_decision_about_a_forked_review_has_its_own_row(thread: Thread, sandbox: SandboxClient) -> None:
    """Resuming a wait polls its orders; going back to a gate and deciding otherwise works, up to the post."""
    await thread.start()
    await thread.answer(True)
    assert await thread.next_gate() == "publish"
    await thread.answer({"approved": False})
    rejected = await thread.values()
    await thread.fork("publish_gate")
    await thread.answer({"decisions": [{"type": "edit", "edited_action": {"name": "publish", "args": OTHER_CAPTION}}]})
    assert await thread.next_gate() is None

    ideation, first, second = await thread.decisions()
    (clip,), (publication,) = await thread.orders("clip"), await thread.orders("publication")
    assert rejected["failure"]["code"] == "rejected"
    assert [(row.gate, row.revision, row.verdict) for row in (ideation, first, second)] == [
        ("ideation", 1, "approve"),
        ("publish", 1, "reject"),
        ("publish", 2, "approve"),
    ]
    assert first.seen_digest == second.seen_digest != second.approved_digest
    assert (clip.decision, clip.state) == (ideation.number, "settled")
    assert (publication.decision, publication.state) == (second.number, "settled")
    assert publication.request["caption"].startswith(OTHER_CAPTION["caption"])
    assert await verify_chain(thread.state.services.db) == []
    assert len(sandbox.charges(thread.id)) == 1


async def test_the_same_decision_about_a_forked_review_has_one_row(thread: Thread, sandbox: SandboxClient) -> None:
    """A fork that repeats a decision continues with its row, and orders nothing twice."""
    await thread.start()
    await thread.answer(True)
    await thread.fork("ideation_gate")
    await thread.answer({"approved": True})

    (row,) = await thread.decisions()
    assert (await thread.values())["decisions"]["ideation"]["number"] == row.number
    assert len(await thread.orders("clip")) == 1
    assert len(sandbox.charges(thread.id)) == 1


async def test_a_comment_is_given_to_the_ideator(thread: Thread) -> None:
    """A request for changes is recorded, and the review history of the run contains it."""
    await thread.start()
    await thread.answer({"approved": False, "comment": "More rain"})
    history = await thread.state.dependencies.records.review_history(thread.id, "ideation")

    assert [(review["revision"], review["comment"]) for review in history] == [(1, "More rain")]
    question = await thread.question()
    assert question is not None
    assert (question["gate"], question["revision"]) == ("ideation", 2)


async def test_nothing_unapproved_is_ordered(thread: Thread, sandbox: SandboxClient) -> None:
    """An answer that names a decision which does not exist is refused by the ledger."""
    await thread.start()
    with pytest.raises(StepFailed) as failed:
        await thread.answer({"verdict": "approve", "number": 7})

    (clip,) = await thread.orders("clip")
    assert failed.value.code == "not_approved"
    assert (clip.state, clip.decision) == ("failed", None)
    assert await thread.decisions() == []
    assert sandbox.charges(thread.id) == []


async def test_a_refused_decision_is_not_recorded(thread: Thread) -> None:
    """Edits that do not fit leave the gate open; after another decision that does not fit, a person goes back to it."""
    await thread.start()
    with pytest.raises(ValidationError, match="edits"):
        await thread.answer({"verdict": "approve", "edits": [{"title": ""}]})
    with pytest.raises(InvalidRequest, match="clips"):
        await thread.answer({"verdict": "approve", "clips": [1]})
    refused = await thread.decisions()
    await thread.fork("ideation_gate")
    await thread.answer(True)

    assert refused == []
    assert [(row.revision, row.verdict) for row in await thread.decisions()] == [(1, "approve")]


async def test_unknown_projects_are_refused(thread: Thread) -> None:
    """The first step names the projects that exist; no row is written."""
    with pytest.raises(ProjectNotFound, match="tiny"):
        await thread.start("unknown")

    assert await get_run(thread.state.services.db, UUID(thread.id)) is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VIDEO_BASE_URL", "https://api.openai.com/v1"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:89001/v1"),
        ("UPLOAD_POST_URL", f"{SANDBOX}.example/api"),
        ("REMOTION_URL", "http://127.0.0.1:3001"),
        ("MYLOWARE_PUBLISH_FOLDER", "films"),
        ("MYLOWARE_STORE_URL", "s3://films"),
        ("MYLOWARE_NOTIFY_URLS", "https://example.com/notify"),
        ("MYLOWARE_NOTIFY_ESCALATE_URLS", "https://example.com/escalate"),
    ],
)
def test_other_providers_are_refused(tmp_path: Path, variable: str, value: str) -> None:
    """A setting that names anything but the sandbox is refused by its name."""
    extra = {"UPLOAD_POST_API_KEY": "key"} if variable == "UPLOAD_POST_URL" else {}
    extra |= {"MYLOWARE_NOTIFY_SECRET": "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} if "NOTIFY" in variable else {}
    configured = Settings(_env_file=None, **{variable: value, **extra})  # type: ignore[call-arg, arg-type]

    with pytest.raises(SettingsError, match=f"^{variable}: .*{SANDBOX}"):
        studio_settings(configured, sandbox=SANDBOX, folder=tmp_path, dsn="postgresql://")


def test_configured_keys_are_not_used(tmp_path: Path) -> None:
    """A product's API keys and database in the environment do not reach Studio's settings."""
    keys = {"OPENAI_API_KEY": "sk-real", "VIDEO_API_KEY": "sk-video", "UPLOAD_POST_API_KEY": "post"}
    configured = Settings(_env_file=None, DATABASE_URL="postgresql://product", **keys)  # type: ignore[call-arg, arg-type]
    settings = studio_settings(configured, sandbox=SANDBOX, folder=tmp_path, dsn="postgresql://own")

    for key in (settings.openai_api_key, settings.video_api_key, settings.upload_post_api_key):
        assert key is not None
        assert key.get_secret_value() == "sandbox"
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://own"
    assert settings.data_dir == tmp_path


async def test_clients_reach_the_sandbox_only(sandbox: SandboxClient) -> None:
    """A request to any other host or port is refused before it is sent."""
    async with httpx.AsyncClient(**sandbox_only(sandbox.url)) as client:
        assert (await client.get(f"{sandbox.url}/health")).status_code == 200
        for url in ("https://api.openai.com/v1", "http://127.0.0.1:9/v1", sandbox.url.replace("http", "https")):
            with pytest.raises(SettingsError, match="sandbox"):
                await client.get(url)


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com", "http://192.0.2.1:8900", "http://sandbox.example", "8900", "http://127.0.0.1:9"],
)
async def test_sandbox_is_on_this_machine(url: str) -> None:
    """Another machine is not contacted; a port at which no sandbox answers is refused, too."""
    with pytest.raises(SettingsError, match="MYLOWARE_STUDIO_SANDBOX"):
        await check_sandbox(url)


async def test_other_services_are_no_sandbox(sandbox: SandboxClient) -> None:
    """A service on this machine counts only if it says that it is the sandbox."""
    await check_sandbox(sandbox.url)
    with pytest.raises(SettingsError):
        await check_sandbox(f"{sandbox.url}/v1")
