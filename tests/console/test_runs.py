"""The runs in the console: the list with its filters, the page of a run, its stream, revisions and actions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from psycopg.types.json import Jsonb

from tests.api.test_statements import statements_of
from tests.app import ANNA, App
from tests.console.conftest import csrf_token_of, sign_in
from tests.console.seeds import HOSTILE, Seeds

BEN = "key-of-ben-0000000000000"


@pytest.fixture(scope="module")
def film(quiet_app: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a stored film."""
    return Seeds(quiet_app).film(tmp_path_factory.mktemp("film"))


@pytest.fixture
def seeds(quiet_app: App) -> Iterator[Seeds]:
    """A database without runs before and after."""
    seeds = Seeds(quiet_app)
    seeds.clear()
    yield seeds
    seeds.clear()


def listed(page: httpx.Response) -> list[str]:
    """Return the ids of the runs that a page lists, in order."""
    assert page.status_code == 200, page.text
    return re.findall(r'id="run-([\w-]+)"', page.text)


def streamed(client: httpx.Client, run_id: UUID, until: str, **headers: str) -> list[tuple[str, str]]:
    """Return name and id of the messages of a stream, up to the first with this name."""
    found, fields = [], {"event": "", "id": ""}
    with client.stream("GET", f"/runs/{run_id}/stream", headers=headers, timeout=30) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if name in fields:
                fields[name] = value
            if not line and fields["event"]:
                found.append((fields["event"], fields["id"]))
                if fields["event"] == until:
                    break
                fields = {"event": "", "id": ""}
    return found


def press(client: httpx.Client, run_id: UUID, action: str, **fields: Any) -> httpx.Response:
    """Send the form of an action as its page contains it, with these fields."""
    page = client.get(f"/runs/{run_id}/actions/{action}")
    assert page.status_code == 200, page.text
    [request] = re.findall(r'name="request" value="([\w-]+)"', page.text)
    form = {"csrf_token": csrf_token_of(page), "request": request, **fields}
    return client.post(f"/runs/{run_id}/actions/{action}", data=form)


