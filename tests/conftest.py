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
_authorities = tempfile.NamedTemporaryFile("w", suffix=".pem")
_authorities.write(_first + _end)
_authorities.flush()
os.environ["SSL_CERT_FILE"] = _authorities.name


def pytest_collection_finish() -> None:
    """Collect from now on what the tests create."""
    gc.freeze()
    gc.enable()
