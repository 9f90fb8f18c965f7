"""Settings of all tests."""

import gc
import os
import tempfile
from pathlib import Path

import certifi

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
