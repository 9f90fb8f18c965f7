"""Costs, troubles, health and keys in the console: what they show, to whom, and what their buttons do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import pytest

from storage import api_keys
from tests.api.test_statements import statements_of
from tests.app import App
from tests.console.conftest import csrf_token_of, sign_in
from tests.console.seeds import HOSTILE, Seeds

PAGES = ("/costs", "/trouble", "/doctor", "/keys")


@pytest.fixture
def seeds(quiet_app: App) -> Iterator[Seeds]:
    """A database without runs before and after."""
    seeds = Seeds(quiet_app)
    seeds.clear()
    yield seeds
    seeds.clear()


@pytest.fixture(scope="module")
def admin_key(quiet_app: App) -> str:
    """The key of an administrator."""
    added = quiet_app.in_loop(api_keys.add_key(quiet_app.state.services.db, "boss", "admin"))
    assert added is not None
    return added[0]


@pytest.fixture
def admin(visitor: httpx.Client, admin_key: str) -> httpx.Client:
    """A browser that has signed in as an administrator."""
    return sign_in(visitor, admin_key)


@pytest.fixture
def starter(quiet_app: App, visitor: httpx.Client) -> Iterator[httpx.Client]:
    """A browser whose key can only start runs."""
    change = "update api_keys set can = %s where name = 'settings key 2' returning id"
    quiet_app.rows(change, "start")
    yield sign_in(visitor, "key-of-ben-0000000000000")
    quiet_app.rows(change, "approve")


def post(browser: httpx.Client, path: str, **form: Any) -> httpx.Response:
    """Send a form with the token of the page that has it."""
    return browser.post(path, data={"csrf_token": csrf_token_of(browser.get("/inbox")), **form})


def links_of(page: httpx.Response) -> list[str]:
    """Return the last part of the links to actions."""
    return re.findall(r'href="/trouble/[0-9a-f-]{36}/([\w-]+)"', page.text)


def test_navigation_follows_rights(admin: httpx.Client, browser: httpx.Client) -> None:
    """Only an administrator sees the entry of the keys."""
    entries = [path for path in PAGES if f'<a href="{path}"' in browser.get("/inbox").text]
    assert entries == ["/costs", "/trouble", "/doctor"]


def test_an_administrator_sees_every_page(admin: httpx.Client) -> None:
    """Each page names itself in the navigation."""
    for path in PAGES:
        page = admin.get(path)
        assert (page.status_code, f'<a href="{path}" aria-current="page">' in page.text) == (200, True)


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_for_sessions(visitor: httpx.Client, path: str) -> None:
    """A visitor is led to the form and back to the page."""
    assert visitor.get(path).headers["location"] == f"/sign-in?next={path}"


def test_costs_as_a_picture_and_a_table(seeds: Seeds, browser: httpx.Client) -> None:
    """Bars by day and provider are as high as the amounts, with the numbers in a table beside them."""
    seeds.costs("tiny", "kling", spent=(0.3,), seconds=4, published=3)
    seeds.costs("tiny", "videos:<b>", spent=(0.1,), seconds=4)
    seeds.costs("pair", "kling", days_ago=1, spent=(0.1,), seconds=2)
    page = browser.get("/costs").text

    assert re.findall(r'<rect class="(p\d)" x="([\d.]+)" y="[\d.]+" width=".8" height="([\d.]+)"', page) == [
        ("p0", "28.10", "25.000"),
        ("p0", "29.10", "75.000"),
        ("p1", "29.10", "25.000"),
    ]
    assert "Of each second bought, 30 % was published." in page
    assert "<dt>Spent</dt><dd>0.50 USD</dd>" in page
    assert "videos:&lt;b&gt;" in page
    assert page.count("<tr>") >= 8
    assert "0.10 USD" in browser.get("/costs?project=pair").text


def test_costs_without_orders(seeds: Seeds, browser: httpx.Client) -> None:
    """The page says that there are none, and an invalid range is reported on a page."""
    assert "Nothing was ordered in these days." in browser.get("/costs?from=2026-01-01&to=2026-01-02").text
    for query in ("from=2026-02-02&to=2026-02-01", "from=x"):
        assert browser.get(f"/costs?{query}").status_code == 422


def test_troubles_and_their_actions(seeds: Seeds, browser: httpx.Client) -> None:
    """Each trouble has its reason and exactly the actions that there are; open reviews are elsewhere."""
    seeds.ideation()
    assert "Nothing is in trouble." in browser.get("/trouble").text
    seeds.undelivered(age=5)
    seeds.run(status="failed", error={"code": "x", "message": "Not again.", "retryable": False}, age=4)
    seeds.failed("The clip failed.", age=3)
    seeds.unknown(age=2)
    seeds.stuck(age=1)
    page = browser.get("/trouble")

    assert links_of(page) == ["retry", "stop-waiting", "cancel", "retry", "not-made", "clips", "retry"]
    for text in ("Whether videos:127.0.0.1 accepted clip 1 is unknown.", "Not again.", "The server does not answer."):
        assert text in page.text


def test_a_key_without_approval_has_no_actions(seeds: Seeds, starter: httpx.Client) -> None:
    """Its pages have no buttons, and the requests are refused."""
    run_id = seeds.stuck()
    assert links_of(starter.get("/trouble")) == []
    for action in ("retry", "stop-waiting", "cancel"):
        assert post(starter, f"/trouble/{run_id}/{action}").status_code == 403
    assert "Run the checks" not in starter.get("/doctor").text
    assert post(starter, "/doctor").status_code == 403


def test_a_failed_clip_is_retried_with_other_words(quiet_app: App, seeds: Seeds, browser: httpx.Client) -> None:
    """The form shows its words and its price; the retry is recorded with the session's key."""
    run_id = seeds.failed()
    key = seeds.order(
        run_id, "clip", "kling", state="failed", clip=1, take=1, amount_usd=0.3, request={"prompt": HOSTILE}
    )
    page = browser.get(f"/trouble/{run_id}/clips")
    assert "<script>document" not in page.text
    assert "for up to <strong>0.30 USD</strong>" in page.text
    assert browser.post(f"/trouble/{run_id}/clips").status_code == 403

    answer = post(browser, f"/trouble/{run_id}/clips", **{"prompt.1": "A calmer sea.", "prompt.x": "-"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run_id}"), answer.text
    [event] = quiet_app.rows(
        "select source, payload from events where kind = 'retry.requested' and run_id = %s", run_id
    )
    assert (event["source"], event["payload"]["prompts"]) == ("console", {"1": "A calmer sea."})
    assert event["payload"]["actor"]["name"] == "settings key 1"
    assert key.endswith(":clip:1:1")
    again = post(browser, f"/trouble/{run_id}/retry")
    assert (again.status_code, "cannot be retried" in again.text) == (409, True)


def test_an_unknown_order_is_marked_as_not_made(quiet_app: App, seeds: Seeds, browser: httpx.Client) -> None:
    """First the evidence and the price are shown, with nothing changed; only its button declares."""
    run_id = seeds.unknown()
    evidence = post(browser, f"/trouble/{run_id}/not-made")
    assert (evidence.status_code, "None was made: order again for 0.30 USD" in evidence.text) == (409, True)
    assert quiet_app.rows("select state from orders where run_id = %s", run_id) == [{"state": "unknown"}]
    [confirm] = re.findall(r'name="confirm" value="(\w+)"', evidence.text)

    assert post(browser, f"/trouble/{run_id}/not-made", confirm="0" * 12).status_code == 409
    assert post(browser, f"/trouble/{run_id}/not-made", confirm=confirm).status_code == 303
    assert quiet_app.rows("select state from orders where run_id = %s", run_id) == [{"state": "failed"}]


def test_other_words_survive_the_evidence(quiet_app: App, seeds: Seeds, browser: httpx.Client) -> None:
    """The words that were entered before the evidence was shown are those of the retry."""
    run_id = seeds.unknown()
    evidence = post(browser, f"/trouble/{run_id}/clips", **{"prompt.1": 'A "calm" sea.', "prompt.2": " "})
    assert evidence.status_code == 409
    form = {name: unescape(value) for name, value in re.findall(r'name="([\w.]+)" value="([^"]*)"', evidence.text)}
    assert form.keys() == {"csrf_token", "prompt.1", "confirm"}
    assert browser.post(f"/trouble/{run_id}/not-made", data=form).status_code == 303
    [event] = quiet_app.rows("select payload from events where kind = 'retry.requested' and run_id = %s", run_id)
    assert event["payload"]["prompts"] == {"1": 'A "calm" sea.'}


def test_a_stuck_run_is_cancelled(quiet_app: App, seeds: Seeds, browser: httpx.Client) -> None:
    """The page shows what is reserved; the button ends the run."""
    run_id = seeds.stuck()
    assert (
        "Clips that are ordered already are still charged, at most 0.30 USD."
        in browser.get(f"/trouble/{run_id}/cancel").text
    )
    assert post(browser, f"/trouble/{run_id}/cancel").status_code == 303
    assert quiet_app.run(str(run_id))["error"]["code"] == "cancelled"
    assert post(browser, f"/trouble/{run_id}/cancel").status_code == 409
    assert browser.get(f"/trouble/{run_id}/explode").status_code == 422


def test_health_shows_models_and_checks(browser: httpx.Client) -> None:
    """Readiness and models are there at once; the checks of `doctor` after the button."""
    page = browser.get("/doctor").text
    assert "No worker is running." in page
    assert "sandbox-video" in page
    assert "<strong>language model</strong>" not in page
    checked = post(browser, "/doctor").text
    for name in ("projects", "disk", "store", "language model", "moderation", "video", "renderer", "publisher"):
        assert f"<strong>{name}</strong>" in checked
    assert "sandbox-rules answered with structured output" in checked


def test_a_key_is_added_and_revoked(quiet_app: App, admin: httpx.Client) -> None:
    """The key is shown once and works; revoking asks first, and the log knows who did both."""
    added = post(admin, "/keys", name="web", can="start", days="30")
    [key] = re.findall(r'id="secret">(mw_[\w-]+)<', added.text)
    with quiet_app.client_of(key) as client:
        assert client.get("/v1/projects").status_code == 200
        page = admin.get("/keys").text
        assert key not in page
        assert "by boss" in page
        [key_id] = re.findall(r'href="/keys\?revoke=(key_\w+)" aria-label="Revoke web…"', page)
        assert "Revoke the key web?" in admin.get(f"/keys?revoke={key_id}").text
        assert client.get("/v1/projects").status_code == 200
        assert post(admin, f"/keys/{key_id}/revoke").headers["location"] == "/keys"
        assert client.get("/v1/projects").status_code == 401
    log = quiet_app.rows(
        "select kind, source, payload #>> '{actor,name}' as name from events where subject = %s", key_id
    )
    assert [tuple(row.values()) for row in log] == [
        ("key.added", "console", "boss"),
        ("key.revoked", "console", "boss"),
    ]
    assert "There is no such key to revoke" in admin.get(f"/keys?revoke={key_id}").text


def test_keys_are_for_administrators(browser: httpx.Client) -> None:
    """Another key sees and changes none."""
    assert browser.get("/keys").status_code == 403
    assert post(browser, "/keys", name="mine", can="admin").status_code == 403
    assert post(browser, "/keys/boss/revoke").status_code == 403


def test_faults_of_the_form_of_keys(admin: httpx.Client) -> None:
    """A taken name is reported on the page; the last key that manages keys stays."""
    assert post(admin, "/keys", name="taken", can="start").status_code == 200
    taken = post(admin, "/keys", name="taken", can="start")
    assert (taken.status_code, "There is a key named taken" in taken.text) == (409, True)
    assert post(admin, "/keys", name="two words", can="start").status_code == 422
    last = post(admin, "/keys/boss/revoke")
    assert (last.status_code, "This is the last key that can manage keys" in last.text) == (409, True)


def test_pages_take_few_statements(quiet_app: App, seeds: Seeds, admin: httpx.Client) -> None:
    """As many for many rows as for few."""
    paths = {"/costs": 3, "/trouble": 2, "/keys": 2}
    seeds.many(60, "0" * 64)
    assert {path: statements_of(quiet_app, lambda path=path: admin.get(path)) for path in paths} == paths  # type: ignore[misc]
