"""`providers list` shows what is known without network; `providers check` tries a server, with money only if told."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from terminals import INHERITED, Terminal
from typer.testing import CliRunner

from cli.main import app as program
from cli.output import stdout
from tests.app import SandboxClient, open_app
from tests.providers.exchange_replay import replay

KEY = "sk-of-this-test-4711:secret-of-this-test"
SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
FREE = ["authentication", "lookup", "unknown task", "quote", "webhook"]
SPENT = ["create", "recovery", "poll", "download", "measure"]
#: Small clips of each provider, which take less time.
PROFILES = """
[[profiles]]
kind = "replicate"
models = ["google/veo-3.1"]
sizes = ["180x320"]
seconds = [1]
usd_per_second = "0.04"
input_fields = {prompt = "$prompt", duration = "$seconds", aspect_ratio = "$aspect", resolution = "$resolution"}

[[profiles]]
kind = "higgsfield"
models = ["kling-video/v3.0-turbo/text-to-video"]
sizes = ["180x320"]
seconds = [1]
usd_per_second = "0.112"
input_fields = {prompt = "$prompt", duration = "$seconds", aspect_ratio = "$aspect", resolution = "$resolution"}

[[profiles]]
kind = "kling"
models = ["kling-3.0-turbo"]
sizes = ["180x320"]
seconds = [1]
usd_per_second = "0.112"
[profiles.input_fields]
prompt = "$prompt"
settings = {resolution = "$resolution", aspect_ratio = "$aspect", duration = "$seconds"}

[[profiles]]
hosts = ["127.0.0.1"]
models = ["sandbox-video"]
sizes = ["180x320"]
seconds = [1]
usd_per_second = "0.10"
poll_seconds = 1

[[profiles]]
kind = "openrouter"
hosts = ["127.0.0.1"]
models = ["sora-2"]
sizes = ["720x1280"]
seconds = [4]
usd_per_second = "0.10"
"""

Run = Callable[..., str]


def settings_of(sandbox: SandboxClient, folder: Path, **changes: str) -> dict[str, str]:
    """Return the settings of accounts at all providers."""
    (folder / "profiles.toml").write_text(PROFILES)
    key_id, _, key_secret = KEY.partition(":")
    return {
        "MYLOWARE_DATA_DIR": str(folder / "data"),
        "VIDEO_PROFILES": str(folder / "profiles.toml"),
        "VIDEO_BASE_URL": f"{sandbox.url}/v1",
        "VIDEO_MODEL": "sandbox-video",
        "VIDEO_API_KEY": KEY,
        "REPLICATE_BASE_URL": f"{sandbox.url}/replicate/v1",
        "REPLICATE_API_TOKEN": KEY,
        "KLING_BASE_URL": f"{sandbox.url}/kling",
        "KLING_API_KEY": KEY,
        "HIGGSFIELD_BASE_URL": f"{sandbox.url}/higgsfield",
        "HIGGSFIELD_KEY_ID": key_id,
        "HIGGSFIELD_KEY_SECRET": key_secret,
        **changes,
    }


@pytest.fixture
def run(sandbox: SandboxClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `myloware providers …` in this process and returns what it printed."""
    for name in set(os.environ) - set(INHERITED):
        monkeypatch.delenv(name)
    # The console reads its width from the environment only once, when it is first imported.
    monkeypatch.setattr(stdout, "width", 200)
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments: str, status: int = 0, **changes: str) -> str:
        for name, value in settings_of(sandbox, tmp_path, **changes).items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(program, ["providers", *arguments])
        assert result.exit_code == status, result.output
        return result.output

    return run_here


def outcomes(output: str) -> dict[str, str]:
    """Return the printed outcome of each step."""
    lines = [line.split(None, 1) for line in output.splitlines() if line.startswith(("passed", "failed", "skipped"))]
    return {rest.partition(":")[0]: outcome for outcome, rest in lines}


def test_known_providers_are_listed_without_network(run: Run) -> None:
    """Each has its settings, its protection and its models, also of a server that was shut down; no secret is shown."""
    nowhere = {"VIDEO_BASE_URL": "https://api.openai.com/v1", "VIDEO_MODEL": "sora-2"}
    text = run("list", **nowhere)
    found = {each["name"]: each for each in json.loads(run("list", "--json", **nowhere))}

    assert list(found) == ["videos", "replicate", "kling", "higgsfield"]
    assert all(each["configured"] and each["protection"] for each in found.values())
    assert found["kling"]["settings"] == {"KLING_API_KEY": True, "KLING_BASE_URL": True, "KLING_WEBHOOK_SECRETS": False}
    turbo = [each for each in found["kling"]["models"] if each["models"] == ["kling-3.0-turbo"]][1]
    assert turbo["seconds"] == list(range(3, 16))
    assert turbo["usd_per_second"]["720x1280"] == "0.112"
    assert (turbo["sound"], turbo["kept_hours"]) == ("always", 720)
    assert "2026-09-24 (past)" in text
    assert all(price in text for price in ("720x1280: 0.084", "720x1280: 0.126"))
    assert "returns the first" in text
    assert KEY not in text


