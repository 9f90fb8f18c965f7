"""The command line, mostly in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from terminals import INHERITED, run_command, settings_of
from typer.main import get_command
from typer.testing import CliRunner

from api.settings import Settings
from cli.main import app, app as command_line
from cli.make import check_unattended
from tests.app import ANNA, PROFILES, TINY_PROJECT, App, SandboxClient

ROOT = Path(__file__).parents[2]
NOTIFICATIONS = {"MYLOWARE_NOTIFY_URLS": "https://127.0.0.1:9", "MYLOWARE_NOTIFY_SECRET": "whsec_" + "c2VjcmV0" * 4}


def test_every_command_has_a_help_text() -> None:
    """`--help` works for every command and starts nothing."""

    def paths(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        inner = [p for name, each in getattr(command, "commands", {}).items() for p in paths(each, (*path, name))]
        return [path, *inner]

    known = paths(get_command(app))
    assert {("make",), ("serve",), ("worker",), ("sandbox",), ("doctor",), ("openapi",)} < set(known)
    assert {("keys", name) for name in ("add", "list", "revoke")} < set(known)
    assert {("runs", name) for name in ("list", "show", "approve", "cancel", "retry")} < set(known)
    for path in known:
        result = CliRunner().invoke(app, [*path, "--help"])
        assert (result.exit_code, "Usage:" in result.output) == (0, True), path


def test_the_published_webhook_vectors_pass(tmp_path: Path) -> None:
    """`webhooks check` prints the sum, and exits with status 1 if no vector passes."""
    vectors = ROOT / "tests/providers/standard-webhooks-vectors.json"
    result = run_command("webhooks", "check", str(vectors), cwd=tmp_path)
    last = result.stdout.strip().splitlines()[-1]

    assert (result.returncode, last.endswith(" passed, 0 failed")) == (0, True)
    assert int(last.split()[0]) > 10
    (tmp_path / "none.json").write_text('{"official_vectors": [], "vectors": []}')
    (tmp_path / "odd.json").write_text("[1]")
    assert run_command("webhooks", "check", "none.json", cwd=tmp_path).returncode == 1
    invalid = run_command("webhooks", "check", "odd.json", cwd=tmp_path)
    assert (invalid.returncode, "Traceback" in invalid.stderr) == (1, False)


@pytest.mark.parametrize(
    ("command", "settings", "message"),
    [
        ("serve", {"MYLOWARE_RATE_LIMITS": "9"}, "MYLOWARE_RATE_LIMITS: unknown setting. Did you mean"),
        ("make", {"VIDEO_MODELL": "x"}, "VIDEO_MODELL: unknown setting. Did you mean VIDEO_MODEL"),
        ("worker", {"VIDEO_WEBHOOK_SECRETS": ""}, "VIDEO_WEBHOOK_SECRETS"),
        ("serve", {"VIDEO_WEBHOOK_SECRETS": "whsec_"}, "VIDEO_WEBHOOK_SECRETS.0: The webhook secret is empty."),
        ("serve", {"MYLOWARE_API_KEYS": "a-long-enough-key-000000,,"}, "MYLOWARE_API_KEYS"),
        ("serve", {"OPENAI_API_KEY": " "}, "OPENAI_API_KEY: is set, but empty"),
        ("serve", {"MYLOWARE_RATE_LIMIT": "0"}, "MYLOWARE_RATE_LIMIT: "),
        ("serve", {"OPENAI_BASE_URL": "localhost"}, "OPENAI_BASE_URL: must be an http or https URL"),
        ("serve", {"VIDEO_API_KEY": "k"}, "was shut down on 2026-09-24"),
        (
            "serve",
            {"VIDEO_BASE_URL": "http://here", "VIDEO_MODEL": "x-9"},
            "Nothing is known about the video model x-9",
        ),
        ("serve", {"MYLOWARE_PROJECTS_DIR": "projects"}, "bad.md: clips: "),
        ("runs", {"MYLOWARE_PROJECTS_DIR": "projects"}, "bad.md: clips: "),
        ("serve", {"UPLOAD_POST_URL": "http://here"}, "UPLOAD_POST_API_KEY is missing"),
    ],
    ids=str,
)
def test_an_invalid_setting_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, settings: dict[str, str], message: str
) -> None:
    """It is printed to standard error, with status 1, before anything is started or created."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "bad.md").write_text(TINY_PROJECT.replace("clips: 1", "clips: many"))
    arguments = {"make": ["make", "Rain"], "runs": ["runs", "list"]}.get(command, [command])
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ) - set(INHERITED):
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, arguments)

    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "projects"]


