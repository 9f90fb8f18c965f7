"""A pruned run in Chromium: its page says what happened and when; nothing on it is broken, no action fails."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.app import ANNA, App
from tests.console.chromium import Tab
from tests.console.seeds import Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_pruned_run(tab: Tab, seeds: Seeds, film: str, quiet_app: App) -> None:
    """From the list: posts, decisions and costs are there, and neither a film nor an action that needs what is gone."""
    run_id = seeds.pruned(film)
    page, today = tab.page, f"{datetime.now(UTC):%Y-%m-%d}"
    tab.sign_in(ANNA)
    page.goto("/runs")
    row = page.locator(f"#run-{run_id}")
    expect(row).to_contain_text("Completed")
    assert row.locator("video").count() == 0
    row.get_by_role("link", name=f"Pruned on {today}").click()
    page.wait_for_url(f"**/runs/{run_id}")
    state = page.locator("#state")
    expect(state).to_contain_text("This run was pruned on ")
    expect(state).to_contain_text("UTC: its words and files are gone.")
    expect(state).to_contain_text("0.30 USD spent")
    expect(page.get_by_role("link", name="https://tiktok.example/@rain/1")).to_be_visible()
    expect(page.locator(".decisions li")).to_have_count(1)
    expect(page.locator("#clips")).to_contain_text("0.30 USD charged")
    expect(page.get_by_text("Nothing has happened yet.")).to_have_count(0)
    assert page.locator("main video, main .actions a, main form").count() == 0
    tab.check()


@pytest.mark.parametrize("part", ["/runs/{}/actions/fork", "/runs/{}/revisions", "/new?from={}", "/trouble/{}/retry"])
def test_what_a_pruned_run_has_no_more(tab: Tab, seeds: Seeds, film: str, quiet_app: App, part: str) -> None:
    """An old bookmark gets a sentence with the date, and no form."""
    path = part.format(seeds.pruned(film, code="clip_failed"))
    tab.sign_in(ANNA)
    answer = tab.page.goto(path)
    assert answer is not None
    assert answer.status == 410
    expect(tab.page.locator("main")).to_contain_text("The run was pruned on ")
    assert tab.page.locator("main form").count() == 0
    tab.check()
    tab.reported.clear()  # the browser reports the status 410


def test_a_pruned_run_that_failed(tab: Tab, seeds: Seeds, film: str, quiet_app: App) -> None:
    """Its page has the code of the error, and the inbox and the page of troubles do not name it."""
    run_id = seeds.pruned(film, code="clip_failed")
    tab.sign_in(ANNA)
    for path in ("/inbox", "/trouble"):
        tab.page.goto(path)
        assert str(run_id) not in tab.page.content()
    tab.page.goto(f"/runs/{run_id}")
    expect(tab.page.locator("#state")).to_contain_text("clip_failed")
    expect(tab.page.locator("#state .badge")).to_have_text("Failed")
    expect(tab.page.locator("#graph")).to_contain_text("pruned")
    assert tab.page.locator("main .actions a").count() == 0
    tab.check()
