"""The inbox: what it lists, how texts of others are shown, and how much it asks of the database."""

from __future__ import annotations

import re
from functools import partial
from html import escape

import httpx
import pytest

from storage.inbox import INBOX
from tests.api.test_statements import statements_of
from tests.app import App
from tests.console.conftest import csrf_token_of, sign_in
from tests.console.seeds import HOSTILE, Seeds

LABELS = ("Stuck", "Outcome unknown", "Film to approve", "Ideas to approve", "Failed", "Not notified")


def labels_of(page: httpx.Response) -> list[str]:
    """Return the label of each row, in order."""
    assert page.status_code == 200, page.text
    return re.findall(r'<span class="badge \w+">([^<]+)</span>', page.text)


def part_of(browser: httpx.Client, page: httpx.Response) -> httpx.Response:
    """Return the answer to the request that htmx repeats on a page."""
    [path] = re.findall(r'hx-get="([^"]+)"', page.text)
    return browser.get(path.replace("&amp;", "&"), headers={"hx-request": "true"})


def test_it_lists_everything_that_waits(seeds: Seeds, browser: httpx.Client, film: str) -> None:
    """Open reviews and everything that needs attention are rows with project, price, due time and film."""
    seeds.run(status="running")
    seeds.run(status="completed")
    seeds.failed("Not us", "rejected")
    seeds.failed("Cancelled.", "cancelled")
    seeds.failed(age=24 * 8)
    ids = seeds.one_of_each(film)
    page = browser.get("/inbox")

    assert sorted(labels_of(page)) == sorted(LABELS)
    assert all(f'href="/runs/{run_id}' in page.text for run_id in ids)
    for text in (
        "A lighthouse in the fog",
        "<dt>Overdue</dt>",
        "<dt>Price</dt><dd>0.30 USD</dd>",
        "Whether videos:127.0.0.1 accepted clip 1 is unknown. It may cost 0.30 USD.",
        'Clip 1: <span dir="auto">The server does not answer.',
        'The notification run.completed has not reached hooks.example.com: <span dir="auto">410 Gone',
        f'src="/media/{film}#t=0.1"',
    ):
        assert text in page.text
    ordered = [label for label in labels_of(page) if label in ("Film to approve", "Ideas to approve", "Failed")]
    assert ordered == ["Film to approve", "Ideas to approve", "Failed"]


def test_it_is_empty(seeds: Seeds, browser: httpx.Client) -> None:
    """An empty inbox says so, also on a page that does not exist any more."""
    assert "Nothing waits for you." in browser.get("/inbox").text
    assert "This page of the inbox is empty." in browser.get("/inbox?page=3").text


@pytest.mark.parametrize("page", ["0", "x", "1001"])
def test_an_invalid_page_is_refused(browser: httpx.Client, page: str) -> None:
    """The error is a page that names the field."""
    response = browser.get(f"/inbox?page={page}")
    assert (response.status_code, "page: " in response.text) == (422, True)


@pytest.mark.slow
def test_it_is_paged(seeds: Seeds, browser: httpx.Client, film: str) -> None:
    """Of 120 rows each is on one page, the newest first."""
    seeds.many(120, film)
    pages = [browser.get(f"/inbox?page={number}") for number in (1, 2, 3)]

    numbers = [re.findall(r"Film number (\d+)</", page.text) for page in pages]
    assert [len(labels_of(page)) for page in pages] == [50, 50, 20]
    assert {int(number) for part in numbers for number in part} == set(range(120))
    assert ["Older" in page.text for page in pages] == [True, True, False]
    assert ["Newer" in page.text for page in pages] == [False, True, True]


def test_it_follows_what_happens(seeds: Seeds, browser: httpx.Client) -> None:
    """The repeated request answers 204 until a row changes, and then with the rows alone."""
    seeds.ideation()
    page = browser.get("/inbox")
    same = part_of(browser, page)
    assert (same.status_code, same.text) == (204, "")

    seeds.failed()
    changed = part_of(browser, page)
    assert sorted(labels_of(changed)) == ["Failed", "Ideas to approve"]
    assert changed.text.lstrip().startswith('<div id="rows"')
    assert part_of(browser, changed).status_code == 204