@pytest.mark.slow
def test_an_unknown_setting_in_the_file_is_reported(tmp_path: Path) -> None:
    """The file .env is read like the environment."""
    (tmp_path / ".env").write_text("MYLOWARE_RATE_LIMITS=9\n")
    result = run_command("serve", cwd=tmp_path)

    assert (result.returncode, result.stdout) == (1, "")
    assert "MYLOWARE_RATE_LIMITS: unknown setting in the file .env." in result.stderr
    assert not (tmp_path / ".myloware").exists()


def test_a_port_in_use_is_reported(app: App, tmp_path: Path) -> None:
    """The message is one sentence without a traceback."""
    port = app.url.rpartition(":")[2]
    result = run_command("serve", "--port", port, cwd=tmp_path, **settings_of(app))

    assert result.returncode == 1
    assert f"Cannot listen on port {port} of 127.0.0.1" in result.stderr
    assert "Traceback" not in result.stderr


INVALID = ("me:pa55word@127.0.0.1", "That is not the address of a Postgres database.")
UNREACHABLE = ("postgresql://me:pa55word@127.0.0.1:9/none", "The database cannot be reached")


@pytest.mark.parametrize(
    ("command", "url", "message"),
    [
        (("serve",), *INVALID),
        (("worker",), *INVALID),
        (("runs", "list"), *INVALID),
        (("runs", "list"), *UNREACHABLE),
        (("audit", "verify"), *UNREACHABLE),
    ],
)
@pytest.mark.slow
def test_an_unreachable_database_is_reported(tmp_path: Path, command: tuple[str, ...], url: str, message: str) -> None:
    """The message names the setting in one sentence, without the password."""
    result = run_command(*command, cwd=tmp_path, DATABASE_URL=url)

    assert (result.returncode, result.stdout) == (1, "")
    assert f"DATABASE_URL: {message}" in result.stderr
    assert "pa55word" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_runs_are_managed_from_the_terminal(app: App, sandbox: SandboxClient, tmp_path: Path) -> None:
    """`runs` lists and shows runs, requests changes and rejects, like the API."""
    run_id = app.start("A lighthouse in fog")
    app.until(run_id, "awaiting_ideation_approval")
    settings = settings_of(app)

    listed = run_command("runs", "list", "--json", cwd=tmp_path, **settings)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert json.loads(listed.stdout)[0]["run_id"] == run_id
    content = run_command("runs", "show", run_id, cwd=tmp_path, **settings).stdout
    assert "The ideation gate is open, revision 1" in content
    digest = app.run(run_id)["review"]["digest"]
    assert f"myloware runs approve {run_id} ideation --digest {digest}" in content
    wrong = run_command("runs", "approve", run_id, "publish", cwd=tmp_path, **settings)
    assert (wrong.returncode, "The publish gate is not open; the ideation gate is." in wrong.stderr) == (1, True)
    changes = ("--no", "--comment", "More fog")
    revised = run_command("runs", "approve", run_id, "ideation", *changes, "--json", cwd=tmp_path, **settings)
    assert json.loads(revised.stdout)["run_id"] == run_id
    app.until(run_id, "awaiting_ideation_approval", revision=2)
    stale = run_command("runs", "approve", run_id, "ideation", "--no", cwd=tmp_path, **settings)
    assert (stale.returncode, "Review revision 2" in stale.stderr) == (1, True)
    run_command("runs", "show", run_id, cwd=tmp_path, **settings)
    assert run_command("runs", "approve", run_id, "ideation", "--no", cwd=tmp_path, **settings).returncode == 0
    assert app.until(run_id, "failed")["error"]["code"] == "rejected"
    (first, _) = app.rows("select * from decisions where run_id = %s order by number", run_id)
    assert (first["channel"], first["comment"], first["verdict"]) == ("cli", "More fog", "revise")


