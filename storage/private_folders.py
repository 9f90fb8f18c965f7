"""Folders that only the user of this process can enter."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: The subfolders of the data folder.
DATA_FOLDERS = ("artifacts", "cache", "films", "postgres", "sandbox", "scratch")

#: How the names of the processes' own folders for temporary files begin.
OWN_FOLDER = "process-"
#: Versions before 0.3 left folders without a lock: deleted at this age.
UNLOCKED_SECONDS = 86_400


def make_private(folder: Path) -> Path:
    """Create the folder if necessary, close it to other users, and return it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(PermissionError):  # of another user, such as that of a mounted volume
        folder.chmod(0o700)
    return folder


def make_data_folder_private(folder: Path) -> None:
    """Create the data folder if necessary, and close it and what it contains to other users."""
    for existing in [make_private(folder), *(folder / name for name in DATA_FOLDERS)]:
        if existing.is_dir():
            make_private(existing)


@contextmanager
def open_scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder below this one for the temporary files of this process, and delete those of ended processes.

    A process locks its folder for as long as it lives, in whichever container. The folder around it is locked at first,
    so that no process sees the folder of another one before it is locked.
    """
    starting = _locked(make_private(folder), fcntl.LOCK_EX)
    with tempfile.TemporaryDirectory(prefix=OWN_FOLDER, dir=folder, ignore_cleanup_errors=True) as own:
        living = _locked(Path(own), fcntl.LOCK_EX)
        for path in set(folder.iterdir()) - {Path(own)}:
            _delete_left_over(path)
        os.close(starting)
        try:
            yield Path(own)
        finally:
            os.close(living)


def _delete_left_over(path: Path) -> None:
    with suppress(OSError):  # locked by its process, or gone
        handle = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.name.startswith(OWN_FOLDER) or time.time() - path.stat().st_mtime > UNLOCKED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _locked(folder: Path, mode: int) -> int:
    """Return a handle that holds the lock of the folder until it is closed. Raises BlockingIOError if it is held."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, mode)
    except BlockingIOError:
        os.close(handle)
        raise
    return handle
