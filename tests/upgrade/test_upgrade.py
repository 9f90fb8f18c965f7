"""Nothing that an earlier version wrote is lost: its runs are there, and go on to their end."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
from psycopg import sql

from graph.status import Status
from storage.decision_chain import verify_chain
from storage.postgres_binaries import program_path
from tests.app import App, SandboxClient, settings_for
from tests.databases import fresh_database

VERSIONS = sorted(Path(__file__).parent.glob("*.tar.gz"))

#: The statuses in which a run waits for a person, or for nothing any more.
SETTLED = ("completed", "failed", "awaiting_ideation_approval", "awaiting_publish_approval")

#: The times of decisions are part of their hashes, and stay.
TIMES = """
select table_name, column_name from information_schema.columns join information_schema.tables using (table_name)
where columns.table_schema = 'public' and table_type = 'BASE TABLE' and table_name <> 'decisions'
  and data_type = 'timestamp with time zone'
"""


def _restore(dsn: str, folder: Path, sandbox: str, facts: dict[str, str]) -> None:
    """Restore the database with the address of the new sandbox, as if it had been dumped now."""
    dump = folder / "database.sql"
    dump.write_text(dump.read_text().replace(facts["sandbox"], sandbox))
    psql = [program_path("psql", readable_by_all=False), "--quiet", "--set=ON_ERROR_STOP=1", "--file", dump]
    subprocess.run([*psql, "--dbname", dsn], check=True, capture_output=True)
    shift = datetime.now(UTC) - datetime.fromisoformat(facts["dumped_at"])
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table, column in connection.execute(TIMES).fetchall():
            names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
            connection.execute(sql.SQL("update {table} set {column} = {column} + %s").format(**names), (shift,))
    _shift_sandbox(folder / "sandbox", shift)


def _shift_sandbox(folder: Path, shift: timedelta) -> None:
    """Shift the times of the sandbox, which are seconds since the epoch in columns that end in `_at`."""
    with sqlite3.connect(next(folder.glob("*.sqlite3"))) as connection:
        for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            for _, column, *_ in connection.execute(f"pragma table_info({table})").fetchall():
                if column.endswith("_at"):
                    connection.execute(f"update {table} set {column} = {column} + ?", (shift.total_seconds(),))


@contextmanager
def restored(archive: Path, server: str, folder: Path) -> Iterator[tuple[str, SandboxClient]]:
    """Yield the connection string and the sandbox of a restored archive."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    facts = json.loads((folder / "facts.json").read_text())
    with contextmanager(fresh_database)(server, "template1") as dsn:
        sandbox = SandboxClient(folder / "sandbox")
        address = sandbox.url.removeprefix("http://")
        sandbox.close()
        _restore(dsn, folder, address, facts)
        sandbox = SandboxClient(folder / "sandbox", port=address.rpartition(":")[2])
        try:
            yield dsn, sandbox
        finally:
            sandbox.close()


def _runs(app: App) -> dict[str, dict[str, Any]]:
    return {run["run_id"]: run for run in app.client.get("/v1/runs", params={"limit": 100}).json()["runs"]}


def _events(app: App) -> int:
    return int(app.rows("select count(*) as count from events")[0]["count"])


def _check_keys(app: App, former: set[str], session: tuple[str] | None) -> None:
    """Fail unless the keys have new ids, nothing public has the former ones, and the session goes on."""
    ids = {row["id"] for row in app.rows("select id from api_keys")}
    paths = [f"/v1/runs/{run_id}{path}" for run_id in _runs(app) for path in ("", "/events", "/history", "/reviews")]
    texts = [app.client.get(path).text for path in paths]

    assert len(ids) == len(former)
    assert not ids & former
    assert any(key in text for key in ids for text in texts)
    assert not [text for text in texts for key in former if key in text]
    assert session is not None
    message = {"message": "Which projects are there?", "session_id": session[0]}
    assert app.client.post("/v1/chat/supervisor", json=message).status_code == 200


def _bring_to_the_end(app: App, run: dict[str, Any]) -> str:
    """Approve what is open, retry what can be retried, and return the final status."""
    for _ in range(8):
        run = app.run(run["run_id"])
        if run["status"] == "failed" and run["error"].get("retryable"):
            path = f"/v1/runs/{run['run_id']}/retry"
            answer = app.client.post(path, json={"not_made": True})
            if answer.status_code == 409:
                confirm = answer.json()["error"]["details"]["confirm"]
                answer = app.client.post(path, json={"not_made": True, "confirm": confirm})
            assert answer.status_code == 200, answer.text
        elif run["review"]:
            app.decide(run["run_id"], run["review"]["gate"], digest=run["review"]["digest"])
        run = app.until_true(run["run_id"], lambda found: found["status"] in SETTLED, seconds=90)
        if run["status"] == "completed" or (run["status"] == "failed" and not run["error"].get("retryable")):
            break
    return str(run["status"])


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("archive", VERSIONS, ids=lambda archive: archive.name.removesuffix(".tar.gz"))
def test_every_run_goes_on(archive: Path, postgres_server: str, tmp_path: Path) -> None:
    """A run in every state is there after the upgrade, with all its events, and ends without a double charge."""
    with restored(archive, postgres_server, tmp_path) as (dsn, sandbox):
        settings = settings_for(dsn, tmp_path, sandbox)
        with psycopg.connect(dsn) as connection:
            before = dict(connection.execute("select id::text, status from runs").fetchall())
            former = {row[0] for row in connection.execute("select id from api_keys").fetchall()}
            session = connection.execute("select id from chat_sessions").fetchone()
            events = connection.execute("select count(*) from events").fetchone()
        with App(settings, sandbox, with_worker=False) as app:
            assert {run_id: run["status"] for run_id, run in _runs(app).items()} == before
            assert set(before.values()) == set(get_args(Status))
            assert events == (_events(app),)
            assert app.in_loop(verify_chain(app.state.services.db)) == []
            assert len(former) == 2
            _check_keys(app, former, session)
        with App(settings, sandbox) as app:
            final = {run["brief"]: _bring_to_the_end(app, run) for run in _runs(app).values()}
            ended = {brief for brief, status in final.items() if status != "completed"}
            charges = Counter(charge["prompt"] for charge in sandbox.client.get("/sandbox/charges").json())

            assert ended == {"Was rejected", "Was cancelled"}
            assert [prompt for prompt, count in charges.items() if count > 1] == []
            assert app.in_loop(verify_chain(app.state.services.db)) == []


def test_there_is_an_archive() -> None:
    """The first version that has to be upgraded is 0.2.0, and its archive is small."""
    assert [archive.name for archive in VERSIONS][:1] == ["0.2.0.tar.gz"]
    assert all(archive.stat().st_size < 5 * 2**20 for archive in VERSIONS)
