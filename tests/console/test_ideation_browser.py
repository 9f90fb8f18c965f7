"""The ideation page in Chromium: typing, prices, keys, accessibility, and the page without a script."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.app import ANNA, App
from tests.console.chromium import Tab
from tests.console.seeds import HOSTILE, THREE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def decisions(app: App) -> list[dict[str, Any]]:
    """Return all decisions of runs that are there."""
    return app.rows(
        "select verdict, comment, decisions.channel, edits, sample from decisions join runs on runs.id = run_id"
    )


def test_the_price_follows_the_edits(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """Typing keeps the focus; lengths, the drawn text and the price follow it, and what is shown is approved."""
    run_id = seeds.ideation(content=THREE)
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}/ideation")
    tab.check()
    approve = page.locator("#approve")
    expect(approve).to_have_text("Approve 3 clips for 0.90 USD")
    page.locator("#overlay-1").press("End")
    page.locator("#overlay-1").press_sequentially(" here", delay=120)
    expect(page.locator("#note-overlay-1")).to_have_text("9 / 60")
    expect(page.locator("#frame-1 img")).to_have_attribute("alt", "As it will look: Stay here")
    expect(page.locator("#overlay-1")).to_be_focused()
    expect(page.locator("#overlay-1")).to_have_value("Stay here")
    assert page.evaluate("document.querySelector('#frame-1 img').decode().then(() => true)")

    page.locator("#title-1").fill("x" * 75)
    expect(page.locator("#note-title-1")).to_contain_text("75 / 60 Must have 1 to 60 characters, not 75.")
    expect(page.locator("#title-1")).to_have_attribute("aria-invalid", "true")
    expect(approve).to_have_count(0)
    tab.check()
    page.locator("#title-1").fill("Drops of rain")
    page.locator("#card-3").get_by_label("Keep").uncheck()
    expect(approve).to_have_text("Approve 2 clips for 0.60 USD")
    expect(page.get_by_role("status")).to_have_text("Approve 2 clips for 0.60 USD")
    expect(page.locator("#title-3")).to_be_hidden()
    page.locator("#card-1").get_by_label("Make a sample of this clip first").check()
    expect(page.locator("#sample")).to_have_text("Make 1 clip first for 0.30 USD")
    tab.check()

    page.get_by_role("button", name="Add an idea").click()
    expect(page.locator(".idea")).to_have_count(4)
    for name in ("title", "scene", "sound"):
        page.locator(f"#{name}-new1").fill("Dawn")
    expect(approve).to_have_text("Approve 3 clips for 0.90 USD")
    page.locator("#card-new1").get_by_role("button", name="Move up").click()
    expect(page.locator(".idea h2").nth(2)).to_have_text("Idea 3 new")
    expect(page.locator("#up-new1")).to_be_focused()
    expect(page.locator("#title-1")).to_have_value("Drops of rain")
    approve.dblclick()
    page.wait_for_url(f"**/runs/{run_id}")
    expect(page.get_by_text("Ideation, revision 1: approve")).to_be_visible()
    [decision] = decisions(quiet_app)
    assert [idea["title"] for idea in decision["edits"]] == ["Drops of rain", "Lamp", "Dawn"]
    assert decision["edits"][0]["overlay"] == "Stay here"


def test_the_keyboard_alone(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """From the inbox to an approval with keys: a goes to the button, and only Enter there decides."""
    run_id = seeds.ideation(content=THREE)
    tab.sign_in(ANNA)
    keys, page = tab.page.keyboard, tab.page
    keys.press("j")
    keys.press("r")
    page.wait_for_url("**/ideation#changes")
    expect(page.get_by_label("What should change?")).to_be_focused()
    page.goto("/inbox")
    keys.press("j")
    keys.press("Enter")
    page.wait_for_url("**/ideation")
    for key in "jj":
        keys.press(key)
    expect(page.locator("#card-2")).to_be_focused()
    keys.press("x")
    expect(page.locator("#approve")).to_have_text("Approve 2 clips for 0.60 USD")
    keys.press("x")
    expect(page.locator("#approve")).to_have_text("Approve 3 clips for 0.90 USD")
    keys.press("Shift+K")
    expect(page.locator(".idea h2").first).to_have_text("Idea 1 was 2")
    expect(page.locator("#card-2")).to_be_focused()
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    tab.check()
    keys.press("Escape")

    keys.press("Tab")
    page.locator("#title-2").focus()
    keys.press("Control+A")
    keys.type("Old lamp")
    keys.press("Enter")
    keys.press("Escape")
    expect(page.locator("#card-2")).to_be_focused()
    expect(page.locator("#note-title-2")).to_have_text("8 / 60")
    keys.press("r")
    expect(page.get_by_label("What should change?")).to_be_focused()
    page.get_by_label("What should change?").blur()
    keys.press("a")
    expect(page.locator("#approve")).to_be_focused()
    assert decisions(quiet_app) == []
    keys.press("Enter")
    page.wait_for_url(f"**/runs/{run_id}")
    [decision] = decisions(quiet_app)
    assert [idea["title"] for idea in decision["edits"]] == ["Old lamp", "Drops", "Steam"]


def test_a_button_with_the_focus_is_not_pressed(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """The price of an edit comes while the button that approves has the focus: nothing is decided."""
    run_id = seeds.ideation(content=THREE)
    tab.sign_in(ANNA)
    tab.page.goto(f"/runs/{run_id}/ideation")
    tab.page.locator("#title-1").fill("Drops of rain")
    tab.page.locator("#approve").focus()
    expect(tab.page.locator("#note-title-1")).to_have_text("13 / 60")
    expect(tab.page.locator("#approve")).to_be_focused()
    assert decisions(quiet_app) == []


def test_no_price_after_the_decision(tab: Tab, seeds: Seeds) -> None:
    """When the form is sent, the price that is awaited is given up, and the price that is due is not requested."""
    run_id = seeds.ideation(content=THREE)
    tab.sign_in(ANNA)
    page, held = tab.page, list[Route]()
    page.goto(f"/runs/{run_id}/ideation")
    page.evaluate("addEventListener('submit', (event) => event.preventDefault())")  # the page stays
    page.route("**/ideation", lambda route: held.append(route))
    with page.expect_request("**/ideation"):
        page.locator("#title-1").fill("Drops of rain")
    page.locator("#title-1").fill("Drops of a rain")
    with page.expect_event("requestfailed"):
        page.locator("#approve").click()
    page.wait_for_timeout(1000)
    assert len(held) == 1


def test_a_price_does_not_undo_a_button(tab: Tab, seeds: Seeds) -> None:
    """A card is added right after typing: the price that is due then does not take the place of the request."""
    run_id = seeds.ideation(content=THREE)
    tab.sign_in(ANNA)
    page, held = tab.page, list[Route]()
    page.goto(f"/runs/{run_id}/ideation")
    page.route("**/ideation", lambda route: held.append(route))
    page.locator("#title-1").fill("Drops of rain")
    page.get_by_role("button", name="Add an idea").click()
    page.wait_for_timeout(1000)
    [request] = held
    request.continue_()
    expect(page.locator(".idea")).to_have_count(4)
    expect(page.locator("#title-1")).to_have_value("Drops of rain")
    page.unroute_all()
    page.locator("#card-new1").get_by_label("Keep").uncheck()
    expect(page.locator("#approve")).to_have_text("Approve 3 clips for 0.90 USD")


def test_another_revision(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """While a person types, another revision opens: nothing typed is lost, and nothing is decided."""
    run_id = seeds.ideation(content=THREE)
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}/ideation")
    seeds.reopened(run_id, {**THREE, "title": "Another title"})
    page.locator("#title-1").fill("Typed title")
    expect(page.locator("#problem")).to_contain_text("Revision 2 is open now, and nothing was decided.")
    page.get_by_label("What should change?").fill("More rain")
    page.get_by_role("button", name="Request changes").click()
    expect(page.get_by_role("heading", name="Another title")).to_be_visible()
    expect(page.get_by_label("What you typed")).to_contain_text("Typed title")
    expect(page.get_by_label("What should change?")).to_have_value("More rain")
    tab.check()
    assert decisions(quiet_app) == []
    tab.reported.clear()  # the browser reports the status 409


def test_long_and_hostile_texts(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """They are shown, run nothing, and make no page wider than its screen; also without the right to approve."""
    idea = {"title": "W" * 60, "scene": HOSTILE * 7, "sound": "x" * 200, "overlay": HOSTILE[:60]}
    run_id = seeds.ideation(title=HOSTILE, brief=HOSTILE * 40)
    requested = [{"text": "y" * 300, "step": "ideas", "clips": [], "outcome": "not_possible", "reason": HOSTILE}]
    seeds.reopened(run_id, {"title": "W" * 200, "ideas": [idea], "notice": HOSTILE}, requested=requested)
    tab.sign_in(ANNA)
    for can in ("approve", "start"):
        quiet_app.rows("update api_keys set can = %s where name = 'settings key 1' returning id", can)
        try:
            tab.page.goto(f"/runs/{run_id}/ideation")
            expect(tab.page.locator("main")).to_contain_text('<script>document.title="taken"</script>')
            assert "MyloWare" in tab.page.title()
            tab.check()
        finally:
            quiet_app.rows("update api_keys set can = 'approve' where name = 'settings key 1' returning id")


def test_without_a_script(browser_process: Browser, seeds: Seeds, quiet_app: App) -> None:
    """Cards are moved and dropped, and the price is updated and approved, by the buttons alone."""
    run_id = seeds.ideation(content=THREE)
    tab = Tab(browser_process, quiet_app.url, java_script_enabled=False)
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}/ideation")
    page.locator("#card-1").get_by_role("button", name="Move down").click()
    expect(page.locator(".idea h2").first).to_have_text("Idea 1 was 2")
    page.locator("#card-3").get_by_label("Keep").uncheck()
    page.get_by_role("button", name="Update the price").click()
    page.get_by_role("button", name="Approve 2 clips for 0.60 USD").click()
    page.wait_for_url(f"**/runs/{run_id}")
    [decision] = decisions(quiet_app)
    assert [idea["title"] for idea in decision["edits"]] == ["Lamp", "Drops"]
    tab.close()


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_link(browser_process: Browser, seeds: Seeds, quiet_app: App, has_scripts: bool) -> None:
    """A reviewer edits, drops and approves ideas by the buttons alone, with and without scripts."""
    run_id = seeds.ideation(content=THREE)
    answer = quiet_app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation"})
    tab = Tab(browser_process, quiet_app.url, is_phone=True, java_script_enabled=has_scripts)
    page = tab.page
    page.goto(f"/review/{answer.json()['url'].rpartition('/')[2]}")
    if has_scripts:
        tab.check()
    page.locator("#title-1").fill("Drops of rain")
    page.locator("#card-3").get_by_label("Keep").uncheck()
    page.get_by_role("button", name="Update the price").last.click()
    page.get_by_role("button", name="Approve 2 clips for 0.60 USD").click()
    expect(page.get_by_text("Thank you: ")).to_be_visible()
    [decision] = decisions(quiet_app)
    assert (decision["channel"], [idea["title"] for idea in decision["edits"]]) == ("link", ["Drops of rain", "Lamp"])
    tab.close()
