"""`doctor` asks every service, and says what is wrong and what to set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.app import PROFILES, App, SandboxClient
from tests.cli.terminals import run_command, settings_of


def checks_of(cwd: Path, **settings: str) -> dict[str, dict[str, Any]]:
    """Run `doctor` and return its checks by name."""
    result = run_command("doctor", "--json", cwd=cwd, **settings)
    return {check["check"]: check for check in json.loads(result.stdout)["checks"]}


def slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("llm_401", "language model", "refused the request (HTTP 401). Check OPENAI_API_KEY"),
        slow("llm_invalid_json", "language model", "The model's answer was invalid"),
        slow("moderation_500", "moderation", "(HTTP 500). Check MODERATION_BASE_URL"),
        slow(
            "moderation_missing",
            "moderation",
            "Set MODERATION_BASE_URL and MODERATION_MODEL to a server that moderates",
        ),
        ("video_401", "video", "rejected the API key (HTTP 401). Check VIDEO_BASE_URL, VIDEO_API_KEY"),
        slow("shutdown", "video", "(HTTP 404). Check VIDEO_BASE_URL"),
    ],
)
@pytest.mark.slow
def test_broken_service_is_named(
    app: App, sandbox: SandboxClient, tmp_path: Path, fault: str, check: str, words: str
) -> None:
    """The check fails with one sentence and the settings to look at; the others are ok, and nothing is bought."""
    before = sandbox.counts()
    sandbox.fault(fault, times=None)
    checks = checks_of(tmp_path, **settings_of(app))

    assert [name for name, found in checks.items() if not found["ok"]] == [check]
    assert words in checks[check]["message"]
    assert (sandbox.counts()["charges"], sandbox.counts()["posts"]) == (before["charges"], before["posts"])


@pytest.mark.parametrize(("moderation", "words"), [("model", "by sandbox-rules"), ("none", "no text is checked")])
@pytest.mark.slow
def test_a_server_without_moderation_is_enough(
    app: App, sandbox: SandboxClient, tmp_path: Path, moderation: str, words: str
) -> None:
    """The language model moderates, or nobody does, and the check says which."""
    sandbox.fault("moderation_missing", times=None)
    check = checks_of(tmp_path, **settings_of(app), MODERATION=moderation)["moderation"]

    assert check["ok"]
    assert words in check["message"]


@pytest.mark.slow
def test_publisher_and_store_are_asked(app: App, tmp_path: Path) -> None:
    """A publisher that refuses the connection, and a store that is a file, fail with their settings."""
    (tmp_path / "store").touch()
    broken = {"UPLOAD_POST_URL": "http://127.0.0.1:9", "MYLOWARE_STORE_URL": str(tmp_path / "store")}
    checks = checks_of(tmp_path, **{**settings_of(app), **broken})

    assert [name for name, found in checks.items() if not found["ok"]] == ["store", "publisher"]
    assert checks["store"]["message"].startswith("MYLOWARE_STORE_URL: ")
    assert "Upload-Post (127.0.0.1:9) did not respond. Check UPLOAD_POST_API_KEY" in checks["publisher"]["message"]


@pytest.mark.slow
def test_replaced_services_are_the_sandbox(app: App, tmp_path: Path) -> None:
    """Without settings of their own the checks of the vendors say so."""
    names = ("OPENAI_", "VIDEO_BASE", "VIDEO_MODEL", "VIDEO_API", "UPLOAD_POST_")
    settings = {name: value for name, value in settings_of(app).items() if not name.startswith(names)}
    checks = checks_of(tmp_path, **settings)

    for name in ("language model", "moderation", "video", "publisher"):
        assert (checks[name]["ok"], checks[name]["message"]) == (True, "sandbox")


@pytest.mark.slow
def test_refused_projects_are_named_with_the_reason(app: App, tmp_path: Path) -> None:
    """The check fails only if no offered project can be started."""
    profiles = tmp_path / "narrow.toml"
    profiles.write_text(PROFILES.replace("[1, 2, 3, 4, 8]", "[3]"))
    settings = {**settings_of(app), "VIDEO_PROFILES": str(profiles)}
    some = checks_of(tmp_path, **settings, MYLOWARE_PROJECTS="tiny,pair")["projects"]
    none = checks_of(tmp_path, **settings, MYLOWARE_PROJECTS="pair")["projects"]

    reason = "pair is refused: sandbox-video generates clips of 3 seconds, not 2. (video_seconds_unsupported)"
    assert (some["ok"], some["message"]) == (True, f"tiny {reason}")
    assert (none["ok"], none["message"]) == (False, f"None can be started. {reason}")
