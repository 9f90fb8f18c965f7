"""The embedded Postgres server."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
import pytest

from storage.embedded_postgres import EmbeddedPostgres
from storage.postgres_binaries import (
    SERVER_USER,
    EmbeddedPostgresError,
    copy_readable_by_all,
    packages_folder,
    program_path,
)
from tests.databases import fast_folder
from tests.storage.programs import read_line, run_program

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
    """A data folder with access for its owner only."""
    with tempfile.TemporaryDirectory(prefix="myloware-tests-", dir=fast_folder()) as name:
        yield Path(name).resolve()
        shutil.rmtree(EmbeddedPostgres(Path(name)).socket, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster to copy: initdb takes longest."""
    with tempfile.TemporaryDirectory(prefix="myloware-tests-", dir=fast_folder()) as name:
        with EmbeddedPostgres(Path(name)):
            pass
        yield Path(name) / "pg18"


@pytest.fixture
def initialised(folder: Path, cluster: Path) -> Path:
    """A data folder with a cluster and no running server."""
    subprocess.run(["cp", "-a", cluster, folder], check=True)
    return folder


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "pg18" / "postmaster.pid").read_text().split("\n", 1)[0]))


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_processes_share_one_server_and_the_last_one_stops_it(initialised: Path) -> None:
    """The server runs until its last user leaves."""
    server = EmbeddedPostgres(initialised)
    with run_program(USER, initialised) as first, run_program(USER, initialised) as second:
        assert (read_line(first), read_line(second)) == ("in", "in")
        running = postmaster(initialised)
        server.start()

        assert postmaster(initialised) == running
        # In a session of its own, out of reach of Ctrl-C in the terminal.
        assert os.getsid(running.pid) not in {os.getsid(pid) for pid in (0, first.pid, second.pid)}
        first.communicate("\n")
        second.communicate("\n")

        assert (first.returncode, second.returncode) == (0, 0)
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute("show fsync").fetchone() == ("on",)
    server.stop()

    assert has_ended(running)


def test_server_of_killed_users_is_adopted_and_stopped(initialised: Path) -> None:
    """After `kill -9` of all users the next one uses the same server, and is its last user."""
    with run_program(USER, initialised) as first, run_program(USER, initialised) as second:
        assert (read_line(first), read_line(second)) == ("in", "in")
        running = postmaster(initialised)
    with EmbeddedPostgres(initialised):
        assert postmaster(initialised) == running

    assert has_ended(running)


def test_committed_data_survives_a_crash(initialised: Path) -> None:
    """After `kill -9` of users and server the next start waits for the recovery."""
    with run_program(USER, initialised) as user:
        assert read_line(user) == "in"
        server = EmbeddedPostgres(initialised)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("create table kept as select number from generate_series(1, 200000) as number")
        postmaster(initialised).kill()
    with EmbeddedPostgres(initialised), psycopg.connect(server.dsn) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (200_000,)


def test_cluster_of_a_killed_initdb_is_discarded(folder: Path) -> None:
    """The next start creates the cluster again."""
    with run_program(USER, folder) as user:
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


def test_stale_files_of_a_dead_server_are_ignored(initialised: Path) -> None:
    """A stale process id of another process neither prevents the start nor is signalled."""
    with run_program("import sys; sys.stdin.readline()") as unrelated:
        with EmbeddedPostgres(initialised) as server:
            pid_file = (initialised / "pg18" / "postmaster.pid").read_text().split("\n", 1)
        (initialised / "pg18" / "postmaster.pid").write_text(f"{unrelated.pid}\n{pid_file[1]}")
        server._create_socket_folder()
        (server.socket / ".s.PGSQL.5432.lock").write_text(f"{unrelated.pid}\n{pid_file[1]}")
        with EmbeddedPostgres(initialised):
            assert postmaster(initialised).pid != unrelated.pid

        assert unrelated.poll() is None


@pytest.mark.slow
def test_concurrent_starts_on_an_empty_folder_succeed(folder: Path) -> None:
    """Four processes that start together share one server."""
    with ExitStack() as stack:
        users = [stack.enter_context(run_program(USER, folder)) for _ in range(4)]

        assert [read_line(user) for user in users] == ["in"] * 4
        running = postmaster(folder)
        for user in users:
            user.communicate("\n")

        assert has_ended(running)


