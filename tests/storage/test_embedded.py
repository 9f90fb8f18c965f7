"""The embedded server's manners."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
import pytest

from storage import embedded_postgres
from storage.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, readable_by_all
from tests.databases import fast_folder
from tests.storage.programs import line, program

USER = """
    import sys
    from pathlib import Path
    from storage.embedded_postgres import EmbeddedPostgres

    with EmbeddedPostgres(Path(sys.argv[1])):
        print("in", flush=True)
        sys.stdin.readline()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root cannot run Postgres itself")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that its owner alone may enter; at the end no server may be left in it."""
    with tempfile.TemporaryDirectory(prefix="myloware-tests-", dir=fast_folder()) as name:
        yield Path(name).resolve()
        shutil.rmtree(EmbeddedPostgres(Path(name)).socket, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster as initdb makes it, to be copied: making one takes longest."""
    with tempfile.TemporaryDirectory(prefix="myloware-tests-", dir=fast_folder()) as name:
        with EmbeddedPostgres(Path(name)):
            pass
        yield Path(name) / "pg18"


@pytest.fixture
def made(folder: Path, cluster: Path) -> Path:
    """A data folder with a cluster that no server runs in."""
    subprocess.run(["cp", "-a", cluster, folder], check=True)
    return folder


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "pg18" / "postmaster.pid").read_text().split("\n", 1)[0]))


def ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_processes_share_one_server_and_the_last_one_stops_it(made: Path) -> None:
    """The first to leave leaves the server to the others; the last takes it down."""
    server = EmbeddedPostgres(made)
    with program(USER, made) as first, program(USER, made) as second:
        assert (line(first), line(second)) == ("in", "in")
        running = postmaster(made)
        server.start()

        assert postmaster(made) == running
        # In a session of its own, where Ctrl-C in our terminal does not reach it.
        assert os.getsid(running.pid) not in {os.getsid(pid) for pid in (0, first.pid, second.pid)}
        first.communicate("\n")
        second.communicate("\n")

        assert (first.returncode, second.returncode) == (0, 0)
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute("show fsync").fetchone() == ("on",)
    server.stop()

    assert ended(running)


def test_a_server_whose_users_were_all_killed_is_adopted_and_then_stopped(made: Path) -> None:
    """After `kill -9` of everybody the next user finds the same server, and is its last user."""
    with program(USER, made) as first, program(USER, made) as second:
        assert (line(first), line(second)) == ("in", "in")
        running = postmaster(made)
    with EmbeddedPostgres(made):
        assert postmaster(made) == running

    assert ended(running)


def test_what_was_committed_survives_the_death_of_all(made: Path) -> None:
    """After `kill -9` of users and server the next start recovers, and waits until it has."""
    with program(USER, made) as user:
        assert line(user) == "in"
        server = EmbeddedPostgres(made)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("create table kept as select number from generate_series(1, 200000) as number")
        postmaster(made).kill()
    with EmbeddedPostgres(made), psycopg.connect(server.dsn) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (200_000,)


def test_a_killed_initdb_does_not_count(folder: Path) -> None:
    """A cluster that was half made when everybody died is made again."""
    with program(USER, folder) as user:
        while not (folder / "pg18.new" / "PG_VERSION").exists():
            time.sleep(0.001)
        user.kill()
        for process in psutil.process_iter(["name"]):
            if process.info["name"] in {"initdb", "postgres"} and str(folder) in _cwd(process):
                process.kill()

    assert not (folder / "pg18").exists()
    with EmbeddedPostgres(folder) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def _cwd(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def test_files_left_by_a_dead_server_are_not_believed(made: Path) -> None:
    """A left-over process id that is another process's by now neither stops the start nor is harmed."""
    with program("import sys; sys.stdin.readline()") as stranger:
        with EmbeddedPostgres(made) as server:
            pid_file = (made / "pg18" / "postmaster.pid").read_text().split("\n", 1)
        (made / "pg18" / "postmaster.pid").write_text(f"{stranger.pid}\n{pid_file[1]}")
        server._make_socket_folder()
        (server.socket / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n{pid_file[1]}")
        with EmbeddedPostgres(made):
            assert postmaster(made).pid != stranger.pid

        assert stranger.poll() is None


def test_many_may_start_at_once_from_nothing(folder: Path) -> None:
    """Four that begin together on an empty folder all get in."""
    with ExitStack() as stack:
        users = [stack.enter_context(program(USER, folder)) for _ in range(4)]

        assert [line(user) for user in users] == ["in"] * 4
        running = postmaster(folder)
        for user in users:
            user.communicate("\n")

        assert ended(running)


@as_root
def test_for_root_the_data_stays_where_it_was_asked_for(folder: Path) -> None:
    """Below a folder that only root may enter the server runs as nobody, and only its own folder is its."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    data = private / "data"
    with EmbeddedPostgres(data):
        assert postmaster(data).username() == "nobody"
        assert (data / "pg18" / "PG_VERSION").read_text() == "18\n"

    assert (data.stat().st_uid, private.stat().st_uid) == (0, 0)


@as_root
def test_for_root_binaries_that_nobody_may_read_are_copied(folder: Path) -> None:
    """The copy runs as nobody, and is made once."""
    private, cache = folder / "private", folder / "cache"
    private.mkdir(mode=0o700)
    packages = embedded_postgres._packages()
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, private / name, symlinks=True)
    folder.chmod(0o755)
    copy = readable_by_all(private, cache)
    initdb = copy / "embedded_postgres" / "pginstall" / "bin" / "initdb"
    said = subprocess.run([initdb, "--version"], capture_output=True, text=True, user="nobody", cwd="/")

    assert said.stdout.startswith("initdb (PostgreSQL) 18")
    made = copy.stat().st_ctime_ns
    assert readable_by_all(private, cache) == copy
    assert copy.stat().st_ctime_ns == made
    assert readable_by_all(copy, cache) == copy


def test_a_cluster_that_cannot_start_is_explained(made: Path) -> None:
    """The error is what the server said, and nothing is left running."""
    (made / "pg18" / "postgresql.conf").write_text("no_such_setting = 1\n")
    server = EmbeddedPostgres(made)

    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        server.start()
    assert not server._running()


def test_somebody_elses_socket_folder_is_refused(folder: Path) -> None:
    """In a folder that others may write in, what stands in our place is not used."""
    server = EmbeddedPostgres(folder)
    server.socket.write_text("")
    try:
        with pytest.raises(EmbeddedPostgresError, match="belongs to somebody else"):
            server.start()
    finally:
        server.socket.unlink()


def test_a_start_that_another_process_never_finishes_is_not_waited_for_for_ever(folder: Path) -> None:
    """After its patience it says so."""
    with (folder / "starting.lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(EmbeddedPostgresError, match="Another process has been starting"):
            EmbeddedPostgres(folder, patience=0.1).start()
