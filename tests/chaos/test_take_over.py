"""When a worker is killed, frozen or shut down, another one takes over its runs and the first one writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.chaos.actors import Actors
from tests.chaos.background import BackgroundTasks
from tests.chaos.environment import API_KEYS, Environment, free_port
from tests.chaos.harness import open_harness
from tests.chaos.invariants import find_violations, read_facts
from tests.chaos.options import Stop, StopSignal
from tests.chaos.processes import ProcessPool
from tests.databases import fast_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@dataclass
class Harness:
    """The harness without random faults: each process is started by the test."""

    environment: Environment
    pool: ProcessPool
    actors: Actors

    @property
    def tasks(self) -> BackgroundTasks:
        return self.pool.tasks

    async def fetch_all(self, query: Any, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        dsn = self.environment.postgres.dsn
        async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
            return await (await connection.execute(query, values)).fetchall()

    async def start_run(self) -> str:
        """Start a run and return its id."""
        await self.actors.start_run()
        return self.actors.started[-1]

    async def get_driver(self, run_id: str) -> str | None:
        """Return the name of the process that may write the thread of a run."""
        [row] = await self.fetch_all("select driver from runs where id = %s", run_id)
        return row["driver"]  # type: ignore[no-any-return]

    async def wait_until(self, condition: Callable[[], Awaitable[Any]], timeout_seconds: float = 60) -> float:
        """Wait until a condition holds and return the seconds it took."""
        started_at = time.monotonic()
        while not await condition():
            assert time.monotonic() - started_at < timeout_seconds, "timed out"
            await asyncio.sleep(0.05)
        return time.monotonic() - started_at

    def serve_actors(self) -> asyncio.Task[None]:
        """Let the actors respond to open runs in the background, without starting more."""
        return self.tasks.start(self.actors.run(lambda: False, 1))

    async def assert_all_completed(self) -> None:
        """Wait until every run has ended, and assert that all are completed and no invariant is violated."""
        self.serve_actors()

        async def has_ended() -> bool:
            self.tasks.raise_failures()
            return not self.actors.open_runs

        await self.wait_until(has_ended, 120)
        facts = await read_facts(self.environment.postgres.dsn, self.environment.sandbox, self.actors)
        assert find_violations(facts) == []
        assert {run["status"] for run in facts.runs} == {"completed"}


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    """Yield a database, a sandbox and an API, without a worker."""
    with tempfile.TemporaryDirectory(prefix="myloware-take-over-", dir=fast_folder()) as folder:
        async with open_harness(Path(folder), seed=1) as (environment, pool, actors):
            await pool.start("api", "api")
            actors.providers = ("videos",)  # a vendor that recognises a key settles an order without an answer itself
            yield Harness(environment, pool, actors)


@pytest.mark.parametrize("stop_signal", ["SIGKILL", "SIGSTOP"])
async def test_another_worker_takes_over_within_ten_seconds(
    harness: Harness, stop_signal: StopSignal, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker that is killed or frozen while it writes a checkpoint is replaced by another within ten seconds; a
    frozen one loses what it was writing, and may drive the run again later."""
    harness.pool.freeze_seconds = 3600
    first = await harness.pool.start("first", "worker", [Stop("checkpoint.before", stop_signal)])
    run_id = await harness.start_run()
    await asyncio.wait_for((first.exited if stop_signal == "SIGKILL" else first.stopped).wait(), 60)
    first_driver = await harness.get_driver(run_id)
    known = {row["id"] for row in await harness.fetch_all("select id from workers")}
    await harness.pool.start("second", "worker")

    async def is_second_running() -> bool:
        return bool(await harness.fetch_all("select id from workers where id <> all(%s)", list(known)))

    async def is_taken_over() -> bool:
        return await harness.get_driver(run_id) != first_driver

    await harness.wait_until(is_second_running)
    seconds = await harness.wait_until(is_taken_over)

    with capsys.disabled():
        print(f" [{stop_signal}: taken over after {seconds:.1f} s]", end="")
    assert seconds < 10
    harness.pool.send_signal(first, signal.SIGCONT)
    await harness.assert_all_completed()
    if stop_signal == "SIGSTOP":
        assert not first.exited.is_set()
        log = (harness.environment.folder / "worker.log").read_text()
        assert any(words in log for words in ("lost", "database unavailable", "driven by another process"))


