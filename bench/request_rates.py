"""webhook, get, list, start: requests per second beside bare FastAPI."""

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from bench.aims import Aim, aims_of
from bench.driver import BRIEF, Driver, webhook
from bench.http_client import Client, request_bytes, throughput
from bench.options import API_KEY, PROJECT
from bench.results import Result, ratio
from bench.seeds import copy_run
from bench.stage import Stage, run_program

FIGURES = ("webhook", "get", "list", "start")
#: More requests than any server here answers in a second.
REQUESTS_PER_SECOND = 8_000
COPIES = 300
#: Long enough for the seed to stop while a run waits for its clips.
CLIP_SECONDS = 3.0
SUBMITTED = "select task_id from orders where kind = 'clip' and state = 'submitted'"
KEY = {"x-api-key": API_KEY}

Requests = Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Side:
    """A server, and how the requests of each figure are built for it."""

    url: str
    requests: dict[str, Requests]


async def measure(stage: Stage, figures: Collection[str]) -> list[Result]:
    """Return the lines of these figures."""
    async with AsyncExitStack() as stack:
        ours, bare = await _open_sides(stage, stack)
        results = []
        for figure in (name for name in FIGURES if name in figures):
            results += [await _compare(stage, aim, ours, bare) for aim in aims_of(figure)]
        return results


async def _compare(stage: Stage, aim: Aim, ours: Side, bare: Side) -> Result:
    connections = 1 if aim.case.startswith("1 ") else 16
    rates: dict[str, list[float]] = {ours.url: [], bare.url: []}
    for number in range(stage.effort.rounds + 1):
        for side in (ours, bare):
            requests = side.requests[aim.figure]()
            rate = await throughput(side.url, requests, connections=connections, seconds=stage.effort.seconds)
            if number:  # the first round warms up
                rates[side.url].append(rate)
    return ratio(aim, rates[ours.url], rates[bare.url], "req/s")


async def _open_sides(stage: Stage, stack: AsyncExitStack) -> tuple[Side, Side]:
    """Start both servers on databases with the same runs. The product runs as an API without a worker."""
    dsn, bare_dsn = await stage.database(migrated=True), await stage.database(migrated=False)
    run_ids, tasks = await _seed(stage, dsn)
    product = await stack.enter_async_context(stage.product(dsn, working=False))
    bare = await stack.enter_async_context(run_program("bench.bare_api", bare_dsn))
    client = Client(product.url, KEY)
    contents = [await client.request("GET", f"/v1/runs/{run_id}") for run_id in run_ids]
    client.close()
    await _insert_contents(stage, bare_dsn, contents)
    start = json.dumps({"project": PROJECT, "brief": BRIEF}).encode()
    webhooks = _webhooks(stage, "/webhook", tasks)
    ours = {
        "webhook": _webhooks(stage, "/v1/webhooks/sora", tasks),
        "get": _cycle([request_bytes("GET", f"/v1/runs/{run_id}", headers=KEY) for run_id in run_ids]),
        "list": _cycle([request_bytes("GET", "/v1/runs?limit=20", headers=KEY)]),
        "start": _cycle([request_bytes("POST", "/v1/runs/start", start, KEY)]),
    }
    theirs = {
        "webhook": webhooks,
        "get": _cycle([request_bytes("GET", f"/runs/{run_id}") for run_id in run_ids]),
        "list": _cycle([request_bytes("GET", "/runs")]),
        "start": webhooks,
    }
    return Side(product.url, ours), Side(bare.url, theirs)


def _cycle(requests: Sequence[bytes]) -> Requests:
    return lambda: itertools.cycle(requests)


def _webhooks(stage: Stage, path: str, tasks: Sequence[str]) -> Requests:
    """Return a function that signs webhooks, each with an id of its own, about these videos in turn."""

    def sign() -> list[bytes]:
        count = max(100, round(REQUESTS_PER_SECOND * stage.effort.seconds))
        signed = map(webhook, itertools.islice(itertools.cycle(tasks), count))
        return [request_bytes("POST", path, body, headers) for body, headers in signed]

    return sign


async def _seed(stage: Stage, dsn: str) -> tuple[list[str], list[str]]:
    """Create runs: half of them completed and half at the ideation gate, and others that wait for their clips.

    Return the ids of the former, mixed, and the tasks of the clips that the latter wait for.
    """
    async with stage.observer(dsn) as observer:
        async with stage.product(dsn, working=True, clip_seconds=CLIP_SECONDS) as product:
            async with Driver(product, observer, clip_seconds=CLIP_SECONDS) as driver:
                await driver.run(1, at_once=1)
                completed = list(driver.timelines)
            async with Driver(product, observer, last_gate="ideation") as driver:
                await driver.run(1, at_once=1)
                paused = list(driver.timelines)
            async with Driver(product, observer, announces=lambda *_: False) as driver:
                waiting = await driver.start_run()
                while len(await observer.rows(SUBMITTED)) < 3:  # noqa: ASYNC110 - another process submits them
                    await asyncio.sleep(0.05)
        run_ids = await copy_run(observer, completed[0], COPIES) + await copy_run(observer, paused[0], COPIES)
        await copy_run(observer, waiting, COPIES)
        rows = await observer.rows(SUBMITTED)
    random.Random(1).shuffle(run_ids)
    return run_ids, [row["task_id"] for row in rows]


async def _insert_contents(stage: Stage, dsn: str, contents: Sequence[Any]) -> None:
    """Give the bare API the answers of the product: both send as many bytes."""
    async with stage.observer(dsn) as observer, observer.connection.cursor() as cursor:
        insert = "insert into runs (id, status, content) values (%s, %s, %s)"
        await cursor.executemany(insert, [(run["run_id"], run["status"], Jsonb(run)) for run in contents])
        await observer.rows("select pg_stat_statements_reset()")