@pytest.mark.slow
def test_a_declaration_is_confirmed_with_its_price(app: App, sandbox: SandboxClient, tmp_path: Path) -> None:
    """`runs retry --not-made` shows the lost order and asks before it is ordered again."""
    run_id, settings = app.start("A lighthouse in fog"), settings_of(app)
    app.until(run_id, "awaiting_ideation_approval")
    sandbox.fault("list_without_prompts", times=None)
    sandbox.fault("create_accept_then_500")
    app.decide(run_id, "ideation")
    called = "update orders set called_at = called_at - interval '1 hour' where run_id = %s and kind = 'clip'"
    app.until_true(run_id, lambda _: bool(app.rows(f"{called} and called_at is not null returning key", run_id)))
    app.until(run_id, "failed")
    [charge] = sandbox.charges(run_id)

    plain = run_command("runs", "retry", run_id, cwd=tmp_path, **settings)
    declined = run_command("runs", "retry", run_id, "--not-made", cwd=tmp_path, answer="n\n", **settings)
    for refused in (plain, declined):
        assert (refused.returncode, f"may be {charge['video_id']}" in refused.stderr) == (1, True)
    assert f"Order again for {charge['usd']:.2f} USD?" in declined.stderr
    assert app.run(run_id)["status"] == "failed"

    assert run_command("runs", "retry", run_id, "--not-made", cwd=tmp_path, answer="y\n", **settings).returncode == 0
    app.until(run_id, "awaiting_publish_approval", seconds=100)


