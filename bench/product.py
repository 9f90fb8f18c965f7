"""The product as a process of its own, as `myloware serve` runs it, with the vendors replaced by stubs.

`python -m bench.product '{"dsn": …}'` prints its URL as a line of JSON, then a line for each event at a vendor. A line
"work" on its standard input starts the worker; the process ends when its standard input does.
"""

import asyncio
import json
import logging
import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import uvloop
from pydantic import SecretStr

from api.http_server import run_server
from api.listening import listen, url_of
from api.monitoring import serve_metrics
from api.settings import Settings
from api.wiring import AppState, open_app_state, reconcile_keys
from bench.options import API_KEY, WEBHOOK_SECRET, ProductOptions
from bench.stubs import Report, StubModel, StubModeration, StubProvider
from graph.graph import build_run_graph
from runs.worker import run_worker

PROFILES = """
[[profiles]]
hosts = ["127.0.0.1"]
models = ["stub"]
sizes = ["720x1280"]
seconds = [4, 8]
usd_per_second = "0.01"
"""


async def main(options: ProductOptions) -> None:
    """Serve until standard input ends."""
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    listening = listen()
    async with AsyncExitStack() as stack:
        settings = _settings(options)
        state = await stack.enter_async_context(open_app_state(settings))
        await reconcile_keys(settings, state.services.db)
        state = _with_stubs(state, options.clip_seconds)
        await stack.enter_async_context(serve_metrics(state))
        await stack.enter_async_context(run_server(state, listening))
        _print({"url": url_of(listening), "pid": os.getpid()})
        while command := await commands.readline():
            if command == b"work\n":
                await stack.enter_async_context(run_worker(state.services))


def _settings(options: ProductOptions) -> Settings:
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    profiles = folder / "profiles.toml"
    profiles.write_text(PROFILES)
    return Settings(
        _env_file=None,
        data_dir=folder,
        metrics_port=options.metrics_port,
        database_url=SecretStr(options.dsn),
        api_keys=[SecretStr(API_KEY)],
        rate_limit=1_000_000_000,
        day_cap_usd=Decimal(1_000_000),
        openai_base_url="http://127.0.0.1:9/v1",
        video_base_url="http://127.0.0.1:9/v1",
        video_model="stub",
        video_profiles=profiles,
        video_webhook_secrets=[WEBHOOK_SECRET],
        publish_folder=folder / "published",
    )


def _with_stubs(state: AppState, clip_seconds: float) -> AppState:
    """Return the state with stubs for clips, films, publications, the model and moderation."""
    ledger = state.services.ledger
    ledger.providers = {
        "clip": [StubProvider("videos", _report("clip"), seconds=clip_seconds)],
        "render": [StubProvider("renders", _report("render"))],
        "publication": [StubProvider("posts", _report("publication"), has_file=False)],
    }
    deps = replace(
        state.dependencies, model=StubModel(), moderation=StubModeration(), publisher="posts", read_mark=None
    )
    # The films of the stub cannot be signed.
    services = replace(state.services, run_graph=build_run_graph(deps).compile(name="run"), signs_films=False)
    return replace(state, services=services, dependencies=deps)


def _report(kind: str) -> Report:
    def report(event: str, key: str, task_id: str) -> None:
        _print({"kind": kind, "event": event, "key": key, "task": task_id, "at": time.monotonic()})

    return report


def _print(line: object) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(main(ProductOptions(**json.loads(sys.argv[1]))))
