"""wake, paused: many runs that wait at a gate."""

import asyncio
import time
from collections.abc import Collection, Sequence
from statistics import median

from bench.aims import aims_of
from bench.driver import Driver
from bench.http_client import Client
from bench.options import API_KEY
from bench.results import Result
from bench.seeds import copy_run
from bench.stage import Observer, Program, Stage

FIGURES = ("wake", "paused")
#: The runs of the drain that are not ended after this time count as lost.
DRAIN_SECONDS = 150.0
#: A run that is started during the drain starves if its ideas take longer.
STARVED_SECONDS = 10.0
PROBE_SECONDS = 3.0
IDLE_SECONDS = 1.0


async def measure(stage: Stage, figures: Collection[str]) -> list[Result]:
    """Return the lines of these figures."""
    results: list[Result] = []
    paused: list[str] = []
    dsn = await stage.database(migrated=True)
    async with stage.observer(dsn) as observer:
        async with stage.product(dsn, working=True) as product:
            async with Driver(product, observer, last_gate="ideation") as driver:
                await driver.run(3, at_once=1)
                template = list(driver.timelines)[-1]
            if "paused" in figures:
                before = await _idle(stage, product)
                paused = await copy_run(observer, template, stage.effort.paused)
                results += _compare_idle(before, await _idle(stage, product))
        if "wake" in figures:
            rates = [await _wake(stage, dsn, observer, template) for _ in range(stage.effort.rounds)]
            note = (
                f"{min(rates):.1f} to {max(rates):.1f} in {len(rates)} rounds; approved, until their clips are ordered"
            )
            wake, drain = aims_of("wake")
            results.append(Result(wake, median(rates), f"{median(rates):.1f} runs/s", note=note))
            paused = paused or await copy_run(observer, template, stage.effort.paused)
            lost, starved, text = await _drain(stage, dsn, observer, paused)
            results.append(Result(drain, lost + starved, f"{lost} lost, {starved} starved", note=text))
    return results


def _compare_idle(before: tuple[float, float], after: tuple[float, float]) -> list[Result]:
    memory, cpu = aims_of("paused")
    grown, busier = (late - early for early, late in zip(before, after, strict=True))
    texts = f"{before[0]:.1f} MB, then {after[0]:.1f} MB", f"{before[1]:.1f} %, then {after[1]:.1f} %"
    return [Result(memory, grown, texts[0]), Result(cpu, busier, texts[1])]


async def _idle(stage: Stage, product: Program) -> tuple[float, float]:
    """Return the memory in MB and the CPU in percent of a core of an idle process."""
    shares = []
    await asyncio.sleep(IDLE_SECONDS)
    for _ in range(stage.effort.rounds):
        used, at = product.cpu_seconds, time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        shares.append(100 * (product.cpu_seconds - used) / (time.monotonic() - at))
    return product.usage.memory_info().rss / 1e6, median(shares)


async def _wake(stage: Stage, dsn: str, observer: Observer, template: str) -> float:
    """Approve paused runs while no worker runs, start one, and return how many per second then wait for their clips."""
    run_ids = await copy_run(observer, template, stage.effort.woken)
    async with stage.product(dsn, working=False, clip_seconds=1e9) as product:
        await _decide(product, observer, run_ids, approved=True)
        started = time.monotonic()
        product.command("work")
        reading = asyncio.create_task(_discard(product))
        waiting = "status = 'awaiting_video_generation'"
        while await _count(observer, run_ids, waiting) < len(run_ids):
            if time.monotonic() - started > DRAIN_SECONDS:
                break
            await asyncio.sleep(0.05)
        seconds, woken = time.monotonic() - started, await _count(observer, run_ids, waiting)
        # The orders of these runs would be polled in the next round.
        await observer.rows("update orders set next_poll_at = null where state = 'submitted' returning 1")
        await observer.rows("update runs set next_wakeup_at = null where status <> 'completed' returning 1")
    await reading
    return woken / seconds


async def _drain(stage: Stage, dsn: str, observer: Observer, run_ids: Sequence[str]) -> tuple[int, int, str]:
    """Reject paused runs while no worker runs, start one, and return how many it lost, how many starved, and a note."""
    waits: list[float] = []
    async with stage.product(dsn, working=False) as product:
        await _decide(product, observer, run_ids, approved=False)
        started = time.monotonic()
        product.command("work")
        async with Driver(product, observer, last_gate="ideation") as driver:
            while time.monotonic() - started < DRAIN_SECONDS:
                probe = await driver.start_run()
                await asyncio.wait([driver.open[probe]], timeout=STARVED_SECONDS)
                timeline = driver.timelines[probe]
                waits.append(timeline.ended - timeline.started if timeline.ended else STARVED_SECONDS)
                if await _count(observer, run_ids, "status = 'failed' and next_wakeup_at is null") == len(run_ids):
                    break
                await asyncio.sleep(PROBE_SECONDS)
        seconds = time.monotonic() - started
        lost = len(run_ids) - await _count(observer, run_ids, "status = 'failed'")
    starved = sum(wait >= STARVED_SECONDS for wait in waits)
    note = f"rejected, in {seconds:.0f} s; runs started during it waited up to {max(waits):.1f} s for their ideas"
    return lost, starved, note


async def _decide(product: Program, observer: Observer, run_ids: Sequence[str], *, approved: bool) -> None:
    """Decide about the ideas of all these runs."""
    query = "select id::text, review ->> 'digest' as digest from runs where id = any(%s::uuid[])"
    client, rows = Client(product.url, {"x-api-key": API_KEY}), await observer.rows(query, list(run_ids))

    async def decide_rest() -> None:
        while rows:
            row = rows.pop()
            body = {"gate": "ideation", "approved": approved, "digest": row["digest"]}
            await client.post(f"/v1/runs/{row['id']}/approve", body)

    await asyncio.gather(*(decide_rest() for _ in range(16)))
    client.close()


async def _count(observer: Observer, run_ids: Sequence[str], condition: str) -> int:
    query = f"select count(*) as found from runs where id = any(%s::uuid[]) and {condition}"
    row = await (await observer.connection.execute(query.encode(), (list(run_ids),))).fetchone()
    return int(row["found"]) if row else 0


async def _discard(product: Program) -> None:
    while await product.output():
        pass
