"""The rules of a project in Chromium: proposed, read as a diff, approved, and removed; a stale diff is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.app import ANNA, App
from tests.console.chromium import Tab
from tests.console.seeds import HOSTILE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HANDS, CARS = "No hands in the picture", "No cars"


@pytest.fixture
def tiny(seeds: Seeds) -> Iterator[Seeds]:
    """A project without rules before and after."""
    seeds.clear_rules()
    yield seeds
    seeds.clear_rules()


def test_rules_are_approved_and_removed(tab: Tab, tiny: Seeds, quiet_app: App) -> None:
    """From the page of new runs to the rules of a project; a person approves the diff, and removes a rule."""
    page = tab.page
    tab.sign_in(ANNA)
    page.goto("/new")
    page.locator("#about-tiny").get_by_role("link", name="Rules of Tiny").click()
    page.wait_for_url("**/projects/tiny/rules")
    expect(page.get_by_role("heading", name="Rules of Tiny")).to_be_visible()
    expect(page.get_by_role("button", name="Propose rules")).to_have_count(0)  # there is no note
    tab.check()

    tiny.note(HANDS)
    page.reload()
    page.get_by_role("button", name="Propose rules").click()
    proposed = page.get_by_role("region", name="Proposed")
    expect(proposed.locator("ins")).to_have_text([HANDS])
    tab.check()
    proposed.get_by_role("button", name="Approve these rules").click()
    approved = page.get_by_role("region", name="Approved")
    expect(approved.get_by_role("listitem")).to_have_count(1)
    expect(proposed).to_have_count(0)

    tiny.note(CARS)
    page.reload()
    page.get_by_role("button", name="Propose rules").click()
    expect(proposed.get_by_role("listitem")).to_have_text([HANDS, f"{CARS} new"])
    expect(proposed.locator("ins")).to_have_text([CARS])
    tab.check()
    page.get_by_role("button", name="Approve these rules").focus()
    page.keyboard.press("Enter")
    expect(approved.get_by_role("listitem")).to_have_count(2)
    approved.get_by_role("button", name=f"Remove the rule {HANDS}").click()
    expect(approved.get_by_role("listitem")).to_have_count(1)
    expect(approved).to_contain_text(CARS)
    tab.check()
    assert quiet_app.client.get("/v1/projects/tiny/rules").json()["rules"] == [CARS]


def test_a_diff_that_changed_is_refused(tab: Tab, tiny: Seeds, quiet_app: App) -> None:
    """Texts of others are text; what another person decided meanwhile is said; a dismissed proposal goes."""
    page, path = tab.page, "/projects/tiny/rules"
    tiny.note(HOSTILE)
    quiet_app.client.post(f"/v1{path}", json={"action": "propose"})
    tab.sign_in(ANNA)
    page.goto(path)
    assert page.locator("main img, main script").count() == 0
    tab.check()
    tiny.note("W" * 200)
    quiet_app.client.post(f"/v1{path}", json={"action": "propose"})
    page.get_by_role("button", name="Approve these rules").click()
    expect(page.get_by_text("The rules are not those that were shown.")).to_be_visible()
    tab.check()
    tab.reported.clear()  # the browser reports the status 409
    page.goto(path)
    tab.check()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("region", name="Proposed")).to_have_count(0)
    assert quiet_app.client.get(f"/v1{path}").json()["rules"] == []
