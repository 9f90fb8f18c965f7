"""Folders that only the user of this process can enter."""

from contextlib import suppress
from pathlib import Path

#: The subfolders of the data folder.
DATA_FOLDERS = ("artifacts", "cache", "films", "postgres", "sandbox", "scratch")


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
