"""`make studio RUN=ID`: a run of the product is copied, and repaired in Studio without a request to its providers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph_sdk import get_sync_client

from api.studio import RUN_SHAPE
from chat.changes import STUDIO
from storage.actors import RequestContext
from storage.database import Database, open_pool
from storage.decision_chain import verify_chain
from storage.decisions import list_decisions
from storage.embedded_postgres import EmbeddedPostgres
from storage.events import list_events
from storage.migrate import migrate
from storage.run_copies import copy_run
from storage.spending import verify_spending
from tests.app import App, SandboxClient, open_app
from tests.studio.conftest import StudioServer, run_studio

SECONDS = 100
TABLES = {"checkpoints": "thread_id", "checkpoint_blobs": "thread_id", "checkpoint_writes": "thread_id", "runs": "id"}
TABLES |= {"orders": "run_id", "decisions": "run_id", "events": "run_id"}


@pytest.fixture(scope="module")
def product(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """A product with a sandbox as its vendors, and other runs than the one that is copied."""
    with open_app(postgres_server, migrated_template, sandbox_process) as opened:
        opened.decide(opened.until(opened.start("Other"), "awaiting_ideation_approval")["run_id"], "ideation", False)
        yield opened


def _rows(product: App, run_id: str) -> list[Any]:
    """Everything of a run, to the last byte."""
    return [
        product.rows(f"select t::text from {table} t where {column}::text = %s order by 1", run_id)
        for table, column in TABLES.items()
    ]


def _verify(studio: StudioServer) -> list[str]:
    """What `audit verify` finds in Studio's database."""

    async def verify() -> list[str]:
        async with open_pool(EmbeddedPostgres(studio.folder / "postgres").dsn) as pool:
            return [*await verify_chain(Database(pool)), *await verify_spending(Database(pool))]

    return asyncio.run(verify())


async def test_copied_rows_have_a_chain_of_their_own(product: App, database_url: str) -> None:
    """The decisions get the next numbers, and events, orders and the thread name them; the files are returned."""
    run_id = product.until(product.start("A door in the dunes"), "awaiting_ideation_approval")["run_id"]
    product.decide(run_id, "ideation", approved=False, comment="More sand")
    product.until(run_id, "awaiting_ideation_approval", revision=2)
    product.decide(run_id, "ideation", approved=False)
    product.until_true(run_id, lambda run: run["status"] == "failed")
    before, context = _rows(product, run_id), RequestContext(STUDIO, "studio")
    await migrate(database_url)
    async with open_pool(product.dsn, read_only=True) as source, open_pool(database_url) as pool:
        target = Database(pool)
        for _ in range(2):
            await copy_run(Database(source), target, UUID(run_id), context)
        originals = await list_decisions(Database(source), run_id)
        copies, faults = await list_decisions(target, run_id), await verify_chain(target)
        events = await list_events(target, run_id)
        state = await RUN_SHAPE.copy(update={"checkpointer": AsyncPostgresSaver(pool)}).aget_state(  # type: ignore[arg-type]
            {"configurable": {"thread_id": run_id}}
        )
        with pytest.raises(LookupError, match="not found"):
            await copy_run(Database(source), target, uuid4(), context)

    assert originals[0].number > 1
    assert [row.number for row in copies] == [1, 2]
    assert [(row.verdict, row.comment, row.decided_at, row.actor_id) for row in copies] == [
        (row.verdict, row.comment, row.decided_at, row.actor_id) for row in originals
    ]
    assert state.values["decisions"]["ideation"]["number"] == 2
    assert [each.payload["hash"] for each in events if each.kind == "decision.recorded"] == [row.hash for row in copies]
    assert [each.kind for each in events].count("retry.requested") == 1
    assert faults == []
    assert _rows(product, run_id) == before


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS)
def test_failed_run_is_repaired(product: App, sandbox: SandboxClient, tmp_path: Path) -> None:
    """A run whose clip failed is copied, retried and published in Studio: the product and its vendors see nothing."""
    run_id = product.until(product.start("A kite over the dunes"), "awaiting_ideation_approval")["run_id"]
    sandbox.fault("fail", times=None)
    product.decide(run_id, "ideation")
    failed = product.until_true(run_id, lambda run: run["status"] == "failed")
    before, counts = _rows(product, run_id), sandbox.counts()
    environment = {
        "RUN": run_id,
        "DATABASE_URL": product.dsn,
        "MYLOWARE_DATA_DIR": str(product.settings.data_dir),
        "MYLOWARE_PROJECTS_DIR": str(product.settings.projects_dir),
        "VIDEO_PROFILES": str(product.settings.video_profiles),
        "MYLOWARE_STUDIO_FOLDER": str(tmp_path / "studio"),
    }
    with run_studio(tmp_path, **environment) as url, get_sync_client(url=url, timeout=SECONDS) as client:
        studio = StudioServer(url, tmp_path / "studio")
        _wait_for(lambda: [each["thread_id"] for each in client.threads.search()] == [run_id])
        faults, copied = _verify(studio), client.threads.get_state(run_id)
        history = client.threads.get_history(run_id, limit=100)
        client.runs.wait(run_id, "run", input=None, raise_error=False)

        def at_gate() -> bool:
            interrupts = [each for task in client.threads.get_state(run_id)["tasks"] for each in task["interrupts"]]
            if not interrupts or "gate" in interrupts[0]["value"]:
                return True
            client.runs.wait(run_id, "run", command={"resume": {interrupts[0]["id"]: {}}}, raise_error=False)
            return False

        _wait_for(at_gate)
        gate = client.threads.get_state(run_id)["tasks"][0]["interrupts"][0]
        client.runs.wait(run_id, "run", command={"resume": {gate["id"]: True}})
        _wait_for(at_gate)
        repaired = client.threads.get_state(run_id)
        decided = studio.rows("select number, gate, channel from decisions order by number")
        orders = studio.rows("select kind, state from orders where kind <> 'model' order by created_at")
        faults += _verify(studio)

    assert failed["error"]["retryable"]
    assert (copied["next"], copied["values"]["brief"]) == (["await_clips"], "A kite over the dunes")
    assert len(history) == len(before[0])
    assert (repaired["next"], bool(repaired["values"]["publication"]["platforms"])) == ([], True)
    assert decided == [
        {"number": 1, "gate": "ideation", "channel": "api"},
        {"number": 2, "gate": "publish", "channel": "studio"},
    ]
    assert [each["state"] for each in orders if each["kind"] == "clip"][-2:] == ["failed", "settled"]
    assert orders[-1] == {"kind": "publication", "state": "settled"}
    assert faults == []
    assert _rows(product, run_id) == before
    assert sandbox.counts() == counts


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.slow
def test_unknown_run_is_refused(product: App, tmp_path: Path) -> None:
    """Studio does not start, in one sentence that names the run."""
    unknown = "00000000-0000-4000-8000-000000000000"
    settings = {"DATABASE_URL": product.dsn, "MYLOWARE_PROJECTS_DIR": str(product.settings.projects_dir)}
    with (
        pytest.raises(AssertionError, match=f"RUN: Run {unknown} not found."),
        run_studio(tmp_path, RUN=unknown, VIDEO_PROFILES=str(product.settings.video_profiles), **settings),
    ):
        pass
