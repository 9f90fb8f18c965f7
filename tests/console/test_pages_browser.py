"""Costs, troubles, health and keys in Chromium: accessible, as wide as the screen, and usable with the keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from storage import api_keys
from tests.app import App
from tests.console.chromium import Tab, chromium
from tests.console.seeds import HOSTILE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
#: Where to write pictures of the pages, if anywhere.


@pytest.fixture(scope="module")
def browser_process() -> Iterator[Browser]:
    """The browser of all tests here."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def admin_key(quiet_app: App) -> str:
    """The key of an administrator."""
    added = quiet_app.in_loop(api_keys.add_key(quiet_app.state.services.db, "boss", "admin"))
    assert added is not None
    return added[0]


@pytest.fixture
def seeds(quiet_app: App) -> Iterator[Seeds]:
    """A database without runs, before and after."""
    quiet_app.rows("delete from rate_limits returning client")
    quiet_app.rows("update api_keys set revoked_at = now() where origin = 'added' and name <> 'boss' returning id")
    seeds = Seeds(quiet_app)
    seeds.clear()
    yield seeds
    seeds.clear()


@pytest.fixture(params=["desktop", "phone"])
def tab(
    request: pytest.FixtureRequest, quiet_app: App, browser_process: Browser, seeds: Seeds, admin_key: str
) -> Iterator[Tab]:
    """A signed-in page on a desktop with a light and on a phone with a dark screen."""
    is_phone = request.param == "phone"
    tab = Tab(browser_process, quiet_app.url, is_phone=is_phone, color_scheme="dark" if is_phone else "light")
    tab.sign_in(admin_key)
    yield tab
    tab.close()


def visit(tab: Tab, path: str) -> None:
    """Open a page and check it."""
    tab.page.goto(path)
    tab.check()


def test_empty_pages(tab: Tab) -> None:
    """Pages with nothing to show say so."""
    for path in ("/costs", "/trouble", "/doctor", "/keys"):
        visit(tab, path)
    expect(tab.page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_count(6)


def test_costs(tab: Tab, seeds: Seeds) -> None:
    """A picture of many days with many providers has its table; a form chooses the days."""
    for day in range(28):
        for number in range(1 + day % 3):
            provider = ("kling", "replicate", "videos:gpu.example:8000", "higgsfield")[(day + number) % 4]
            spent = ((day * 7 + number * 3) % 11) / 4 + 0.3
            seeds.costs("tiny", provider, days_ago=day, spent=(spent,), seconds=4, published=3 if number else 0)
    seeds.costs("pair", "a-" + "long" * 30, spent=(2.5,), seconds=4, state="submitted")
    seeds.costs("four", "sixth", spent=(0.5,), seconds=4)
    visit(tab, "/costs")
    tab.page.get_by_text("The days as a table").click()
    expect(tab.page.get_by_role("table").first).to_be_visible()
    tab.check()
    tab.page.get_by_label("Project", exact=True).select_option("pair")
    tab.page.get_by_role("button", name="Show").click()
    tab.page.wait_for_url("**/costs?from=*&project=pair")
    expect(tab.page.locator(".plot g")).to_have_count(1)


def test_troubles(tab: Tab, seeds: Seeds) -> None:
    """Every trouble and every page of an action is accessible, and with the keyboard a run is cancelled."""
    seeds.undelivered(age=5)
    failed, unknown = seeds.failed(age=4), seeds.unknown(age=3)
    clip = {"clip": 1, "take": 1, "amount_usd": 0.3, "request": {"prompt": "A sea at night, calm."}}
    seeds.order(failed, "clip", "kling", state="failed", result={"code": "x", "message": "Blocked."}, **clip)
    stuck = seeds.stuck(age=2)
    visit(tab, "/trouble")
    for run_id, action in ((failed, "retry"), (failed, "clips"), (unknown, "not-made"), (stuck, "stop-waiting")):
        visit(tab, f"/trouble/{run_id}/{action}")
    tab.page.goto(f"/trouble/{unknown}/not-made")
    tab.page.get_by_role("button", name="Look again").click()
    expect(tab.page.get_by_role("button", name="None was made: order again for 0.30 USD")).to_be_visible()
    tab.check()
    tab.reported.clear()  # the browser reports the status 409
    tab.page.goto("/trouble")
    tab.page.get_by_role("link", name="Cancel…").focus()
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("button", name="Cancel the run").focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/runs/*")


def test_many_and_hostile_rows(tab: Tab, seeds: Seeds) -> None:
    """200 troubles are paged, and texts of others are text."""
    seeds.stuck(HOSTILE, brief=HOSTILE * 20)
    failed = seeds.failed(HOSTILE * 20, brief="W" * 900)
    order = {"clip": 1, "take": 1, "amount_usd": 0.3, "request": {"prompt": HOSTILE, "seconds": 3}}
    seeds.order(failed, "clip", HOSTILE, state="failed", spent_usd=0.3, result={"message": HOSTILE}, **order)
    for number in range(200):
        seeds.failed(brief=f"Film number {number}", age=number / 10 + 2)
    for path in ("/trouble", "/costs", f"/trouble/{failed}/clips"):
        visit(tab, path)
        expect(tab.page.locator("main")).to_contain_text('<script>document.title="taken"</script>')
        assert tab.page.locator("main img, main script").count() == 0
    tab.page.goto("/trouble")
    expect(tab.page.locator(".row")).to_have_count(50)
    tab.page.get_by_role("link", name="Older").click()
    tab.page.wait_for_url("**/trouble?page=2")


def test_health(tab: Tab) -> None:
    """The button runs the checks in place."""
    tab.page.goto("/doctor")
    tab.page.get_by_role("button", name="Run the checks").click()
    expect(tab.page.get_by_role("button", name="Run the checks again")).to_be_visible(timeout=60_000)
    expect(tab.page.locator("#checks")).to_contain_text("answered with structured output")
    tab.check()


def test_keys(tab: Tab) -> None:
    """A key is added with the keyboard, shown once, and revoked after a question."""
    tab.page.goto("/keys")
    tab.page.get_by_label("Name", exact=True).fill("website-of-the-bakery")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#secret")).to_contain_text("mw_")
    tab.check()
    tab.page.get_by_role("link", name="Revoke website-of-the-bakery…").click()
    tab.check()
    tab.page.get_by_role("button", name="Revoke website-of-the-bakery").click()
    tab.page.wait_for_url("**/keys")
    expect(tab.page.get_by_role("row", name="website-of-the-bakery").last).to_contain_text("by boss")
