"""Settings of all tests."""

import gc
import os
import sys
import tempfile
from pathlib import Path

import certifi

#: Their fixtures are those of all folders: each worker has one database server and one sandbox process.
pytest_plugins = ["tests.databases", "tests.app"]

# Compiling the product and the tests takes seconds, in each process without their bytecode: it is kept in any case.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Modules are most of all objects, and stay: they are left out of garbage collection.
gc.disable()
# Each HTTP client reads the certificates of all authorities, which takes 50 ms. Tests reach this machine only, for
# which the first of them does.
_first, _end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
_folder = tempfile.TemporaryDirectory(prefix="myloware-authorities-")
os.environ["SSL_CERT_FILE"] = f"{_folder.name}/first.pem"
Path(os.environ["SSL_CERT_FILE"]).write_text(_first + _end)


def pytest_collection_finish() -> None:
    """Collect from now on what the tests create."""
    gc.freeze()
    gc.enable()