@pytest.mark.slow
def test_keys_are_managed_from_the_terminal(app: App, tmp_path: Path) -> None:
    """`keys add` prints a key that works at once, and `keys revoke` ends it; the keys of the server stay."""
    settings = {name: value for name, value in settings_of(app).items() if name != "MYLOWARE_API_KEYS"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command("keys", *arguments, cwd=tmp_path, **settings)

    def status(key: str) -> int:
        return httpx.get(f"{app.url}/v1/keys", headers={"X-API-Key": key}).status_code

    added = run("add", "anna", "--can", "admin", "--expires", "30d")
    key = added.stdout.strip()
    assert (added.returncode, len(added.stdout.splitlines()), status(key)) == (0, 1, 200)
    assert run("add", "anna", "--can", "start").stderr == (
        "myloware: There is a key named anna: revoke it, or choose another name.\n"
    )
    for expires in ("soon", "2026-01-01", "0d"):
        refused = CliRunner().invoke(command_line, ["keys", "add", "ben", "--can", "start", "--expires", expires])
        assert (refused.exit_code, "--expires" in refused.stderr, refused.stdout) == (1, True, "")
    [row] = app.rows("select *, expires_at - now() as left from api_keys where name = 'anna'")
    assert timedelta(days=29, hours=23) < row["left"] < timedelta(days=30)
    listed = run("list").stdout
    assert all(text in listed for text in ("anna", row["id"], "admin", "added", "settings key 1"))
    assert row["digest"] not in listed

    assert (run("revoke", "anna").returncode, status(key), status(ANNA)) == (0, 401, 403)
    assert "revoked" in run("list").stdout
    unknown = run("revoke", "anna")
    assert (unknown.returncode, "There is no key anna." in unknown.stderr) == (1, True)


def test_weak_keys_are_named_by_their_position(app: App, tmp_path: Path) -> None:
    """`doctor` warns of each key that can be guessed, without printing a part of it."""
    weak = "hunter22,mw_7fQz0pVbR2sXk9LtYcNw,aaaaaaaaaaaaaaaaaaaaaaaa,your-api-key-0123456789"
    settings = {**settings_of(app), "MYLOWARE_API_KEYS": weak, "MYLOWARE_LIMITED_API_KEYS": "short"}
    result = run_command("doctor", "--json", cwd=tmp_path, **settings)
    warnings = json.loads(result.stdout)["warnings"]

    assert [warning.partition(". ")[0] for warning in warnings] == [
        "MYLOWARE_API_KEYS: key 1 has fewer than 20 characters",
        "MYLOWARE_API_KEYS: key 3 has fewer than 8 different characters",
        "MYLOWARE_API_KEYS: key 4 contains a word that is tried first",
        "MYLOWARE_LIMITED_API_KEYS: key 1 has fewer than 20 characters",
    ]
    assert not [key for key in weak.split(",") if key in result.stdout]


@pytest.mark.slow
def test_doctor_shows_settings_and_checks(app: App, tmp_path: Path) -> None:
    """It prints every setting without secrets, and the result of every check."""
    result = run_command("doctor", "--json", cwd=tmp_path, **settings_of(app))
    report = json.loads(result.stdout)

    assert result.returncode == 0, report
    assert (report["settings"]["MYLOWARE_API_KEYS"], report["settings"]["DATABASE_URL"]) == ("set", "set")
    assert ANNA not in result.stdout
    assert report["sandbox"] == []
    assert all(check["ok"] for check in report["checks"])
    assert [check["check"] for check in report["checks"]] == [
        *(
            "database",
            "projects",
            "disk",
            "store",
            "language model",
            "moderation",
            "video",
            "renderer",
            "signature",
            "messengers",
            "publisher",
        )
    ]
    broken = run_command("doctor", cwd=tmp_path, **{**settings_of(app), "VIDEO_MODEL": "x-9"})
    assert (broken.returncode, "Nothing is known about the video model x-9" in broken.stdout) == (1, True)
    unreachable = run_command(
        "doctor", cwd=tmp_path, **{**settings_of(app), "DATABASE_URL": "postgresql://127.0.0.1:9/none"}
    )
    assert (unreachable.returncode, "Traceback" in unreachable.stderr + unreachable.stdout) == (1, False)


@pytest.mark.timeout(200)
@pytest.mark.slow
def test_a_demo_uses_the_sandbox_whatever_is_set(app: App, sandbox: SandboxClient, tmp_path: Path) -> None:
    """`make --sandbox` buys, posts and stores nothing at what is configured; the film is in a folder of its own."""
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "small.md").write_text(TINY_PROJECT.replace("180x320", "720x1280"))
    before, settings = sandbox.counts(), settings_of(app) | {"MYLOWARE_PROJECTS_DIR": str(projects)}
    command = ("make", "--sandbox", "--project", "small", "--yes", "--json", "A calm sea at night")
    result = run_command(*command, cwd=tmp_path, seconds=180, **settings, **NOTIFICATIONS)
    lines = [json.loads(line) for line in result.stdout.splitlines()]

    assert result.returncode == 0, result.stderr
    assert lines[-1]["run"]["status"] == "completed"
    assert (lines[0]["kind"], lines[-2]["kind"]) == ("run.started", "run.completed")
    film = Path(lines[-1]["film"])
    assert film.stat().st_size == lines[-1]["run"]["artifacts"]["final_video"]["size_bytes"]
    assert film.is_relative_to(app.settings.data_dir / "demo")
    assert sandbox.counts() == before
    assert app.rows("select id from runs where brief = 'A calm sea at night'") == []
    shutil.rmtree(app.settings.data_dir / "demo")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"UPLOAD_POST_API_KEY": "k"}, "the publisher (UPLOAD_POST_API_KEY)"),
        ({"OPENAI_API_KEY": "k"}, "the language model (OPENAI_API_KEY)"),
        (
            {"OPENAI_BASE_URL": "http://127.0.0.1:9", "OPENAI_USD_PER_MILLION_INPUT_TOKENS": "1"},
            "the language model (OPENAI_API_KEY)",
        ),
        (
            {"VIDEO_BASE_URL": "http://127.0.0.1:9", "VIDEO_MODEL": "sandbox-video", "VIDEO_API_KEY": "k"},
            "the video server (VIDEO_MODEL)",
        ),
    ],
    ids=str,
)
def test_yes_is_refused_where_it_costs_or_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], named: str
) -> None:
    """One sentence names what is configured, and nothing is started."""
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ) - set(INHERITED):
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["make", "Rain", "--yes"])

    assert (result.exit_code, f"--yes is refused because of {named}:" in result.stderr) == (1, True)
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_yes_is_accepted_where_nothing_costs(tmp_path: Path) -> None:
    """A server without a price and a folder to publish to need no person."""
    (tmp_path / "profiles.toml").write_text(PROFILES.replace('"0.10"', "0"))
    free = {
        "VIDEO_BASE_URL": "http://127.0.0.1:9/v1",
        "VIDEO_MODEL": "sandbox-video",
        "VIDEO_PROFILES": tmp_path / "profiles.toml",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "MYLOWARE_PUBLISH_FOLDER": tmp_path,
    }
    check_unattended(Settings(_env_file=None, **free))  # type: ignore[call-arg]


@pytest.mark.slow
def test_make_reports_invalid_arguments(tmp_path: Path, app: App) -> None:
    """An unknown project, and `--json` without `--yes`, are refused."""
    unknown = run_command("make", "--project", "none", "Rain", cwd=tmp_path, **settings_of(app))
    assert (unknown.returncode, "Project 'none' not found" in unknown.stderr) == (1, True)
    without_yes = run_command("make", "--json", "Rain", cwd=tmp_path, **settings_of(app))
    without_brief = run_command("make", cwd=tmp_path)
    assert (without_brief.returncode, "Give either a brief or --run" in without_brief.stderr) == (1, True)
    assert (without_yes.returncode, "--json requires --yes, because it cannot prompt." in without_yes.stderr) == (
        1,
        True,
    )
