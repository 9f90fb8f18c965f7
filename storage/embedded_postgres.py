"""A Postgres server from a wheel, shared by all processes that use one data folder."""

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Self

import psutil
from psycopg.pq import PGconn, Ping

from storage.postgres_binaries import EmbeddedPostgresError, program_path, unprivileged_user

SETTINGS = ("listen_addresses=", "max_connections=200", "timezone=UTC", "unix_socket_permissions=0700")
# Run by root, the server refers to its data folder by this name: `nobody` may lack access to the folders above.
WORKING_DIRECTORY = Path("/proc/self/cwd")
POLL_INTERVAL_SECONDS = 0.02
MAX_LAUNCHES = 3
MAX_LOG_BYTES = 5_000_000
#: Fast shutdown, then immediate (recovered from at the next start), then by force; with seconds to wait after each.
SHUTDOWN_SIGNALS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


class EmbeddedPostgres:
    """The server of one data folder. Enter it, connect to `dsn`, leave it.

    Any number of processes can be inside: the first starts the server, or adopts one that still runs after its
    users were killed; the last one out stops it. Three kernel locks keep the count, so `kill -9` needs no clean-up:

    - `users.lock` is shared by all users;
    - `starting.lock` is held by the process that starts or stops the server;
    - `server.lock` is held by the server's own processes as long as one of them lives.

    Postgres refuses to run as root. For root it runs as a user of its own, started inside its data folder, so the data
    stays in the given folder even when that user has no access to its parents (a folder below /root, mode 0700). Only
    `pg18/` and the socket's folder change owner. Binaries that it cannot read are copied to /var/cache/myloware.

    Only the operating system user of these processes can connect: by the modes of the socket and its folder, and by
    the access rules. A cluster of an earlier version, of `nobody` or without the rules, is changed on start.

    `start` and `stop` block: call them in a thread when an event loop runs.
    """

    def __init__(self, folder: Path, *, timeout_seconds: float = 60.0) -> None:
        """Prepare a server; `folder` is created on start, `timeout_seconds` limits a start including recovery."""
        self.folder = folder.expanduser().resolve()
        self.data = self.folder / "pg18"
        self.timeout_seconds = timeout_seconds
        # A socket path has room for about 100 bytes, so it cannot be in the data folder.
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        self.socket = Path(f"/tmp/myloware-{os.geteuid()}-{name}")  # noqa: S108 - its owner is checked
        self.dsn = f"postgresql://postgres@/postgres?host={self.socket}&port=5432"
        self._user = unprivileged_user()
        self._users: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the server accepts connections. Raises EmbeddedPostgresError."""
        if self._users is not None:
            raise EmbeddedPostgresError("This EmbeddedPostgres was started already.")
        with _map_errors(f"The data folder {self.folder} cannot be used"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._starting_lock() as starting:
                self._users = (self.folder / "users.lock").open("ab")
                fcntl.flock(self._users, fcntl.LOCK_SH)
                try:
                    self._create_cluster(starting)
                    self._take_over_cluster()
                    self._create_socket_folder()
                    self._write_access_rules()
                    self._ensure_running()
                except BaseException:
                    self._leave()
                    raise

    def stop(self) -> None:
        """Leave; the last user stops the server. Raises EmbeddedPostgresError."""
        if self._users is None:
            return
        with _map_errors(f"The server in {self.folder} cannot be stopped"), self._starting_lock():
            self._leave()

    def _leave(self) -> None:
        assert self._users is not None  # noqa: S101
        with self._users as users:
            self._users = None
            if try_lock(users):
                self._shut_down()

    @contextlib.contextmanager
    def _starting_lock(self) -> Iterator[IO[bytes]]:
        with (self.folder / "starting.lock").open("ab") as starting:
            if not _wait_until(lambda: try_lock(starting), self.timeout_seconds):
                raise EmbeddedPostgresError(
                    f"Another process has been starting or stopping the server in {self.folder} "
                    f"for more than {self.timeout_seconds:g} seconds."
                )
            yield starting

    def _create_socket_folder(self) -> None:
        with contextlib.suppress(FileExistsError):
            self.socket.mkdir(mode=0o700)
        found = self.socket.lstat()
        # Every user can create folders in /tmp, and the owner of this one could impersonate the server.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), self._user.get("user")}:
            raise EmbeddedPostgresError(f"{self.socket} belongs to another user: remove it.")
        self._change_owner(self.socket)

    def _create_cluster(self, starting: IO[bytes]) -> None:
        if self.data.exists():
            return
        new = self.folder / "pg18.new"  # a killed initdb leaves only this folder, which is never used
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._change_owner(new)
        command = [self._program("initdb"), "-D", str(self._server_path(new)), "-U", "postgres", "-A", "peer"]
        command += ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # An initdb that outlives its caller keeps the lock, so no second one runs at the same time.
        result = subprocess.run(  # noqa: S603
            command, cwd=new, capture_output=True, text=True, check=False,
            env=_environment(), pass_fds=[starting.fileno()], **self._user,
        )  # fmt: skip
        if result.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed in {self.folder}: {result.stderr.strip()[-1000:]}")
        new.rename(self.data)

    def _take_over_cluster(self) -> None:
        """Give a cluster that `nobody` owns to the server's own user."""
        uid, group = self._user.get("user"), self._user.get("group")
        if uid is None or group is None or self.data.stat().st_uid == uid:
            return
        if self._is_running():
            self._shut_down()
        with contextlib.suppress(FileNotFoundError):
            if self.socket.lstat().st_uid == self.data.stat().st_uid:
                shutil.rmtree(self.socket)
        # The folder itself comes last: an interrupted change is begun again.
        for path in (*self.data.rglob("*"), self.data):
            os.chown(path, uid, group, follow_symlinks=False)

    def _write_access_rules(self) -> None:
        """Let the server accept the user of this process only, and know it as the superuser."""
        name = pwd.getpwuid(os.geteuid()).pw_name
        rules = {"pg_hba.conf": "local all all peer map=owner\n", "pg_ident.conf": f'owner "{name}" postgres\n'}
        changed = {file: text for file, text in rules.items() if (self.data / file).read_text() != text}
        for file, text in changed.items():
            new = self.folder / f"{file}.new"
            new.write_text(text)
            new.chmod(0o600)
            self._change_owner(new)
            # Not written in place: the server's user may have put a link there.
            new.replace(self.data / file)
        if changed and self._is_running():
            self._send(signal.SIGHUP)

    def _ensure_running(self) -> None:
        launches = 0
        deadline = time.monotonic() + self.timeout_seconds
        # It accepts connections after crash recovery only.
        while not (self._is_running() and PGconn.ping(f"{self.dsn}&connect_timeout=2".encode()) == Ping.OK):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"The server in {self.folder} did not accept connections within {self.timeout_seconds:g} seconds; "
                    "see postgres.log there."
                )
            if not self._is_running():
                if launches == MAX_LAUNCHES:
                    lines = (self.folder / "postgres.log").read_text(errors="replace").splitlines()
                    end_of_log = " ".join(lines[-3:]) or "its log is empty."
                    raise EmbeddedPostgresError(f"The server in {self.folder} does not start: {end_of_log}")
                self._launch()
                launches += 1
            time.sleep(POLL_INTERVAL_SECONDS)

    def _launch(self) -> None:
        # No process of the server lives, so these are stale, and the process id may belong to another process.
        for stale in (self.data / "postmaster.pid", self.socket / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)
        log_path = self.folder / "postgres.log"
        if log_path.exists() and log_path.stat().st_size > MAX_LOG_BYTES:
            log_path.replace(self.folder / "postgres.log.old")
        command = [self._program("postgres"), "-D", str(self._server_path(self.data)), "-k", str(self.socket)]
        command += [part for setting in SETTINGS for part in ("-c", setting)]
        with (self.folder / "server.lock").open("ab") as lock, log_path.open("ab") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # In its own session, out of reach of Ctrl-C in the terminal.
            server = subprocess.Popen(  # noqa: S603
                command, cwd=self.data, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=_environment(), pass_fds=[lock.fileno()], **self._user,
            )  # fmt: skip
        # Reaps the process when it ends, whichever process stops it.
        threading.Thread(target=server.wait, name="embedded-postgres", daemon=True).start()

    def _is_running(self) -> bool:
        """Return whether any process of the server lives. Call it under `starting.lock` only."""
        with (self.folder / "server.lock").open("ab") as lock:
            return not try_lock(lock)

    def _shut_down(self) -> None:
        for signal_, seconds in SHUTDOWN_SIGNALS:
            self._send(signal_)
            if _wait_until(lambda: not self._is_running(), seconds):
                with contextlib.suppress(OSError):
                    self.socket.rmdir()
                return
        raise EmbeddedPostgresError(f"The server in {self.folder} does not stop; see postgres.log there.")

    def _send(self, signal_: signal.Signals) -> None:
        """Send a signal to the server, if it runs."""
        with contextlib.suppress(psutil.NoSuchProcess, OSError, ValueError):
            server = psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]))
            if os.path.samefile(server.cwd(), self.data):
                server.send_signal(signal_)

    def _program(self, name: str) -> str:
        return str(program_path(name, readable_by_all=bool(self._user)))

    def _server_path(self, folder: Path) -> Path:
        return WORKING_DIRECTORY if self._user and WORKING_DIRECTORY.exists() else folder

    def _change_owner(self, folder: Path) -> None:
        if self._user:
            os.chown(folder, self._user["user"], self._user["group"])


def _environment() -> dict[str, str]:
    # Nothing of this process's environment: it may contain keys, and the server's user can read that of the server.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def try_lock(file: IO[bytes]) -> bool:
    """Lock the file until it is closed, unless another process has locked it; return whether it is locked here."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(is_done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_SECONDS)
    return True


@contextlib.contextmanager
def _map_errors(message: str) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(f"{message}: {error}.") from error
