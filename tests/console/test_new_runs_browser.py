"""New runs in Chromium: one brief in two touches, five at once, by keyboard, with an image, and without a script."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.app import ANNA, App
from tests.console.chromium import Tab
from tests.console.seeds import HOSTILE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def briefs(app: App) -> list[str]:
    """Return the briefs of all runs, oldest first."""
    return [row["brief"] for row in app.rows("select brief from runs order by created_at")]


def test_one_brief(tab: Tab, seeds: Seeds, film: str, quiet_app: App) -> None:
    """From the inbox to the page of the run: after the form is filled in two touches, of which the last starts it."""
    seeds.run(status="completed", artifacts={"final_video": {"digest": film}})
    tab.sign_in(ANNA)
    page = tab.page
    page.get_by_role("link", name="New run").click()
    tab.check()
    page.locator("label").filter(has=page.locator("#project-tiny")).click()
    clips = page.locator("[id='tiny.clips']")
    expect(clips).to_be_visible()
    expect(page.locator("[id='pair.clips']")).to_be_hidden()
    clips.fill("9")
    page.locator("#brief").fill("Rain on a quiet window")
    page.get_by_role("button", name="Continue to the price").click()
    expect(page.get_by_role("alert").filter(has_text="Option clips")).to_be_visible()
    expect(page.locator("#brief")).to_have_value("Rain on a quiet window")
    tab.check()
    page.locator("[id='tiny.clips']").fill("2")
    page.get_by_role("button", name="Continue to the price").click()
    expect(page.locator(".total")).to_have_text("0.60 to 5.00 USD")
    tab.check()
    assert briefs(quiet_app) == ["Rain on a window"]
    page.get_by_role("button", name="Start 1 run").dblclick()
    page.wait_for_url("**/runs/*-*")
    expect(page.get_by_role("heading", name="Rain on a quiet window")).to_be_visible()
    tab.check()
    assert briefs(quiet_app) == ["Rain on a window", "Rain on a quiet window"]
    page.get_by_role("link", name="Start again…").click()
    expect(page.locator("#brief")).to_have_value("Rain on a quiet window")
    expect(page.locator("[id='tiny.clips']")).to_have_value("2")
    tab.reported.clear()  # the browser reports the status 422


def test_five_briefs(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """They are pasted, one a line, with their total first; one that is refused is named, and can be corrected."""
    tab.sign_in(ANNA)
    page = tab.page
    page.goto("/new?project=tiny")
    page.locator("#brief").fill(f"Rain\nWaves\n{HOSTILE}\n{'W' * 10_001}\nSnow\n")
    page.get_by_label("One run per line").check()
    page.get_by_role("button", name="Continue to the price").click()
    expect(page.locator(".total")).to_have_text("1.20 to 20.00 USD")
    expect(page.get_by_text("1 line is refused, and not in this price.")).to_be_visible()
    tab.check()
    page.get_by_role("button", name="Start 4 runs").dblclick()
    expect(page.get_by_role("heading", name="4 runs were started")).to_be_visible()
    expect(page.get_by_role("link", name="Snow")).to_be_visible()
    tab.check()
    page.get_by_role("button", name="Correct what was refused").click()
    page.locator("#brief").fill("Fog")
    page.get_by_role("button", name="Continue to the price").click()
    page.get_by_role("button", name="Start 1 run").click()
    page.wait_for_url("**/runs/*-*")
    assert sorted(briefs(quiet_app)) == sorted(["Rain", "Waves", HOSTILE, "Snow", "Fog"])


def test_the_keyboard_alone(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """From the inbox with n, by tabs and arrows, to a run; an image that the model cannot take is refused."""
    tab.sign_in(ANNA)
    keys, page = tab.page.keyboard, tab.page
    keys.press("n")
    page.wait_for_url("**/new")
    file = io.BytesIO()
    Image.new("RGB", (360, 640), "teal").save(file, "PNG")
    page.locator("#image").set_input_files({"name": "frame.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.locator("#project-aismr").focus()
    for _ in range(4):
        keys.press("ArrowDown")
    expect(page.locator("#project-tiny")).to_be_checked()
    keys.press("Tab")  # to the rules of the project
    keys.press("Tab")
    expect(page.locator("[id='tiny.clips']")).to_be_focused()
    keys.press("Tab")
    keys.type("Rain")
    page.locator("#go").focus()
    keys.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="takes no start image")).to_be_visible()
    assert page.evaluate("document.querySelector('.thumb').decode().then(() => true)")
    tab.check()
    page.get_by_label("Start from this image").focus()
    keys.press("Space")
    page.locator("#brief").focus()
    page.locator("#go").focus()
    keys.press("Enter")
    page.get_by_role("button", name="Start 1 run").focus()
    keys.press("Enter")
    page.wait_for_url("**/runs/*-*")
    assert briefs(quiet_app) == ["Rain"]
    tab.reported.clear()  # the browser reports the status 422


def test_without_a_script(browser_process: Browser, seeds: Seeds, quiet_app: App) -> None:
    """A run is started and forked by the forms alone."""
    source = seeds.run(brief="Waves", status="completed")
    seeds.revision(source, 1)
    tab = Tab(browser_process, quiet_app.url, java_script_enabled=False)
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/new?from={source}")
    page.get_by_role("button", name="Continue to the price").click()
    page.get_by_role("button", name="Start 1 run").click()
    page.wait_for_url("**/runs/*-*")
    page.goto(f"/runs/{source}/actions/fork")
    page.get_by_role("button", name="Fork").click()
    page.wait_for_url("**/runs/*-*")
    assert len(briefs(quiet_app)) == 3
    tab.close()