def test_runs_are_filtered(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """By status, project, a part of the brief, the title or the id, and day; empty fields filter nothing."""
    old = seeds.run(brief="A 100% quiet _lake_", status="completed", artifacts={"ideas": {"title": "Still Water"}})
    new = seeds.run(brief="Rain", project="pair")
    quiet_app.rows("update runs set created_at = '2026-01-31T23:59:59Z' where id = %s returning id", old)
    runs = {str(old): "old", str(new): "new"}
    everything = "status=&project=&text=&since=&until="

    for query, expected in (
        ("", ["new", "old"]),
        (everything, ["new", "old"]),
        ("status=completed", ["old"]),
        ("project=pair", ["new"]),
        ("text=100%25 QUIET", ["old"]),
        ("text=_l", ["old"]),
        ("text=still+water", ["old"]),
        (f"text={str(new)[:8]}", ["new"]),
        ("since=2026-01-31&until=2026-01-31", ["old"]),
        ("since=2026-02-01", ["new"]),
        ("until=2026-01-30", []),
        ("project=pair&status=completed", []),
    ):
        assert [runs[run_id] for run_id in listed(browser.get(f"/runs?{query}"))] == expected, query
        parameters = query if query != everything else ""
        answer = quiet_app.client.get(f"/v1/runs?{parameters}").json()["runs"]
        assert [runs[run["run_id"]] for run in answer] == expected, query
    assert "No run matches." in browser.get("/runs?text=nothing").text
    assert browser.get("/runs?since=yesterday").status_code == 422
    assert browser.get("/runs?cursor=x").status_code == 422


def test_runs_are_paged(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """Of 120 runs each is on one page, with the filter, and a page of 50 takes as many statements as one of two."""
    assert "There are no runs yet." in browser.get("/runs").text
    seeds.run()
    seeds.run()
    few = statements_of(quiet_app, partial(browser.get, "/runs"))
    for number in range(118):
        seeds.run(brief=f"Film {number}")
    found, path = [], "/runs?status=running"
    while path:
        page = browser.get(path)
        found.append(listed(page))
        path = (re.findall(r'id="older" rel="next" href="([^"]+)"', page.text) or [""])[0].replace("&amp;", "&")
    assert [len(part) for part in found] == [50, 50, 20]
    assert len({run_id for part in found for run_id in part}) == 120
    assert statements_of(quiet_app, partial(browser.get, "/runs")) == few <= 2


def test_a_run_shows_what_happened(seeds: Seeds, browser: httpx.Client, film: str) -> None:
    """Steps, waits, webhooks, clips with their charge and error, the decision with its checkpoint, cost and graph."""
    run_id = seeds.run(status="awaiting_video_generation", current_step="clips")
    actor = {"kind": "api_key", "id": "key_1", "name": "Anna"}
    seeds.event(run_id, "run.started", source="cli", project="tiny", actor=actor)
    seeds.event(run_id, "step.started", step="clips")
    seeds.event(run_id, "status.changed", status="awaiting_video_generation")
    seeds.event(run_id, "webhook.received", source="videos", subject="task_1")
    seeds.revision(run_id, 1)
    seeds.clips(run_id, film)
    page = browser.get(f"/runs/{run_id}")

    assert page.status_code == 200, page.text
    for text in (
        "The step clips was started.",
        "The run waits: its status is awaiting_video_generation.",
        "Webhook received.",
        "Revision 1 at the ideation gate was opened.",
        "Take 1 of clip 1 was made.",
        "videos:127.0.0.1 charged 0.30 USD for take 1 of clip 1.",
        "Take 1 of clip 2 failed: The file is not a video.",
        '<span class="badge unknown">Outcome unknown</span>',
        '<span class="badge submitted">Submitted</span> 40 %',
        f'src="/media/{film}#t=0.1"',
        "of at most 5.00 USD",
        '<span dir="auto">Anna</span> (cli)',
        "its step is clips.",
        ">publish gate</text>",
    ):
        assert text in page.text, text
    assert page.text.count('id="moment-') == 9


def test_a_decision_names_its_checkpoint(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """A decision of the API is shown with its actor, channel and comment, and the checkpoint of its revision."""
    run_id = seeds.ideation()
    quiet_app.rows("update events set payload = payload || %s returning id", Jsonb({"checkpoint": "1f0-check"}))
    quiet_app.run(str(run_id))  # it is served
    quiet_app.decide(str(run_id), "ideation", False, comment="Slower, please")
    text = browser.get(f"/runs/{run_id}").text

    assert "<strong>Ideation, revision 1: revise</strong>" in text
    assert '<p class="text" dir="auto">Slower, please</p>' in text
    assert "(api) ·" in text
    assert "checkpoint <code>1f0-check</code>" in text
    entries = quiet_app.client.get(f"/v1/runs/{run_id}/history").json()["entries"]
    assert [entry["details"]["checkpoint"] for entry in entries if entry["kind"] == "decision"] == ["1f0-check"]


def test_the_stream_resumes(seeds: Seeds, browser: httpx.Client) -> None:
    """It sends the rows after the last one that was received, each once, then what changed, and the end."""
    run_id = seeds.run(status="completed")
    numbers = [str(seeds.event(run_id, "step.started", step=step)) for step in ("ideator", "clips", "render")]
    first = streamed(browser, run_id, until="clips")

    assert first == [*(("moment", number) for number in numbers), ("state", ""), ("graph", ""), ("clips", "")]
    resumed = streamed(browser, run_id, until="end", **{"last-event-id": numbers[1]})
    assert [number for name, number in resumed if name == "moment"] == numbers[2:]
    assert resumed[-1][0] == "end"


def test_the_stream_is_for_sessions(seeds: Seeds, visitor: httpx.Client, quiet_app: App) -> None:
    """Without a session there is none, and signing out ends one that is open."""
    run_id = seeds.run()
    assert visitor.get(f"/runs/{run_id}/stream").status_code == 303
    sign_in(visitor, ANNA)
    with visitor.stream("GET", f"/runs/{run_id}/stream", timeout=30) as response:
        lines = response.iter_lines()
        assert next(lines)
        quiet_app.rows("delete from console_tokens returning digest")
        assert list(lines)[-1] == ""


def test_revisions_are_compared(seeds: Seeds, browser: httpx.Client) -> None:
    """Two revisions are compared word by word, by default the last two."""
    run_id = seeds.run()
    assert "This gate has not opened yet." in browser.get(f"/runs/{run_id}/revisions").text
    for revision, scene in enumerate(("Drops run down.", "Heavy drops run down.", "Heavy drops fall."), start=1):
        seeds.revision(run_id, revision, scene=scene)
    page = browser.get(f"/runs/{run_id}/revisions").text

    assert "<dt>Idea 1, scene</dt>" in page
    assert "Heavy drops <del>run down.</del><ins>fall.</ins>" in page
    assert "<ins>Heavy drops </ins>" in browser.get(f"/runs/{run_id}/revisions?before=1&after=2").text
    assert "Nothing that is shown differs" in browser.get(f"/runs/{run_id}/revisions?before=2&after=2").text
    assert browser.get(f"/runs/{run_id}/revisions?before=1&after=9").status_code == 404


def test_a_fork(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """A run forks at a revision, with another project, options and a cap, once per form; what is wrong is shown."""
    source = seeds.run(brief="Waves", status="completed")
    seeds.revision(source, 1, title="First")
    seeds.revision(source, 2, title="Second")
    page = browser.get(f"/runs/{source}/actions/fork")
    assert re.findall(r"<option>(.)</option>", page.text) == ["1", "2"]
    [request] = re.findall(r'name="request" value="([\w-]+)"', page.text)
    form = {"csrf_token": csrf_token_of(page), "request": request, "revision": "1", "project": "pair"}
    form |= {"pair.clips": "3", "tiny.clips": "1", "budget_usd": "2.50"}
    targets = [browser.post(f"/runs/{source}/actions/fork", data=form).headers["location"] for _ in range(2)]

    assert targets[0] == targets[1]
    made = quiet_app.run(targets[0].rpartition("/")[2])
    assert (made["forked_from"], made["project"], made["options"]) == (str(source), "pair", {"clips": 3})
    assert made["cost"]["cap_usd"] == 2.5
    channels = quiet_app.rows("select channel from runs where id <> %s", source)
    assert [row["channel"] for row in channels] == ["console"]
    for fields, expected in (
        ({"budget_usd": "lots"}, (422, "must be a number such as 2.50")),
        ({"project": "tiny", "tiny.clips": "9"}, (422, "Option clips must be a whole number from 1 to 3.")),
        ({"project": "tiny", "revision": "7"}, (404, "Revision of the ideas not found. Available: 1, 2.")),
    ):
        refused = press(browser, source, "fork", **fields)
        assert (refused.status_code, expected[1] in refused.text) == (expected[0], True), refused.text


def test_rights_of_the_key(seeds: Seeds, visitor: httpx.Client, quiet_app: App) -> None:
    """A key that can only start runs sees no button that it cannot use, and cannot use one."""
    run_id, failed = seeds.run(), seeds.failed()
    quiet_app.rows("update api_keys set can = 'start' where name = 'settings key 2' returning id")
    try:
        sign_in(visitor, BEN)
        page, failure = (visitor.get(f"/runs/{each}").text for each in (run_id, failed))
        assert 'id="cancel"' not in page
        assert 'id="retry"' not in failure
    finally:
        quiet_app.rows("update api_keys set can = 'approve' where name = 'settings key 2' returning id")


def test_texts_of_others_are_text(seeds: Seeds, browser: httpx.Client, film: str, quiet_app: App) -> None:
    """Markup in a brief, an idea, an error of a provider and a comment is shown, and is none."""
    run_id = seeds.failed(HOSTILE, brief=HOSTILE, artifacts={"ideas": {"title": HOSTILE}})
    seeds.clips(run_id, film, error=HOSTILE)
    seeds.revision(run_id, 1, scene=HOSTILE)
    seeds.revision(run_id, 2, scene="W" * 300)
    review = seeds.ideation(brief=HOSTILE)
    quiet_app.run(str(review))  # it is served
    quiet_app.decide(str(review), "ideation", False, comment=HOSTILE)
    paths = ["/runs", f"/runs/{run_id}", f"/runs/{review}", f"/runs/{run_id}/revisions"]
    for path in [*paths, f"/runs/{run_id}/actions/fork", f"/new?from={run_id}"]:
        text = browser.get(path).text
        assert "&lt;script&gt;" in text, path
        assert "<script>" not in text, path
        assert "<img" not in text, path