@as_root
def test_root_gets_its_data_in_the_given_folder(folder: Path) -> None:
    """Below a folder that only root can enter the server runs as its own user, which owns its own folder only."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    data = private / "data"
    with EmbeddedPostgres(data):
        assert postmaster(data).username() == SERVER_USER
        assert (data / "pg18" / "PG_VERSION").read_text() == "18\n"

    assert (data.stat().st_uid, private.stat().st_uid) == (0, 0)


def connect_as(user: str, server: EmbeddedPostgres) -> subprocess.CompletedProcess[str]:
    """Try to connect as the superuser, in a process of this user."""
    psql = program_path("psql", readable_by_all=True)
    return subprocess.run(
        [psql, server.dsn, "-Atc", "select 1"], capture_output=True, text=True, check=False, user=user, cwd="/"
    )


@as_root
def test_other_users_cannot_connect(initialised: Path) -> None:
    """The socket is closed to them, and were it open, the server would refuse them."""
    with EmbeddedPostgres(initialised) as server:
        closed = connect_as("nobody", server)
        server.socket.chmod(0o755)
        (server.socket / ".s.PGSQL.5432").chmod(0o777)
        refused = [connect_as(user, server) for user in ("nobody", SERVER_USER)]

        assert (connect_as("root", server).stdout, closed.returncode) == ("1\n", 2)
        assert "Permission denied" in closed.stderr
    assert [(each.returncode, "Peer authentication failed" in each.stderr) for each in refused] == [(2, True)] * 2


@as_root
@pytest.mark.parametrize("is_running", [False, True], ids=["stopped", "running"])
@pytest.mark.slow
def test_cluster_of_an_earlier_version_is_changed_on_start(initialised: Path, is_running: bool) -> None:
    """It belonged to nobody and trusted every process. Its data stay; its server is replaced."""
    with EmbeddedPostgres(initialised) as server, psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("create table kept as select 1 as number")
    former, data = pwd.getpwnam("nobody"), initialised / "pg18"
    (data / "pg_hba.conf").write_text("local all all trust\n")
    for path in (*data.rglob("*"), data):
        os.chown(path, former.pw_uid, former.pw_gid)
    old = EmbeddedPostgres(initialised)
    old._user = {"user": former.pw_uid, "group": former.pw_gid, "extra_groups": []}
    with ExitStack() as stack:
        if is_running:
            # As an earlier version starts it, before its user is killed.
            lock = stack.enter_context((initialised / "users.lock").open("ab"))
            fcntl.flock(lock, fcntl.LOCK_SH)
            old._create_socket_folder()
            old._ensure_running()
            assert connect_as("nobody", old).stdout == "1\n"
        with EmbeddedPostgres(initialised) as server:
            assert postmaster(initialised).username() == SERVER_USER
            assert {path.stat().st_uid for path in (data, *data.rglob("*"))} == {pwd.getpwnam(SERVER_USER).pw_uid}
            assert connect_as("nobody", server).returncode == 2
            with psycopg.connect(server.dsn) as connection:
                assert connection.execute("select number from kept").fetchone() == (1,)
            # The last user, which stops the server, is this one.
            stack.close()


@as_root
def test_access_rules_of_a_running_server_are_changed(initialised: Path) -> None:
    """A server that trusts every process and still runs reads the new rules."""
    with EmbeddedPostgres(initialised) as server:
        (initialised / "pg18" / "pg_hba.conf").write_text("local all all trust\n")
        server._send(signal.SIGHUP)
        server.socket.chmod(0o755)
        (server.socket / ".s.PGSQL.5432").chmod(0o777)
        while connect_as("nobody", server).returncode:
            time.sleep(0.05)
        with EmbeddedPostgres(initialised):
            deadline = time.monotonic() + 20
            while not connect_as("nobody", server).returncode:
                assert time.monotonic() < deadline
                time.sleep(0.05)


@as_root
def test_a_user_without_privileges_runs_the_server_itself(folder: Path) -> None:
    """The server belongs to the user of the process, who alone can connect."""
    source = """
        import os, pwd, sys
        from pathlib import Path
        import psycopg
        from storage.embedded_postgres import EmbeddedPostgres
        from storage.postgres_binaries import program_path

        program_path("postgres", readable_by_all=True)
        user = pwd.getpwnam("nobody")
        os.setgroups([]), os.setgid(user.pw_gid), os.setuid(user.pw_uid)
        with EmbeddedPostgres(Path(sys.argv[1])) as server, psycopg.connect(server.dsn) as connection:
            print(connection.execute("select current_user").fetchone()[0], flush=True)
    """
    folder.chmod(0o755)
    own = folder / "own"
    own.mkdir()
    shutil.chown(own, "nobody")
    with run_program(source, own) as program:
        assert program.communicate() == ("postgres\n", None)


@as_root
def test_root_gets_a_copy_of_binaries_that_nobody_cannot_read(folder: Path) -> None:
    """The copy runs as another user, and is created once."""
    private, cache = folder / "private", folder / "cache"
    private.mkdir(mode=0o700)
    packages = packages_folder()
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, private / name, symlinks=True)
    folder.chmod(0o755)
    copy = copy_readable_by_all(private, cache)
    initdb = copy / "embedded_postgres" / "pginstall" / "bin" / "initdb"
    result = subprocess.run([initdb, "--version"], capture_output=True, text=True, user="nobody", cwd="/")

    assert result.stdout.startswith("initdb (PostgreSQL) 18")
    created_at = copy.stat().st_ctime_ns
    assert copy_readable_by_all(private, cache) == copy
    assert copy.stat().st_ctime_ns == created_at
    assert copy_readable_by_all(copy, cache) == copy


def test_failed_start_reports_the_server_log(initialised: Path) -> None:
    """The error contains the end of the log, and no process is left running."""
    (initialised / "pg18" / "postgresql.conf").write_text("no_such_setting = 1\n")
    server = EmbeddedPostgres(initialised)

    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        server.start()
    assert not server._is_running()


def test_socket_folder_of_another_user_is_refused(folder: Path) -> None:
    """In a folder that others can write to, a foreign file at the socket's path is not used."""
    server = EmbeddedPostgres(folder)
    server.socket.write_text("")
    try:
        with pytest.raises(EmbeddedPostgresError, match="belongs to another user"):
            server.start()
    finally:
        server.socket.unlink()


def test_start_times_out_while_another_process_starts(folder: Path) -> None:
    """The error names the other process."""
    with (folder / "starting.lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(EmbeddedPostgresError, match="Another process has been starting"):
            EmbeddedPostgres(folder, timeout_seconds=0.1).start()
