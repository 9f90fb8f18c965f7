"""`GET /ready`: the service can work, or what is missing. A read-only database is reported like an unavailable one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.app import ANNA, App, SandboxClient, open_app


@pytest.fixture
def own_app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """An app with a worker, whose database and store the test breaks."""
    with open_app(postgres_server, migrated_template, sandbox_process) as opened:
        yield opened


def ready(app: App) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"{app.url}/ready", timeout=30)
    body: dict[str, Any] = answer.json()
    return answer.status_code, body


def until_ready(app: App, condition: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not condition(*(found := ready(app))):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found[1]


def set_read_only(server: str, app: App, value: str) -> None:
    """Let every session of the app's database refuse writes, as a standby does after a failover."""
    name = conninfo_to_dict(app.dsn)["dbname"]
    with psycopg.connect(server, autocommit=True) as other:
        other.execute(f'alter database "{name}" set default_transaction_read_only = {value}')  # type: ignore[call-overload]
        other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


@pytest.mark.slow
def test_ready_service_needs_no_key(own_app: App) -> None:
    """Every check is ok; a broken store is one sentence that names its setting."""
    body = until_ready(own_app, lambda status, _: status == 200)
    assert body == {"status": "ready", "checks": dict.fromkeys(("database", "schema", "worker", "store"), "ok")}
    probe = own_app.settings.data_dir / "artifacts/probe"
    assert list(probe.iterdir()) == []
    probe.rmdir()
    probe.touch()

    body = until_ready(own_app, lambda status, _: status == 503)
    assert body["checks"]["store"].startswith("MYLOWARE_DATA_DIR: the store of clips and films cannot be used: ")
    assert str(own_app.settings.data_dir) not in body["checks"]["store"]


def test_service_without_a_worker_is_not_ready(quiet_app: App) -> None:
    """The other checks are ok."""
    status, body = ready(quiet_app)

    assert (status, body["status"]) == (503, "unavailable")
    others = {"database": "ok", "schema": "ok", "store": "ok"}
    assert body["checks"] == {**others, "worker": "No worker is running."}


@pytest.mark.slow
def test_read_only_database_is_unavailable(own_app: App, postgres_server: str) -> None:
    """Every writing request is 503 `database_unavailable` with `Retry-After`, and succeeds after the failover ends."""
    until_ready(own_app, lambda status, _: status == 200)
    set_read_only(postgres_server, own_app, "on")
    body = until_ready(own_app, lambda _, body: "read-only" in body["checks"]["database"])
    assert body["status"] == "unavailable"
    headers = {"X-API-Key": ANNA, "Idempotency-Key": "one"}
    request = {"project": "tiny", "brief": "Rain"}
    answers = [
        httpx.post(f"{own_app.url}/v1/runs/start", json=request, headers=headers, timeout=30),
        httpx.get(f"{own_app.url}/v1/runs", headers=headers, timeout=30),
        httpx.post(f"{own_app.url}/v1/chat/supervisor", json={"message": "Hello"}, headers=headers, timeout=30),
    ]
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert answer.json()["error"]["code"] == "database_unavailable"
        assert answer.headers["Retry-After"] == "5"
    assert httpx.get(f"{own_app.url}/health").status_code == 200

    set_read_only(postgres_server, own_app, "off")
    until_ready(own_app, lambda status, _: status == 200)
    again = httpx.post(f"{own_app.url}/v1/runs/start", json=request, headers=headers, timeout=30)
    assert again.status_code == 200, again.text
    own_app.until(again.json()["run_id"], "awaiting_ideation_approval")
