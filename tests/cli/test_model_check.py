"""`models check` asks the product's own questions, and says what the language model can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.app import SandboxClient
from tests.cli.terminals import run_command

QUESTIONS = ["screening", "ideas", "caption", "routing", "tool call"]


def settings_of(sandbox: SandboxClient, **changes: str) -> dict[str, str]:
    """Return the settings of a command that asks the sandbox."""
    return {"OPENAI_BASE_URL": sandbox.url, "OPENAI_API_KEY": "any", "OPENAI_MODEL": "sandbox-rules", **changes}


def check(folder: Path, sandbox: SandboxClient, status: int = 0, **changes: str) -> list[dict[str, Any]]:
    """Return the results of the command as JSON."""
    result = run_command("models", "check", "--json", cwd=folder, **settings_of(sandbox, **changes))
    assert result.returncode == status, result.stderr
    questions: list[dict[str, Any]] = json.loads(result.stdout)["questions"]
    return questions


@pytest.mark.parametrize(
    ("refused", "form"),
    [("none", "json_schema"), ("json_schema", "json_object"), ("json_schema json_object", "text")],
)
@pytest.mark.slow
def test_the_form_of_the_answers_is_shown(tmp_path: Path, sandbox: SandboxClient, refused: str, form: str) -> None:
    """Each question works in the form that the server supports; a tool call needs none."""
    sandbox.fault("llm_refused_formats", forms=refused, style="lm_studio")
    results = check(tmp_path, sandbox)

    assert [result["question"] for result in results] == QUESTIONS
    assert [result["form"] for result in results] == [form] * 4 + [None]
    assert all(result["ok"] and result["seconds"] >= 0 for result in results)


@pytest.mark.slow
def test_a_question_that_fails_is_the_status(tmp_path: Path, sandbox: SandboxClient) -> None:
    """The others are asked all the same."""
    sandbox.fault("llm_invalid_json", times=2)
    results = check(tmp_path, sandbox, status=1)

    assert [result["ok"] for result in results] == [False, True, True, True, True]
    assert "invalid twice" in results[0]["message"]


@pytest.mark.parametrize("wrong", ["a page", "nothing", "no model"])
@pytest.mark.slow
def test_a_wrong_setting_is_named(tmp_path: Path, sandbox: SandboxClient, wrong: str) -> None:
    """Without a server, with a page or without the model, each question fails with the setting to look at."""
    if wrong == "a page":
        sandbox.fault("llm_html_page", times=None)
    if wrong == "no model":
        sandbox.fault("llm_model_missing", times=None)
    settings = settings_of(sandbox, **({"OPENAI_BASE_URL": "http://127.0.0.1:9"} if wrong == "nothing" else {}))
    result = run_command("models", "check", cwd=tmp_path, **settings)

    assert result.returncode == 1
    assert result.stdout.count("failed ") == len(QUESTIONS)
    assert ("OPENAI_MODEL" if wrong == "no model" else "OPENAI_BASE_URL") in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_results_are_read_by_people(tmp_path: Path, sandbox: SandboxClient) -> None:
    """There is a line for each question, and `--help` explains the command."""
    result = run_command("models", "check", cwd=tmp_path, **settings_of(sandbox))
    explained = run_command("models", "check", "--help", cwd=tmp_path)

    assert [line.split(": ")[0].split(maxsplit=1)[1] for line in result.stdout.splitlines()] == QUESTIONS
    assert result.returncode == explained.returncode == 0
    assert "--json" in explained.stdout


@pytest.mark.slow
def test_moderation_by_the_model_is_a_question(tmp_path: Path, sandbox: SandboxClient) -> None:
    """It is asked only where it is used."""
    results = check(tmp_path, sandbox, MODERATION="model")

    assert [result["question"] for result in results] == ["moderation", *QUESTIONS]
    assert results[0]["ok"]


@pytest.mark.slow
def test_a_server_is_needed(tmp_path: Path) -> None:
    """Without settings there is nothing to check."""
    result = run_command("models", "check", cwd=tmp_path)

    assert result.returncode == 1
    assert "OPENAI_BASE_URL" in result.stderr
