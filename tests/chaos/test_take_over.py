"""A worker dies, freezes or leaves: another goes on, and the first one does nothing any more."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.chaos.actors import Actors
from tests.chaos.harness import KEYS, Harness, Wanted, free_port
from tests.chaos.invariants import facts, violations
from tests.databases import fast_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Stage(Harness):
    """The harness without chance: every process is started by the test."""

    people: Actors

    async def rows(self, query: Any, *values: Any) -> list[dict[str, Any]]:
        """What the database says."""
        async with await psycopg.AsyncConnection.connect(self.server.dsn, row_factory=dict_row) as connection:
            return await (await connection.execute(query, values)).fetchall()

    async def a_run(self) -> str:
        """A run that has just been started."""
        await self.people.start()
        return self.people.started[-1]

    async def driver(self, run: str) -> str | None:
        """Who drives it."""
        [row] = await self.rows("select driver from runs where id = %s", run)
        return row["driver"]  # type: ignore[no-any-return]

    async def until(self, there: Callable[[], Awaitable[Any]], seconds: float = 60) -> float:
        """How long it took until it was so."""
        began = time.monotonic()
        while not await there():
            assert time.monotonic() - began < seconds, "not in time"
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def everything_ended(self) -> None:
        """Every run has ended, and every promise was kept."""
        self._keep(self.people.live(lambda: False, 1))

        async def ended() -> bool:
            self._raise_what_failed()
            return not self.people.open

        await self.until(ended, 120)
        known = await facts(self.server.dsn, self.people.started, self.sandbox, self.people.answered_twice)
        assert violations(known) == []
        assert {run["status"] for run in known.runs} == {"completed"}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A database, a sandbox and an API; no worker."""
    with tempfile.TemporaryDirectory(prefix="myloware-stage-", dir=fast_folder()) as folder:
        made = Stage(Wanted(), Path(folder), lambda _: None)
        async with made.opened():
            made.people = Actors(made.api, made.sandbox, KEYS, random.Random(1))
            await made.start("api", "api", [])
            yield made


def at(point: str, sign: str) -> list[dict[str, Any]]:
    return [{"point": point, "after": 0.0, "sign": sign}]


