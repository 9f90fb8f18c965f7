"""Reviews in Chromium that end elsewhere, cost more than is left, or are given to somebody else."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import expect

from tests.app import ANNA, App
from tests.console.chromium import Tab
from tests.console.seeds import THREE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FOLDER = os.environ.get("CONSOLE_PICTURES")


def keep(tab: Tab, name: str) -> None:
    """Write a picture of the screen to the folder, if there is one."""
    if FOLDER:
        size = tab.page.viewport_size
        assert size is not None
        tab.page.screenshot(path=Path(FOLDER, f"{name}-{size['width']}.png"))


def link_to(app: App, run_id: UUID) -> str:
    """Return the path of a reviewer's link to the ideas of a run."""
    url: str = app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation"}).json()["url"]
    return f"/review/{url.rpartition('/')[2]}"


@pytest.mark.parametrize("by_link", [False, True])
def test_a_review_that_was_decided_elsewhere(tab: Tab, seeds: Seeds, quiet_app: App, by_link: bool) -> None:
    """An open page says so, and keeps what was typed."""
    run_id = seeds.ideation(content=THREE)
    if not by_link:
        tab.sign_in(ANNA)
    tab.page.goto(link_to(quiet_app, run_id) if by_link else f"/runs/{run_id}/ideation")
    tab.page.locator("#changes").fill("Warmer")
    expect(tab.page.locator("#stale")).to_be_hidden()
    seeds.reopened(run_id, {**THREE, "title": "Another"})
    expect(tab.page.locator("#stale")).to_be_visible()
    expect(tab.page.locator("#changes")).to_have_value("Warmer")
    keep(tab, f"stale-{by_link}")
    tab.check()
    assert [text for text in tab.reported if "409" not in text] == []
    tab.reported.clear()


def test_the_offer_fits_or_cannot_be_approved(tab: Tab, seeds: Seeds) -> None:
    """The button follows what is kept."""
    run_id = seeds.ideation(content=THREE, cap_usd=0.7)
    tab.sign_in(ANNA)
    tab.page.goto(f"/runs/{run_id}/ideation")
    expect(tab.page.locator("#approve")).to_be_disabled()
    expect(tab.page.locator("#offer")).to_contain_text("0.70 USD are left: drop ideas until it fits.")
    keep(tab, "offer")
    tab.check()
    tab.page.locator("#card-3").get_by_label("Keep").uncheck()
    expect(tab.page.locator("#approve")).to_be_enabled()
    expect(tab.page.locator("#approve")).to_have_text("Approve 2 clips for 0.60 USD")
    tab.page.locator("#card-3").get_by_label("Keep").check()
    expect(tab.page.locator("#approve")).to_be_disabled()


def test_a_reviewer_is_invited(tab: Tab, seeds: Seeds) -> None:
    """The page shows the link, copies it, and keeps what was typed."""
    run_id = seeds.ideation(content=THREE)
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}/ideation")
    page.locator("#title-1").fill("Drops of rain")
    expect(page.locator("#note-title-1")).to_have_text("13 / 60")
    page.get_by_text("Invite someone to review…").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Link for the reviewer").input_value()
    expect(page.locator("#title-1")).to_have_value("Drops of rain")
    page.get_by_role("button", name="Copy the link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == link
    keep(tab, "invite")
    tab.check()
    page.goto(f"/review/{link.rpartition('/')[2]}")
    expect(page.get_by_role("note").first).to_contain_text("SANDBOX")
    keep(tab, "link")
    tab.check()


def test_the_form_of_a_run(tab: Tab) -> None:
    """A field that is corrected is not marked any more; the menu is one row, over all else."""
    tab.sign_in(ANNA)
    page = tab.page
    page.goto("/new")
    page.locator("#project-tiny").check()
    page.locator("#go").click()
    expect(page.locator("#brief")).to_have_attribute("aria-invalid", "true")
    page.locator("#brief").fill("Rain")
    expect(page.locator("#brief")).not_to_have_attribute("aria-invalid", "true")
    tops = page.evaluate("new Set([...document.querySelectorAll('.bar nav a')].map(e => e.offsetTop)).size")
    assert tops == 1
    page.mouse.wheel(0, 200)
    keep(tab, "new")
    tab.check()
    assert [text for text in tab.reported if "422" not in text] == []
    tab.reported.clear()


def test_progress_in_one_line(tab: Tab, seeds: Seeds) -> None:
    """The newest progress of an order takes the place of the one before."""
    run_id = seeds.run(status="awaiting_video_generation")
    key = seeds.order(run_id, "clip", "videos", number=1, clip=1, take=1)
    seeds.event(run_id, "order.progress", subject=key, progress=0.1)
    tab.sign_in(ANNA)
    tab.page.goto(f"/runs/{run_id}")
    for progress in (0.2, 0.3):
        seeds.event(run_id, "order.progress", subject=key, progress=progress)
        expect(tab.page.locator("#timeline li:visible")).to_have_count(1)
        expect(tab.page.locator("#timeline li:visible")).to_contain_text(f"is {progress:.0%}"[:-1])
    keep(tab, "progress")
