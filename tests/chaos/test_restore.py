"""A backup from the middle of a chaos run is restored onto an empty machine, after the world has gone on without it."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from providers.orders import digest_of
from providers.publications.post import id_of
from storage.artifacts import Artifacts
from storage.backup import Manifest, Service, restore_backup, write_backup
from storage.database import Database, open_pool as open_database_pool
from storage.embedded_postgres import EmbeddedPostgres
from tests.chaos.actors import Actors
from tests.chaos.background import BackgroundTasks
from tests.chaos.environment import API_KEYS, Environment
from tests.chaos.faults import FaultInjector, ProcessKiller
from tests.chaos.harness import SLOTS, open_harness
from tests.chaos.invariants import Facts, find_violations, read_facts
from tests.chaos.options import Options
from tests.chaos.processes import ProcessPool, open_pool
from tests.databases import fast_folder

OPTIONS = Options(mean_lifetime_seconds=30.0, outage_interval_seconds=0.0)
#: Runs at a time, and those that are started just before the backup: they order everything after it.
RUNS, NEW_RUNS = 3, 2


def _sandbox_of(environment: Environment) -> httpx.AsyncClient:
    """Return a client of the sandbox that keeps no connection, which may be closed while a request is sent."""
    own = environment.sandbox
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=own.base_url, headers=own.headers, timeout=30, limits=limits)


async def _counts(sandbox: httpx.AsyncClient) -> tuple[int, int]:
    """Return the numbers of charges and posts."""
    return len((await sandbox.get("/sandbox/charges")).json()), len((await sandbox.get("/sandbox/posts")).json())


async def _wait(tasks: BackgroundTasks, condition: Callable[[], Any], seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while not await condition():
        tasks.raise_failures()
        assert time.monotonic() < ends_at, "timed out"
        await asyncio.sleep(0.2)


async def _open_service(stack: AsyncExitStack, dsn: str, data_dir: Path) -> Service:
    db = Database(await stack.enter_async_context(open_database_pool(dsn, prepare=False)))
    return Service(dsn, db, partial(Artifacts, db, data_dir / "artifacts"), data_dir / "c2pa.pem")


async def _first_life(environment: Environment, pool: ProcessPool, actors: Actors, backup: Path) -> Manifest:
    """Let runs go on among kills and faults, take a backup in the middle, and kill everything some time later."""
    rng, is_full = random.Random(3), asyncio.Event()
    killer, injector = ProcessKiller(pool, OPTIONS, rng), FaultInjector(environment, OPTIONS, rng)
    for slot, role in SLOTS:
        pool.tasks.start(killer.keep_running(slot, role))
    pool.tasks.start(actors.run(lambda: not is_full.is_set(), RUNS))
    pool.tasks.start(injector.run())

    async def is_in_the_middle() -> bool:
        return (await _counts(environment.sandbox))[0] >= 3

    await _wait(pool.tasks, is_in_the_middle, 300)
    is_full.set()
    for _ in range(NEW_RUNS):
        await actors.start_run()
    async with AsyncExitStack() as stack:
        data_dir = Path(environment.settings["MYLOWARE_DATA_DIR"])
        service = await _open_service(stack, environment.postgres.dsn, data_dir)
        manifest = await write_backup(service, backup, lambda files: files)
    charges, posts = await _counts(environment.sandbox)

    async def has_gone_on() -> bool:
        now = await _counts(environment.sandbox)
        return now[0] >= charges + 2 and now[1] >= posts + 1

    await _wait(pool.tasks, has_gone_on, 300)
    await pool.tasks.cancel_all()
    for process in psutil.Process(pool._fork_server.pid).children(recursive=True):
        process.kill()
    return manifest


async def _second_life(environment: Environment, folder: Path, backup: Path) -> tuple[Facts, list[dict[str, Any]]]:
    """Restore the backup onto an empty machine, let a person answer, and return the facts and the events of holds."""
    folder.mkdir()
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        service = await _open_service(stack, postgres.dsn, folder / "data")
        await restore_backup(service, backup, lambda files: files, nothing_since=False)
        settings = environment.settings | {"DATABASE_URL": postgres.dsn, "MYLOWARE_DATA_DIR": str(folder / "data")}
        machine = replace(environment, folder=folder, postgres=postgres, settings=settings)
        pool = await stack.enter_async_context(open_pool(machine, BackgroundTasks()))
        actors = Actors(environment.api, environment.sandbox, API_KEYS, random.Random(4))
        actors.requests_changes = False
        runs = await service.db.fetch_all("select id::text, status from runs order by created_at")
        actors.started = [run["id"] for run in runs]
        actors.open_runs = {run["id"]: {"status": run["status"]} for run in runs}
        for slot, role in SLOTS:
            await pool.start(slot, role)
        pool.tasks.start(actors.run(lambda: False, 1))

        async def has_ended() -> bool:
            return not actors.open_runs

        await _wait(pool.tasks, has_ended, 300)
        facts = await read_facts(postgres.dsn, environment.sandbox, actors)
        query = "select kind, subject from events where kind in ('order.held', 'order.released', 'order.replayed')"
        return facts, await service.db.fetch_all(query)


def _by_bound_order(facts: Facts) -> Facts:
    """Return the facts with each charge and post under the order that has its id, which may be an earlier attempt."""
    bound = {order["task_id"]: order for order in facts.orders if order["task_id"]}
    charges = [
        {**charge, "prompt": bound[charge["video_id"]]["request"]["prompt"]} if charge["video_id"] in bound else charge
        for charge in facts.charges
    ]
    posts = [
        {**post, "request_id": id_of(bound[post["request_id"]]["request"], bound[post["request_id"]]["key"])}
        if post["request_id"] in bound
        else post
        for post in facts.posts
    ]
    return replace(facts, charges=charges, posts=posts)


def _unneeded_takes(facts: Facts, before: int) -> list[Mapping[str, Any]]:
    """Return which of the charges before the restore are takes that no order needs any more.

    An earlier take that could not be used then can be used after the restore, and nothing was paid for the clip.
    """
    clips = [order for order in facts.orders if order["kind"] == "clip"]
    known = {order["request"]["prompt"] for order in clips}
    settled = {_clip_of(order["request"]["prompt"]) for order in clips if order["state"] == "settled"}
    paid_again = {_clip_of(charge["prompt"]) for charge in facts.charges[before:]}
    unknown = [charge for charge in facts.charges[:before] if charge["prompt"] not in known]
    return [charge for charge in unknown if _clip_of(charge["prompt"]) in settled - paid_again]


def _clip_of(prompt: str) -> str:
    """Return the run and the number of the clip from the tag of a prompt."""
    return prompt.rpartition("(Slate ")[2].rpartition("-")[0]


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_nothing_is_charged_or_posted_twice_after_a_restore(capsys: pytest.CaptureFixture[str]) -> None:
    """What was ordered and posted after the backup is found or released by a person, and each run ends."""
    with tempfile.TemporaryDirectory(prefix="myloware-restore-", dir=fast_folder()) as name:
        folder, backup = Path(name) / "first", Path(name) / "backup.tar"
        folder.mkdir()
        async with open_harness(folder, seed=5) as (opened, pool, actors), _sandbox_of(opened) as sandbox:
            environment = replace(opened, sandbox=sandbox)
            actors.sandbox = sandbox
            actors.requests_changes = False
            manifest = await _first_life(environment, pool, actors, backup)
            lost = await _counts(environment.sandbox)
            await environment.sandbox.delete("/sandbox/faults")
            facts, events = await _second_life(environment, Path(name) / "second", backup)
            ended = await _counts(environment.sandbox)
    kinds = [event["kind"] for event in events]
    summary = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    with capsys.disabled():
        print(
            f" [{manifest.unfinished} of {manifest.runs} runs held, {lost} charges and posts, then {ended}: {summary}]"
        )

    assert manifest.unfinished >= NEW_RUNS
    # A run that was acknowledged during the backup may have been lost with what it ordered.
    lost_runs = set(actors.started) - set(facts.started)
    tags = [f"(Slate {digest_of(run_id)[:8]}-" for run_id in lost_runs]
    lost_posts = {id_of({}, f"{run_id}:publication:1:{attempt}") for run_id in lost_runs for attempt in range(1, 9)}
    facts = _by_bound_order(facts)
    unneeded = _unneeded_takes(facts, lost[0])
    known = [each for each in facts.charges if each not in unneeded and not any(tag in each["prompt"] for tag in tags)]
    posts = [post for post in facts.posts if post["request_id"] not in lost_posts]
    violations = find_violations(replace(facts, charges=known, posts=posts))
    details = [f"{len(tags)} runs were lost", *map(str, facts.charges), *map(str, facts.orders)]
    assert violations == [], "\n".join([*violations, *details])
    assert {run["status"] for run in facts.runs} == {"completed"}
    assert kinds.count("order.held") >= NEW_RUNS
