"""Log lines: one for each event, with ids, without secrets, and failures once per change."""

from __future__ import annotations

import io
import json
import logging
import time

import httpx
import pytest
import typer
from pydantic import SecretStr

from api.settings import Settings
from cli.output import exit_with_error, print_notice
from telemetry import logs
from telemetry.logs import LineFormatter, identified, log_outage, log_recovery
from tests.app import ANNA, App
from tests.operate.log_lines import collected

RUN = "0e9b4f5a-3a65-4b0c-9b7e-0f4c2c6f5a11"


def test_a_run_is_found_by_its_ids(app: App) -> None:
    """Requests, events and orders have their ids; paths and queries are left out."""
    with collected() as lines:
        run_id = app.start()
        app.until(run_id, "awaiting_ideation_approval")
        link = app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation"})
        token = link.json()["url"].rpartition("/")[2]
        httpx.get(f"{app.url}/review/{token}", params={"token": "in-the-query"})
        app.decide(run_id, "ideation")
        app.until(run_id, "awaiting_publish_approval")
        found = lines.all()
        text = lines.stream.getvalue()

    access = [line for line in found if line["logger"] == "api.access"]
    decision = next(line for line in access if line["route"] == "/v1/runs/{run_id}/approve")
    assert (decision["run"], decision["method"], decision["status"]) == (run_id, "POST", 200)
    assert decision["milliseconds"] > 0
    recorded = next(line for line in found if line["message"].endswith("decision.recorded"))
    assert (recorded["run"], recorded["request"]) == (run_id, decision["request"])
    settled = next(line for line in found if line["message"] == f"{run_id}:clip:1:1: order.settled")
    assert (settled["run"], settled["order"], settled["clip"]) == (run_id, f"{run_id}:clip:1:1", "1")
    assert settled["worker"] == app.state.services.locks.worker_id
    assert "request" not in settled
    assert [line["route"] for line in access if "/review/" in line["route"]] == ["/review/{token}"]
    assert not [secret for secret in (token, "in-the-query", ANNA) if secret in text]


def test_secrets_of_the_settings_are_replaced() -> None:
    """In messages and in traces, in either form."""
    settings = Settings(_env_file=None, openai_api_key=SecretStr("sk-1234"), api_keys=[SecretStr("long-key")])  # type: ignore[call-arg]
    record = logging.LogRecord("api", logging.ERROR, "", 0, "key %s", ("sk-1234",), None)
    try:
        raise ValueError("long-key")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    for is_json in (True, False):
        line = LineFormatter(is_json=is_json, secrets=settings.secrets).format(record)
        assert "key [secret]" in line
        assert "ValueError: [secret]" in line
    assert "\n" not in LineFormatter(is_json=True, secrets=settings.secrets).format(record)


def test_a_notice_is_a_line_of_a_json_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A collector reads what a person would, without its markup."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(is_json=True, secrets=()))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger("cli"), "level", logging.INFO)
    print_notice("[yellow]Warning:[/] the key is short.")
    with pytest.raises(typer.Exit):
        exit_with_error("Cannot listen on port [80].")

    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["message"]) for line in found] == [
        ("warning", "Warning: the key is short."),
        ("error", "myloware: Cannot listen on port [80]."),
    ]
    assert capsys.readouterr().err == ""


def test_text_ends_with_the_ids() -> None:
    """Of the order, its clip and its run."""
    record = logging.LogRecord("runs", logging.INFO, "", 0, "done", (), None)
    with identified(f"{RUN}:clip:2:1", worker="w"):
        line = LineFormatter(is_json=False, secrets=()).format(record)

    assert line.partition(" ")[2] == f"info runs: done [worker=w run={RUN} order={RUN}:clip:2:1 clip=2]"


def test_an_outage_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it begins and when it ends, however many callers meet it, and not while it comes and goes."""
    monkeypatch.setattr(logs, "RECOVERY_SECONDS", 0.05)
    with collected() as lines:
        for _ in range(3):
            log_outage("store", "refused\nsecond line")
            log_recovery("store")
        time.sleep(0.06)
        log_recovery("store")
        log_recovery("store")

    assert [line["message"] for line in lines.all()] == ["store unavailable: refused", "store available again"]