def test_texts_of_others_are_text(seeds: Seeds, browser: httpx.Client, film: str) -> None:
    """Markup in a brief, a title, an answer of a provider and a host is shown, and is none."""
    seeds.ideation(title=HOSTILE, brief=HOSTILE)
    seeds.failed(HOSTILE, brief=HOSTILE)
    seeds.stuck(HOSTILE)
    seeds.undelivered(HOSTILE, url=f"https://{HOSTILE}/")
    page = browser.get("/inbox")

    assert page.text.count(str(escape(HOSTILE)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")) >= 6
    for text in (page.text, browser.get(f"/runs/{seeds.failed(HOSTILE, brief=HOSTILE)}").text):
        assert "<script>" not in text
        assert "<img src=x" not in text


def test_rights_of_the_key(seeds: Seeds, visitor: httpx.Client, quiet_app: App, film: str) -> None:
    """A key that can only start runs sees reviews without the buttons, and cannot open one."""
    run_id = seeds.publish(film)
    quiet_app.rows("update api_keys set can = 'start' where name = 'settings key 2' returning id")
    try:
        sign_in(visitor, "key-of-ben-0000000000000")
        assert "Approve…" not in visitor.get("/inbox").text
        page = visitor.get(f"/runs/{run_id}")
        assert "This key cannot approve." in page.text
        form = {"csrf_token": csrf_token_of(page), "action": "approve"}
        assert visitor.post(f"/runs/{run_id}/publish", data=form).status_code == 403
    finally:
        quiet_app.rows("update api_keys set can = 'approve' where name = 'settings key 2' returning id")


def test_a_review_is_opened(seeds: Seeds, browser: httpx.Client, film: str) -> None:
    """A run leads to the page of its ideas, or of its film."""
    for run_id, gate in ((seeds.ideation(), "ideation"), (seeds.publish(film), "publish")):
        assert f'href="/runs/{run_id}/{gate}"' in browser.get(f"/runs/{run_id}").text
        assert f'href="/runs/{run_id}/{gate}#approve"' in browser.get("/inbox").text


def test_an_unknown_run_is_reported(browser: httpx.Client) -> None:
    """The error is a page, and for htmx a part of one."""
    path = "/runs/00000000-0000-4000-8000-000000000000"
    response, part = browser.get(path), browser.get(path, headers={"hx-request": "true"})
    assert (part.status_code, part.text.startswith('<div class="problem run_not_found">')) == (404, True)
    assert (response.status_code, "not found" in response.text) == (404, True)
    assert response.headers["content-type"].startswith("text/html")


def test_films_are_for_sessions(visitor: httpx.Client, film: str) -> None:
    """A film is served to a session, whole or in part, and to nobody else."""
    assert visitor.get(f"/media/{film}").status_code == 303
    sign_in(visitor, "key-of-anna-000000000000")
    part = visitor.get(f"/media/{film}", headers={"range": "bytes=0-9"})

    assert (part.status_code, len(part.content), part.headers["content-type"]) == (206, 10, "video/mp4")
    assert part.headers["x-content-type-options"] == "nosniff"
    assert visitor.get(f"/media/{'0' * 64}").status_code == 404
    assert visitor.get("/media/..%2f..%2fetc").status_code == 404


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_statements_and_plan_of_100_000_runs(quiet_app: App, seeds: Seeds, browser: httpx.Client, film: str) -> None:
    """With 100,000 runs the pages take as many statements as with ten, and each part of the inbox uses its index."""
    ids = seeds.one_of_each(film)
    run, *_, ideation, publish = (f"/runs/{id_}" for id_ in ids[:4])
    pages = "/inbox", "/runs", "/runs?status=failed", "/new?project=tiny", "/costs", "/trouble", "/sign-in"
    paths = [*pages, run, f"{run}/revisions", f"{run}/actions/fork", f"{ideation}/ideation", f"{publish}/publish"]
    paths.append(f"/new?from={run.rpartition('/')[2]}")

    def statements() -> list[int]:
        return [statements_of(quiet_app, partial(browser.get, path, follow_redirects=True)) for path in paths]

    few = statements()
    seeds.ended(100_000)
    values = {"most": 51, "limit": 51, "offset": 0, "only_troubles": False}
    query = re.sub(r"%\((\w+)\)s", lambda name: str(values[name[1]]), INBOX)
    plan = "\n".join(row["QUERY PLAN"] for row in quiet_app.rows(f"explain {query}"))

    assert statements() == few
    assert few[0] <= 2
    assert "Seq Scan" not in re.sub(r"Seq Scan on (troubles|review_deadlines)\b", "", plan), plan
    for index in ("runs_in_review", "runs_failed", "orders_unknown", "deliveries_undelivered"):
        assert index in plan, plan
    assert len(labels_of(browser.get("/inbox"))) == 50
