"""Write `tests/upgrade/VERSION.tar.gz`: the data of a release, with a run in every state.

Run once per release: `.venv/bin/python -m tests.upgrade.write_dump`. The archive contains the database, the stored
files, and the state of the sandbox that the open orders belong to.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tarfile
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from storage.embedded_postgres import EmbeddedPostgres
from storage.migrate import migrate
from storage.postgres_binaries import program_path
from tests.app import App, SandboxClient, settings_for

HERE = Path(__file__).parent


def main() -> None:
    """Write the archive of this version."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sandbox").mkdir()
        sandbox = SandboxClient(folder / "sandbox")
        with EmbeddedPostgres(folder / "postgres") as server:
            asyncio.run(migrate(server.dsn))
            _create_runs(server.dsn, folder, sandbox)
            sandbox.close()
            command = [program_path("pg_dump", readable_by_all=False), "--no-owner", "--no-privileges"]
            dumped = subprocess.run([*command, "--dbname", server.dsn], check=True, capture_output=True)
        (folder / "database.sql").write_bytes(dumped.stdout)
        facts = {"dumped_at": datetime.now(UTC).isoformat(), "sandbox": sandbox.url.removeprefix("http://")}
        (folder / "facts.json").write_text(json.dumps(facts))
        target = HERE / f"{version('myloware')}.tar.gz"
        with tarfile.open(target, "w:gz") as archive:
            for part in ("facts.json", "database.sql", "data/artifacts", "sandbox/state.sqlite3", "sandbox/videos"):
                archive.add(folder / part, part)
    print(f"{target.name}: {target.stat().st_size / 2**20:.1f} MiB")


def _create_runs(dsn: str, folder: Path, sandbox: SandboxClient) -> None:
    with _app(dsn, folder, sandbox) as app:
        completed = app.start("A completed run")
        app.complete(completed)
        app.client.post(f"/v1/runs/{completed}/fork").raise_for_status()
        app.until(app.start("Waits at the ideation gate"), "awaiting_ideation_approval")
        _revised(app, app.start("Was revised and waits at the publish gate"))
        rejected = app.start("Was rejected")
        app.until(rejected, "awaiting_ideation_approval")
        app.decide(rejected, "ideation", approved=False)
        cancelled = app.start("Was cancelled")
        app.client.post(f"/v1/runs/{cancelled}/cancel").raise_for_status()
        app.client.post("/v1/chat/supervisor", json={"message": "Which projects are there?"}).raise_for_status()
        _failed(app, sandbox, "Failed, and can be retried", "fail", code="generation_failed")
        _failed(app, sandbox, "Has an order of unknown outcome", "create_500")
        approved = app.start("Was approved, and nothing more")
        app.until(approved, "awaiting_ideation_approval")
        slow = app.start("Waits for its clips #slow")
        app.until(slow, "awaiting_ideation_approval")
        rendering = app.start("Waits for its render", project="four")
        app.until(rendering, "awaiting_ideation_approval")
        app.decide(rendering, "ideation")
        app.until_true(rendering, lambda run: len(sandbox.charges(rendering)) == 4)
        app.decide(slow, "ideation")
        app.until(rendering, "awaiting_render")
    with _app(dsn, folder, sandbox, with_worker=False) as app:
        app.decide(approved, "ideation")
        app.start("Was started, and nothing more")
        runs = app.client.get("/v1/runs", params={"limit": 100}).json()["runs"]
        print(json.dumps({run["brief"]: run["status"] for run in runs}, indent=2))


def _until_publish(app: App, run_id: str) -> str:
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_publish_approval")
    return run_id


def _revised(app: App, run_id: str) -> None:
    _until_publish(app, run_id)
    app.decide(run_id, "publish", approved=False, decision="revise", edits={"caption": "Rain, and nothing else."})
    app.until(run_id, "awaiting_publish_approval", revision=2)


def _failed(app: App, sandbox: SandboxClient, brief: str, fault: str, **parameters: Any) -> None:
    """Bring a run to its end in failure: the fault stays until it has failed."""
    run_id = app.start(brief)
    app.until(run_id, "awaiting_ideation_approval")
    sandbox.fault(fault, times=None, **parameters)
    app.decide(run_id, "ideation")
    while app.run(run_id)["status"] != "failed":
        time.sleep(0.1)
    sandbox.clear()


def _app(dsn: str, folder: Path, sandbox: SandboxClient, *, with_worker: bool = True) -> App:
    # Without webhooks: clips are only polled.
    return App(settings_for(dsn, folder, sandbox), sandbox, with_worker=with_worker)


if __name__ == "__main__":
    main()
