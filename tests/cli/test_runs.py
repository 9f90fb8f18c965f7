"""`myloware runs`: every operation on runs that the REST API has."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from terminals import Here, run_command, settings_of

from cli.display import list_of_runs
from graph.status import Status
from runs.queries import RunView, list_runs
from runs.start import start_run
from storage.actors import LOCAL, RequestContext
from tests.app import App, SandboxClient

STATUS: Status = "awaiting_ideation_approval"
TWINS = (UUID("aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"), UUID("aaaaaaaa-aaab-4aaa-8aaa-aaaaaaaaaaaa"))


@pytest.fixture
def here(app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(app, monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def twins(app: App) -> tuple[UUID, ...]:
    """Two runs whose ids start with the same characters, at the ideation gate."""
    context = RequestContext(LOCAL, "cli")
    for run_id in TWINS:
        start = start_run(app.state.services, project="tiny", brief="A 雨 window " * 9, run_id=run_id, context=context)
        app.in_loop(start)
        app.until(str(run_id), STATUS)
    return TWINS


def listed(app: App) -> list[RunView]:
    return app.in_loop(list_runs(app.state.services.db))


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_list_fits_the_terminal(app: App, twins: tuple[UUID, ...], width: int) -> None:
    """Statuses are whole and ids can be used as they are printed, at every width."""
    short = {run_id: str(run_id)[:14] for run_id in twins}
    heading, *lines = list_of_runs(listed(app), short, width)

    assert heading.split()[:2] == ["run", "status"]
    for line, run_id in zip(lines, reversed(twins), strict=False):
        printed, status = line.split()[:2]
        assert (printed, status) == (str(run_id) if width >= 120 else str(run_id)[:14], STATUS)
        assert len(line) + line.count("雨") <= width


def test_a_listed_id_names_its_run_alone(app: App, here: Here, twins: tuple[UUID, ...], tmp_path: Path) -> None:
    """At 80 columns the ids are as short as is unique; `runs show` accepts them, and shorter ones if unique."""
    result = run_command("runs", "list", cwd=tmp_path, **settings_of(app), **{"COLUMNS": "80"})
    lines = [line.split() for line in result.stdout.splitlines()[1:]]
    ids = {line[0] for line in lines if line[1] == STATUS}

    assert {"aaaaaaaa-aaaa", "aaaaaaaa-aaab"} <= ids
    for printed, run_id in zip(("aaaaaaaa-aaaa", "AAAAAAAAaaab"), twins, strict=True):
        assert json.loads(here.run("runs", "show", printed, "--json"))["run_id"] == str(run_id)


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("aaaaaa", f"Several runs have an id that starts with 'aaaaaa': {TWINS[0]}, {TWINS[1]}."),
        ("aaaaa", "'aaaaa' is not a run id. Use a whole id, or at least its first 6 characters."),
        ("rainrain", "'rainrain' is not a run id."),
        ("bbbbbb", "No run has an id that starts with 'bbbbbb'."),
    ],
)
@pytest.mark.parametrize("command", ["show", "cancel"])
def test_an_id_that_names_no_run_alone_is_refused(
    here: Here, twins: tuple[UUID, ...], command: str, run_id: str, message: str
) -> None:
    """One sentence; of an ambiguous start it lists the runs."""
    assert message in " ".join(here.run("runs", command, run_id, status=1).split())


def test_bad_values_are_refused(here: Here) -> None:
    """The message lists the values, or shows what the option takes."""
    assert "completed" in here.run("runs", "list", "--status", "bogus", status=2)
    for option, value in (("--keep", "one"), ("--take", "3"), ("--edits", "{"), ("--clips", "x:dark")):
        message = here.run("runs", "approve", "aaaaaa", "publish", option, value, status=2)
        assert f"{option} takes" in " ".join(message.replace("│", " ").split())


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_film_is_made_by_commands(app: App, sandbox: SandboxClient, here: Here, tmp_path: Path) -> None:
    """Start, keep, sample, quote, order again, edit, publish; watch, read the history, copy the files, and fork."""
    brief, extras = "Rain on a quiet window", ("--option", "clips=2", "--budget", "4.5", "--metadata", "shoot=7=b")
    started = json.loads(here.run("runs", "start", "pair", brief, *extras, "--json"))
    assert (started["metadata"], started["cost"]["cap_usd"]) == ({"shoot": "7=b"}, 4.5)
    run_id = started["run_id"]
    run = run_id[:8]
    ideas = app.until(run_id, STATUS)["review"]["content"]["ideas"]
    link = here.run("runs", "link", run, "ideation", "--url", app.url).strip()
    assert app.client.get(link, headers={"Accept": "application/json"}).json()["run_id"] == run_id

    here.run("runs", "show", run)
    here.run("runs", "approve", run, "ideation", "--keep", "2,1", "--sample", "1")
    offered = app.until(run_id, STATUS, revision=2)["review"]["content"]
    assert ([idea["title"] for idea in offered["ideas"]], offered["make"]) == (
        [ideas[1]["title"], ideas[0]["title"]],
        [2],
    )
    here.run("runs", "show", run)
    (tmp_path / "ideas.json").write_text(json.dumps([offered["ideas"][0], {**offered["ideas"][1], "overlay": "Stay"}]))
    here.run("runs", "approve", run, "ideation", "--edits", "@ideas.json")
    film = app.until(run_id, "awaiting_publish_approval")["review"]["content"]
    assert film["clips"][1]["overlay"] == "Stay"

    assert "1 clip for 0.20 USD" in here.run("runs", "quote", run, "2")
    here.run("runs", "show", run)
    here.run("runs", "approve", run, "publish", "--clips", "2:too dark", "--overlay", "1=Wait")
    film = app.until(run_id, "awaiting_publish_approval", revision=2)["review"]["content"]
    assert [(clip["take"], clip["overlay"]) for clip in film["clips"]] == [(1, "Wait"), (2, "Stay")]
    here.run("runs", "show", run)
    here.run("runs", "approve", run, "publish", "--take", "2=1")
    film = app.until(run_id, "awaiting_publish_approval", revision=3)["review"]["content"]
    assert film["clips"][1]["take"] == 1
    here.run("runs", "show", run)
    final = ("runs", "approve", run, "publish", "--caption", "All night.", "--hashtags", "#rain #calm", "--publish-at")
    assert "must be a time with its zone" in here.run(*final, "2026-12-01T18:00", status=1)
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:00Z}"
    here.run(*final, tomorrow)
    app.until_true(run_id, lambda run: bool(run["waiting"] and run["waiting"]["scheduled_for"]))
    assert f"Scheduled for {tomorrow[:10]} {tomorrow[11:16]}:00 UTC" in here.run("runs", "show", run)
    due = "request = jsonb_set(request, '{publish_at}', to_jsonb(now())), next_poll_at = now()"
    app.rows(f"update orders set {due} where run_id = %s and kind = 'publication' returning 1", run_id)
    assert "run.completed" in here.run("runs", "watch", run, "--json").splitlines()[-1]

    publication = app.run(run_id)["artifacts"]["publication"]
    assert (publication["caption"], publication["hashtags"]) == ("All night.", ["#rain", "#calm"])
    recorded = json.loads(here.run("runs", "history", run, "--json"))
    assert recorded == app.client.get(f"/v1/runs/{run_id}/history").json()
    history = here.run("runs", "history", run)
    assert "local terminal: Revision 1 at the publish gate was sent back for changes" in history
    assert len(here.run("runs", "clips", run, "--output", "takes").splitlines()) == 3
    assert sorted(path.name for path in (tmp_path / "takes").iterdir()) == [
        "clip-1-take-1.mp4",
        "clip-2-take-1.mp4",
        "clip-2-take-2.mp4",
    ]
    assert here.run("runs", "film", run, "--output", "film.mp4") == "film.mp4\n"
    assert (tmp_path / "film.mp4").stat().st_size == app.run(run_id)["artifacts"]["final_video"]["size_bytes"]
    assert (tmp_path / "film.srt").read_text().startswith("1\n00:00:")
    assert len(sandbox.charges(run_id)) == 3

    forked = json.loads(here.run("runs", "fork", run, "--json"))
    assert (forked["forked_from"], forked["status"]) == (run_id, "pending")
    assert "cancelled" in here.run("runs", "cancel", forked["run_id"])
    shutil.rmtree(tmp_path / "takes")


def test_an_image_is_uploaded(app: App, here: Here, tmp_path: Path) -> None:
    """The digest is printed; a file that is no image is refused."""
    Image.new("RGB", (360, 640), "teal").save(tmp_path / "frame.png")
    (tmp_path / "text.png").write_text("no image")
    digest = here.run("runs", "upload", str(tmp_path / "frame.png")).strip()

    assert app.client.get(f"/v1/artifacts/{digest}").headers["content-type"] == "image/jpeg"
    assert "or it is damaged" in here.run("runs", "upload", str(tmp_path / "text.png"), status=1)