@pytest.mark.parametrize("sign", ["SIGKILL", "SIGSTOP"])
async def test_another_goes_on_within_ten_seconds(stage: Stage, sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that dies or freezes while it writes a checkpoint is followed by another within ten seconds; a frozen
    one that wakes up writes nothing any more."""
    stage.frozen = 3600
    first = await stage.start("first", "worker", at("checkpoint.before", sign))
    run = await stage.a_run()
    await asyncio.wait_for((first.ended if sign == "SIGKILL" else first.stopped).wait(), 60)
    before = await stage.driver(run)
    await stage.start("second", "worker", [])

    async def taken_over() -> bool:
        return await stage.driver(run) != before

    took = await stage.until(taken_over)

    with capsys.disabled():
        print(f" [{sign}: another after {took:.1f} s, its start included]", end="")
    assert took < 10
    stage.signal(first, signal.SIGCONT)
    await stage.everything_ended()
    assert await stage.driver(run) != before
    if sign == "SIGSTOP":
        assert not first.ended.is_set()
        said = (stage.folder / "worker.log").read_text()
        assert "lost" in said or "driven by another process" in said


async def test_frozen_in_the_call_that_spends(stage: Stage) -> None:
    """A worker that froze between the claim and the call does not call when it wakes up: the order is found
    missing, a person has it ordered again, and it is charged once."""
    stage.frozen = 3600
    first = await stage.start("first", "worker", at("submit.before", "SIGSTOP"))
    run = await stage.a_run()
    live = asyncio.create_task(stage.people.live(lambda: False, 1))
    await asyncio.wait_for(first.stopped.wait(), 60)
    await stage.start("second", "worker", [])

    async def ordered_again() -> bool:
        return len(await stage.rows("select 1 from orders where key ~ ':clip:[0-9]:2$' and state = 'settled'")) > 0

    await stage.until(ordered_again)
    stage.signal(first, signal.SIGCONT)
    live.cancel()
    await stage.everything_ended()

    assert stage.people.retries == 1
    charged = len((await stage.sandbox.get("/sandbox/charges")).json())
    [row] = await stage.rows("select count(*) as n from orders where run_id = %s and kind = 'clip'", run)
    assert row["n"] == charged + 1


async def test_rolling_restart(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that is asked to leave comes to its next superstep and ends well, its successor beside it, and
    nothing is done twice."""
    for _ in range(3):
        await stage.a_run()
    live = asyncio.create_task(stage.people.live(lambda: False, 1))
    worker = await stage.start("worker-0", "worker", [])
    took = []
    for number in range(1, 5):
        await asyncio.sleep(1.5)
        leaving, worker = worker, await stage.start(f"worker-{number}", "worker", [])
        began = time.monotonic()
        await asyncio.sleep(0.5)  # it has begun to listen to signals
        stage.signal(leaving, signal.SIGTERM)
        await asyncio.wait_for(leaving.ended.wait(), 30)
        took.append(time.monotonic() - began)
        assert leaving.code == 0
    live.cancel()
    await stage.everything_ended()

    with capsys.disabled():
        print(f" [left within {max(took):.1f} s]", end="")
    assert stage.people.retries == 0
    answers = await stage.rows("select spent_usd, result from orders where kind = 'model'")
    assert len(answers) == 9


@pytest.mark.parametrize("keys", ["one key", "ten keys"])
async def test_ten_clicks_at_two_processes(stage: Stage, keys: str) -> None:
    """Of ten identical approvals at once, from ten clients and at two processes, one is a decision. The others get
    the same answer under the same key, or are told who decided; none of them answers the next gate."""
    port = free_port()
    await stage.start("api-2", "api", [], port)
    worker = await stage.start("worker", "worker", [])
    run = await stage.a_run()
    urls = [f"http://127.0.0.1:{each}/v1/runs/{run}" for each in (stage.port, port)]
    headers = {"X-API-Key": KEYS[0]}

    async def seen(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(url, headers=headers)).json()  # type: ignore[no-any-return]
        return {}

    async def click(number: int) -> httpx.Response:
        key = "one" if keys == "one key" else f"key-{number}"
        body = {"gate": "ideation", "approved": True}
        async with httpx.AsyncClient(timeout=30) as client:
            url = f"{urls[number % 2]}/approve"
            return await client.post(url, json=body, headers=headers | {"Idempotency-Key": key})

    async with httpx.AsyncClient() as client:

        async def waiting(status: str) -> bool:
            return all([(await seen(client, url)).get("status") == status for url in urls])

        await stage.until(lambda: waiting("awaiting_ideation_approval"))
        said = await asyncio.gather(*(click(number) for number in range(10)))
        rows = await stage.rows("select gate, decided_by from decisions")
        assert len(rows) == 1
        if keys == "one key":
            assert [answer.status_code for answer in said] == [200] * 10
            assert all(answer.json() == said[0].json() for answer in said)
        else:
            assert sorted(answer.status_code for answer in said) == [200] + [409] * 9
            told = [answer.json()["error"] for answer in said if answer.status_code == 409]
            assert {error["code"] for error in told} == {"gate_not_open"}
            assert {error["details"]["last_decision"]["decided_by"] for error in told} == {rows[0]["decided_by"]}

        await stage.until(lambda: waiting("awaiting_publish_approval"))
        late = await asyncio.gather(*(click(number) for number in range(10, 14)))
        assert {answer.status_code for answer in late} == ({200} if keys == "one key" else {409})
        assert (await seen(client, urls[0]))["review"]["gate"] == "publish"
        assert len(await stage.rows("select 1 from decisions")) == 1
    assert not worker.ended.is_set()