@pytest.mark.parametrize(
    ("name", "fault"),
    [("videos", ""), ("replicate", ""), ("kling", ""), ("higgsfield", "create_accept_then_drop")],
)
@pytest.mark.slow
def test_one_clip_proves_a_contract(run: Run, sandbox: SandboxClient, tmp_path: Path, name: str, fault: str) -> None:
    """There is one charge, also if the answer is lost; the record has no key, is private, and can be replayed."""
    before, file = sandbox.counts(), tmp_path / "record.json"
    file.touch(mode=0o644)
    if fault:
        sandbox.fault(fault)
    output = run("check", name, "--spend", "--yes", "--record", str(file), status=1 if fault else 0)
    recorded, replayed = asyncio.run(replay(file, tmp_path, tmp_path / "profiles.toml"))
    text = file.read_text()

    skipped = {"webhook"} | ({"lookup"} if name == "higgsfield" else {"quote"})
    expected = {step: "skipped" if step in skipped else "passed" for step in [*FREE, *SPENT]}
    assert outcomes(output) == expected | ({"create": "failed"} if fault else {})
    assert "180x320" in output
    assert sandbox.counts()["charges"] == before["charges"] + 1
    assert not any(part in text for part in KEY.split(":"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [(each.step, each.outcome) for each in replayed] == [(each.step, each.outcome) for each in recorded]
    assert replayed[-1] == recorded[-1]


def test_without_spend_nothing_is_ordered(run: Run, sandbox: SandboxClient) -> None:
    """The free steps alone are run; --spend needs a terminal or --yes."""
    before = sandbox.counts()
    assert list(outcomes(run("check", "kling"))) == FREE
    assert "$0.112" in (refused := run("check", "kling", "--spend", status=1))
    assert "--yes" in refused
    assert "not configured" in run("check", "nobody", status=1)
    assert sandbox.counts() == before


@pytest.mark.slow
def test_a_terminal_is_asked(sandbox: SandboxClient, tmp_path: Path) -> None:
    """No is an answer."""
    before = sandbox.counts()
    settings = settings_of(sandbox, tmp_path)
    terminal = Terminal("providers", "check", "replicate", "--spend", cwd=tmp_path, **settings)
    assert "$0.040" in terminal.until("Order it?")
    terminal.send("n\n")

    assert terminal.wait() == 1
    assert sandbox.counts() == before


def test_a_server_with_other_errors_fails(run: Run, sandbox: SandboxClient) -> None:
    """A wrong key and an unknown task must be reported as such; then nothing is ordered."""
    before = sandbox.counts()
    sandbox.fault("shutdown", times=None, status=418)
    output = run("check", "videos", "--spend", "--yes", status=1)

    assert outcomes(output) == {
        **dict.fromkeys(("authentication", "lookup", "unknown task"), "failed"),
        **dict.fromkeys(("quote", "webhook", "create"), "skipped"),
    }
    assert sandbox.counts() == before


def test_an_order_that_cannot_be_found_is_left_to_a_person(run: Run, sandbox: SandboxClient) -> None:
    """A server without a list or a key of the order is not called again; where to look is shown."""
    before = sandbox.counts()
    sandbox.fault("create_accept_then_500")
    output = run("check", "videos", "--spend", "--yes", status=1, VIDEO_MODEL="sora-2")

    assert {step: outcomes(output)[step] for step in outcomes(output) if step in SPENT} == {
        "create": "failed",
        "recovery": "skipped",
    }
    assert "https://openrouter.ai/activity" in output
    assert sandbox.counts()["charges"] == before["charges"] + 1


def test_webhooks_are_tried_on_the_public_url(
    run: Run, sandbox: SandboxClient, postgres_server: str, migrated_template: str
) -> None:
    """The signed one is accepted and changes no order, the unsigned one is rejected; another secret is a failure."""
    keys = {"kling_api_key": KEY, "kling_webhook_secrets": SECRET, "kling_base_url": f"{sandbox.url}/kling"}
    with open_app(postgres_server, migrated_template, sandbox, with_worker=False, **keys) as app:
        public = {"MYLOWARE_PUBLIC_URL": app.url, "KLING_WEBHOOK_SECRETS": SECRET}
        right = run("check", "kling", **public)
        wrong = run("check", "kling", status=1, **{**public, "KLING_WEBHOOK_SECRETS": SECRET.replace("a2", "b2")})
        events = app.rows("select run_id from events where source = 'kling'")

    assert outcomes(right)["webhook"] == "passed"
    assert "unsigned 401, signed 401" in wrong
    assert events == [{"run_id": None}]
