"""streams: many open event streams of one process."""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from bench.aims import aims_of
from bench.driver import Driver
from bench.http_client import Client, request_bytes
from bench.options import API_KEY
from bench.results import Result
from bench.seeds import copy_run
from bench.stage import Stage

FIGURES = ("streams",)
#: Streams per API key: fewer than an API key can have open.
STREAMS_PER_KEY = 30
SETTLE_SECONDS = 2.0


async def measure(stage: Stage, figures: Collection[str]) -> list[Result]:
    """Return the memory of so many streams, and how long an event takes to the client of one of them."""
    dsn, count = await stage.database(migrated=True), stage.effort.streams
    async with AsyncExitStack() as stack:
        observer = await stack.enter_async_context(stage.observer(dsn))
        product = await stack.enter_async_context(stage.product(dsn, working=True))
        async with Driver(product, observer, last_gate="ideation") as driver:
            await driver.run(3, at_once=1)
            run_ids = await copy_run(observer, list(driver.timelines)[-1], count)
        client = Client(product.url, {"x-api-key": API_KEY})
        stack.callback(client.close)
        await observer.rows("update api_keys set can = 'admin' returning 1")
        keys = [
            (await client.post("/v1/keys", {"name": f"reader-{number}", "can": "start"}))["key"]
            for number in range(-(-count // STREAMS_PER_KEY))
        ]
        before = product.usage.memory_info().rss
        opened = [await _open(product.url, run_id, keys[i // STREAMS_PER_KEY]) for i, run_id in enumerate(run_ids)]
        await asyncio.sleep(SETTLE_SECONDS)
        grown, used, at = (product.usage.memory_info().rss - before) / 1e6, product.cpu_seconds, time.monotonic()
        await asyncio.sleep(SETTLE_SECONDS)
        share = 100 * (product.cpu_seconds - used) / (time.monotonic() - at)
        delays = [await _delay(client, run_ids[i], opened[i]) for i in range(0, count, max(1, count // 40))]
        for _, writer in opened:
            writer.close()
    memory, cpu, delay = aims_of("streams")
    return [
        Result(memory, grown, f"{grown:.1f} MB", note=f"{1000 * grown / count:.0f} kB each"),
        Result(cpu, share, f"{share:.1f} %"),
        Result(delay, 1000 * _p95(delays), f"{1000 * _p95(delays):.0f} ms", note=f"{len(delays)} cancellations"),
    ]


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _open(url: str, run_id: str, key: str) -> Stream:
    """Open a stream and return it, after the head of the response. It is open for as long as its writer is kept."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(str(address.hostname), int(address.port or 80))
    headers = {"x-api-key": key, "accept": "text/event-stream"}
    writer.write(request_bytes("GET", f"/v1/runs/{run_id}/events", headers=headers))
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"The stream was refused: {head.decode()}")
    return reader, writer


async def _delay(client: Client, run_id: str, stream: Stream) -> float:
    """Cancel the run of a stream, and return the seconds from the request to its event."""
    started = time.perf_counter()
    await client.post(f"/v1/runs/{run_id}/cancel", {})
    await stream[0].readuntil(b"cancel.requested")
    return time.perf_counter() - started


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]
