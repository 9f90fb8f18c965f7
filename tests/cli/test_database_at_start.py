"""`serve` and `worker` wait for a database that is unavailable, and refuse a pooler that keeps no session."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import psycopg.sql
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.app import ANNA, App
from tests.cli.terminals import MYLOWARE, environment, run_command, settings_of
from tests.databases import fresh_database


@contextmanager
def started(*arguments: str, cwd: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command for the block; its output goes to the files `out` and `err` in `cwd`."""
    with (cwd / "out").open("w") as out, (cwd / "err").open("w") as err:
        command = [str(MYLOWARE), *arguments]
        process = subprocess.Popen(command, cwd=cwd, env=environment(**settings), stdout=out, stderr=err, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def until_printed(path: Path, words: str, seconds: float = 100) -> str:
    deadline = time.monotonic() + seconds
    while words not in (text := path.read_text()):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)
    return text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", ["allow_connections false", "set default_transaction_read_only = on"])
@pytest.mark.slow
def test_worker_waits_for_the_database(app: App, postgres_server: str, tmp_path: Path, trouble: str) -> None:
    """One line names the setting; the worker starts when the database can be reached and written."""
    mended = trouble.replace("false", "true").replace("= on", "= off")
    with contextmanager(fresh_database)(postgres_server, "template1") as dsn:
        name = conninfo_to_dict(dsn)["dbname"]
        with psycopg.connect(postgres_server, autocommit=True) as server:
            server.execute(f'alter database "{name}" {trouble}')  # type: ignore[call-overload]
            with started("worker", cwd=tmp_path, **{**settings_of(app), "DATABASE_URL": dsn}) as worker:
                until_printed(tmp_path / "err", "Waiting for it.")
                time.sleep(2.5)  # two more attempts
                server.execute(f'alter database "{name}" {mended}')  # type: ignore[call-overload]
                until_printed(tmp_path / "out", "The worker is running.")
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(60) == 0

    [line] = (tmp_path / "err").read_text().strip().splitlines()
    assert re.fullmatch(r"DATABASE_URL: The database (cannot be reached: .*|is read-only.*)\. Waiting for it\.", line)


def allow_user(dsn: str, name: str) -> None:
    """Let the embedded server accept this operating system user too, until it is started again."""
    users = [pwd.getpwuid(os.geteuid()).pw_name, name]
    with psycopg.connect(dsn, autocommit=True) as connection:
        [(path,)] = connection.execute("show ident_file").fetchall()
        lines = [f'owner "{user}" postgres' for user in users]
        connection.execute(psycopg.sql.SQL("copy (select unnest({}::text[])) to {}").format(lines, path))
        connection.execute("select pg_reload_conf()")


@contextmanager
def pgbouncer(dsn: str, folder: Path) -> Iterator[str]:
    """Run PgBouncer in transaction mode in front of a database, and yield its connection string."""
    if shutil.which("pgbouncer") is None:
        for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "pgbouncer"]):
            subprocess.run(["apt-get", *arguments], check=False, capture_output=True)
    program = shutil.which("pgbouncer")
    assert program, "PgBouncer is needed: `apt-get install pgbouncer` failed, which needs root and a package index."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parameters = conninfo_to_dict(dsn)
    target = " ".join(f"{key}={value}" for key, value in parameters.items())
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\nfilms = {target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        "unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 10\n"
    )
    host = Path(str(parameters["host"]))
    owner = pwd.getpwuid(next(host.glob(".s.PGSQL.*[0-9]")).stat().st_uid).pw_name if host.is_absolute() else "nobody"
    user = ["-u", owner] if os.geteuid() == 0 else []
    allow_user(dsn, owner)
    with (folder / "pgbouncer.log").open("w") as log:
        process = subprocess.Popen([program, *user, str(config)], stdout=log, stderr=log, cwd="/")
    try:
        pooled = make_conninfo("", host="127.0.0.1", port=port, dbname="films", user=str(parameters["user"]))
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(pooled).close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (folder / "pgbouncer.log").read_text()
                time.sleep(0.1)
        yield pooled
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pooler_in_transaction_mode_needs_the_direct_address(
    app: App, postgres_server: str, migrated_template: str, tmp_path: Path
) -> None:
    """Without it every command that writes stops with one sentence; with it a film is made through the pooler."""
    with (
        contextmanager(fresh_database)(postgres_server, migrated_template) as dsn,
        pgbouncer(dsn, tmp_path) as pooled,
    ):
        settings = {**settings_of(app), "DATABASE_URL": pooled}
        for command in (("serve", "--port", "0"), ("worker",), ("runs", "cancel", "123456")):
            refused = run_command(*command, cwd=tmp_path, **settings)
            assert (refused.returncode, refused.stdout) == (1, "")
            [line] = refused.stderr.strip().splitlines()
            assert line.startswith("myloware: DATABASE_URL: A pooler in transaction mode")
            assert "MYLOWARE_DATABASE_DIRECT_URL" in line

        # A command that only reads needs no session.
        assert run_command("runs", "list", cwd=tmp_path, **settings).returncode == 0

        settings["MYLOWARE_DATABASE_DIRECT_URL"] = dsn
        with started("serve", "--port", "0", cwd=tmp_path, **settings) as server:
            url = re.findall(r"http://127\.0\.0\.1:\d+", until_printed(tmp_path / "out", "MyloWare is running"))[0]
            with httpx.Client(base_url=url, headers={"X-API-Key": ANNA}, timeout=30) as client:
                body = {"project": "tiny", "brief": "Rain"}
                run_id = client.post("/v1/runs/start", json=body).json()["run_id"]
                for gate in ("ideation", "publish"):
                    until_status(client, run_id, f"awaiting_{gate}_approval")
                    decision = {"gate": gate, "approved": True}
                    assert client.post(f"/v1/runs/{run_id}/approve", json=decision).status_code == 200
                until_status(client, run_id, "completed")
                assert client.get("/ready").status_code == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
        assert "Traceback" not in (tmp_path / "err").read_text()


def until_status(client: httpx.Client, run_id: str, status: str) -> None:
    deadline = time.monotonic() + 120
    while (run := client.get(f"/v1/runs/{run_id}").json())["status"] != status:
        assert time.monotonic() < deadline, run
        assert run["status"] != "failed", run["error"]
        time.sleep(1.5)  # below the rate limit