async def test_frozen_in_the_call_that_spends(harness: Harness) -> None:
    """A worker frozen between the claim of an order and the call to the provider does not call when it resumes: the
    order is not found, a client has it ordered again, and it is charged once.

    The worker places the orders of a round concurrently, so it may have claimed more than one of them by then.
    """
    harness.pool.freeze_seconds = 3600
    first = await harness.pool.start("first", "worker", [Stop("submit.before", "SIGSTOP")])
    run_id = await harness.start_run()
    actors = harness.serve_actors()
    await asyncio.wait_for(first.stopped.wait(), 60)
    await harness.pool.start("second", "worker")

    async def is_ordered_again() -> bool:
        return len(await harness.fetch_all("select 1 from orders where take = 2 and state = 'settled'")) > 0

    await harness.wait_until(is_ordered_again)
    harness.pool.send_signal(first, signal.SIGCONT)
    actors.cancel()
    await harness.assert_all_completed()

    assert harness.actors.retries == 1
    charges = len((await harness.environment.sandbox.get("/sandbox/charges")).json())
    orders = await harness.fetch_all(
        "select clip, state, result ->> 'code' as code from orders where run_id = %s and kind = 'clip'", run_id
    )
    lost = [order for order in orders if order["code"] == "declared_not_made"]
    made = [order["clip"] for order in orders if order["state"] == "settled"]
    assert lost
    assert len(orders) == charges + len(lost)
    assert len(made) == len(set(made)) == charges


async def test_rolling_restart(harness: Harness, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that gets SIGTERM finishes its superstep and exits with code 0 while its successor runs, and no
    model call is repeated."""
    harness.actors.requests_changes = False
    for _ in range(3):
        await harness.start_run()
    actors = harness.serve_actors()
    worker = await harness.pool.start("worker-0", "worker")
    durations = []
    for number in range(1, 5):
        await asyncio.sleep(1.5)
        leaving, worker = worker, await harness.pool.start(f"worker-{number}", "worker")
        started_at = time.monotonic()
        await asyncio.sleep(0.5)  # its signal handlers are installed by then
        harness.pool.send_signal(leaving, signal.SIGTERM)
        await asyncio.wait_for(leaving.exited.wait(), 30)
        durations.append(time.monotonic() - started_at)
        assert leaving.exit_code == 0
    actors.cancel()
    await harness.assert_all_completed()

    with capsys.disabled():
        print(f" [exited within {max(durations):.1f} s]", end="")
    assert harness.actors.retries == 0
    model_orders = await harness.fetch_all("select spent_usd, result from orders where kind = 'model'")
    assert len(model_orders) == 9


@pytest.mark.parametrize("keys", ["one key", "ten keys"])
async def test_ten_approvals_at_two_processes(harness: Harness, keys: str) -> None:
    """Of ten identical approvals at once, sent by ten clients to two processes, one is recorded. The others get the
    same response under the same idempotency key, else the actor that decided; none of them answers the next gate."""
    port = free_port()
    await harness.pool.start("api-2", "api", port=port)
    worker = await harness.pool.start("worker", "worker")
    run_id = await harness.start_run()
    urls = [f"http://127.0.0.1:{each}/v1/runs/{run_id}" for each in (harness.environment.port, port)]
    headers = {"X-API-Key": API_KEYS[0]}

    async def get_run(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(url, headers=headers)).json()  # type: ignore[no-any-return]
        return {}

    async def approve(number: int) -> httpx.Response:
        key = "one" if keys == "one key" else f"key-{number}"
        body = {"gate": "ideation", "approved": True}
        async with httpx.AsyncClient(timeout=30) as client:
            url = f"{urls[number % 2]}/approve"
            return await client.post(url, json=body, headers=headers | {"Idempotency-Key": key})

    async with httpx.AsyncClient() as client:

        async def have_status(status: str) -> bool:
            return all([(await get_run(client, url)).get("status") == status for url in urls])

        await harness.wait_until(lambda: have_status("awaiting_ideation_approval"))
        responses = await asyncio.gather(*(approve(number) for number in range(10)))
        rows = await harness.fetch_all("select gate, actor_id from decisions")
        assert len(rows) == 1
        if keys == "one key":
            assert [response.status_code for response in responses] == [200] * 10
            assert all(response.json() == responses[0].json() for response in responses)
        else:
            assert sorted(response.status_code for response in responses) == [200] + [409] * 9
            errors = [response.json()["error"] for response in responses if response.status_code == 409]
            assert {error["code"] for error in errors} == {"gate_not_open"}
            assert {error["details"]["last_decision"]["actor"]["id"] for error in errors} == {rows[0]["actor_id"]}

        await harness.wait_until(lambda: have_status("awaiting_publish_approval"))
        late = await asyncio.gather(*(approve(number) for number in range(10, 14)))
        assert {response.status_code for response in late} == ({200} if keys == "one key" else {409})
        assert (await get_run(client, urls[0]))["review"]["gate"] == "publish"
        assert len(await harness.fetch_all("select 1 from decisions")) == 1
    assert not worker.exited.is_set()
