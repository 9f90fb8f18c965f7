"""A Postgres of the operator's own: that of Debian's package if it is installed, else the embedded one in its place."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from storage.embedded_postgres import EmbeddedPostgres
from tests.databases import fast_folder
from tests.storage.test_s3 import free_port

PASSWORD = "a-long-password"


def packaged_programs() -> Path | None:
    """Return the folder of the newest `initdb` and `pg_ctl` of Debian's packages, or None."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    found = {int(folder.parent.name): folder for folder in folders if (folder / "initdb").exists()}
    return found[max(found)] if found else None


def describe_postgres() -> str:
    """Return which Postgres `own_postgres` runs."""
    if (programs := packaged_programs()) is None:
        return "the embedded one: the package postgresql is not installed"
    printed = subprocess.run([programs / "initdb", "--version"], capture_output=True, text=True, check=True).stdout
    return f"PostgreSQL {re.findall(r'[0-9.]+', printed)[0]} of Debian's package, {programs}"


@contextmanager
def own_postgres() -> Iterator[str]:
    """Yield the address of an empty database: of the package by TCP, as a role with a password that is no superuser."""
    with tempfile.TemporaryDirectory(prefix="myloware-postgres-", dir=fast_folder()) as folder:
        if (programs := packaged_programs()) is None:
            with EmbeddedPostgres(Path(folder)) as server:
                yield server.dsn
            return
        with _running(programs, Path(folder)) as server_address:
            with psycopg.connect(server_address, autocommit=True) as connection:
                connection.execute(f"create role myloware login password '{PASSWORD}'")  # type: ignore[call-overload]
                connection.execute("create database myloware owner myloware")
            yield make_conninfo(server_address, user="myloware", password=PASSWORD, dbname="myloware")


@contextmanager
def _running(programs: Path, folder: Path) -> Iterator[str]:
    """Run a server of a new cluster at a free port for the block, and yield the address of its superuser."""
    user: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True}
    if os.geteuid() == 0:  # which Postgres refuses
        shutil.chown(folder, "postgres", "postgres")
        user |= {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}
    data, port = folder / "data", free_port()
    (password := folder / "password").write_text(PASSWORD)
    password.chmod(0o644)  # the folder above is private
    cluster = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}"]
    _check(subprocess.run([*cluster, "-E", "UTF8", "--locale=C.UTF-8"], **user))
    # The data is deleted with the block, so it does not need to reach a disk.
    options = f"-p {port} -k {folder} -c fsync=off"
    control = [programs / "pg_ctl", "-D", data, "-w"]
    _check(
        subprocess.run([*control, "-l", folder / "log", "-o", options, "start"], **{**user, "capture_output": False})
    )
    try:
        yield make_conninfo(host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname="postgres")
    finally:
        _check(subprocess.run([*control, "-m", "fast", "stop"], **user))


def _check(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, f"{finished.args}: {finished.stderr}"
