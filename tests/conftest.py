"""Settings of all tests."""

import gc
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import certifi
import pytest

#: Their fixtures are those of all folders: each worker has one database server and one sandbox process.
pytest_plugins = ["tests.databases", "tests.app"]

#: The files whose slow tests take longest, longest first: `make slow` starts them in this order, so that the last files
#: are short ones, and no process works alone in the end.
LONGEST = (
    "chaos/test_crash_harness.py",
    "api/test_vendor_faults.py",
    "remotion/test_remotion_service.py",
    "chaos/test_take_over.py",
    "chaos/test_restore.py",
    "api/test_change_requests.py",
    "chat/test_injections.py",
    "docs/test_quickstart.py",
    "console/test_pages_browser.py",
    "console/test_run_browser.py",
    "storage/test_s3.py",
    "cli/test_shared_data.py",
    "operate/test_several_processes.py",
    "console/test_browser.py",
    "console/test_new_runs_browser.py",
    "console/test_chat_browser.py",
    "runs/test_killed_processes.py",
    "console/test_ideation_browser.py",
    "console/test_publish_browser.py",
    "bench/test_kill_demo.py",
    "runs/test_slow_connections.py",
    "studio/test_studio.py",
    "cli/test_wheel.py",
    "operate/test_compose.py",
    "upgrade/test_upgrade.py",
    "cli/test_database_at_start.py",
    "cli/test_runs.py",
    "api/test_served_reviews.py",
    "chat/test_adaptive_attacker.py",
    "reviews/test_waiting.py",
    "machine/test_machine.py",
    "cli/test_commands.py",
)

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


@pytest.hookimpl(trylast=True)  # after the tests that are not marked were deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files: the longest, then those with the most tests. Tests of one file stay in their order."""
    tests = Counter(item.path for item in items)
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path, len(places)), -tests[item.path]))
