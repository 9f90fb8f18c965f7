"""The publish page in Chromium: frames, comments at a time, prices, keys, accessibility, and without a script."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, expect
from render_service import write_clip

from tests.app import ANNA, App
from tests.console.chromium import Tab
from tests.console.seeds import HOSTILE, TWO_CLIPS, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def film(quiet_app: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a stored film of four seconds."""
    path = write_clip(tmp_path_factory.mktemp("film") / "film.mp4", luma=120, seconds=4, has_sound=False)
    artifacts = quiet_app.state.services.artifacts
    return quiet_app.in_loop(artifacts.store(path, kind="final_video", media_type="video/mp4", facts={}))


@pytest.fixture
def run_id(seeds: Seeds, film: str) -> UUID:
    """A run whose film of two clips waits for a decision."""
    return seeds.publish_clips(film)


def decisions(app: App) -> list[dict[str, Any]]:
    """Return all decisions."""
    return app.rows("select verdict, comment, edits, clips, takes, channel from decisions order by number")


def link_to(app: App, run_id: UUID) -> str:
    """Return the path of a reviewer's link to the film of a run."""
    url: str = app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "publish"}).json()["url"]
    return f"/review/{url.rpartition('/')[2]}"


def time_of(page: Page) -> float:
    """Return where the film is, in seconds."""
    return float(page.evaluate("document.getElementById('film-video').currentTime"))


def test_frames_and_a_comment_at_a_time(tab: Tab, run_id: UUID, quiet_app: App) -> None:
    """Keys step a frame; a comment goes to the clip that is there, and the film and what was typed stay in place."""
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}/publish")
    tab.check()
    page.wait_for_function("document.getElementById('film-video').readyState > 1")
    page.get_by_role("link", name="from 2.00 s").click()
    expect(page.locator("#time")).to_have_text("2.02 s")
    page.keyboard.press(".")
    expect(page.locator("#time")).to_have_text("2.05 s")
    for _ in range(2):
        page.get_by_role("button", name="Frame").first.click()
    expect(page.locator("#time")).to_have_text("1.98 s")
    page.keyboard.press(".")
    expect(page.locator("#time")).to_have_text("2.02 s")
    page.locator("#note-1").fill("Warmer")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    expect(page.locator("#remark")).to_be_focused()
    page.keyboard.type("too dark")
    page.keyboard.press("Enter")
    expect(page.locator("#note-2")).to_have_value("At 2.02 s: too dark")
    expect(page.locator("#remark")).to_have_value("")
    expect(page.locator("#note-1")).to_have_value("Warmer")
    assert 2 < time_of(page) < 2.05
    tab.check()

    page.get_by_role("button", name="Request changes").click()
    page.wait_for_url(f"**/runs/{run_id}")
    [decision] = decisions(quiet_app)
    assert decision["comment"] == "Clip 1: Warmer\nClip 2: At 2.02 s: too dark"
    assert decision["clips"] is None


def test_prices_and_previews_follow(tab: Tab, run_id: UUID, quiet_app: App) -> None:
    """The button carries the price of the marked clips; the post and its zones are shown per platform."""
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}/publish")
    page.locator("label[for=over-tiktok]").click()
    zone, film = page.locator(".over:visible svg"), page.locator("#film-video")
    assert zone.bounding_box() == film.bounding_box()
    expect(page.locator(".over:visible .words")).to_contain_text("Stay for the rain.")

    page.locator("#caption").press("End")
    page.locator("#caption").press_sequentially(" Listen.", delay=60)
    expect(page.locator("#note-caption")).to_have_text("26 / 500")
    expect(page.get_by_label("The post on youtube")).to_contain_text("Stay for the rain. Listen.")
    expect(page.locator(".over:visible .words")).to_contain_text("Stay for the rain. Listen.")
    expect(page.locator("#caption")).to_be_focused()
    expect(page.locator("#offer")).to_contain_text("It is posted with your edited caption.")
    page.locator("#clip-2").get_by_label("Redo this clip for 0.30 USD").check()
    page.locator("#note-2").fill("Slower")
    expect(page.locator("#revise")).to_have_text("Redo clip 2 for 0.30 USD")
    expect(page.locator("#offer button.yes")).to_have_count(0)
    tab.check()
    page.locator("#overlay-1").fill("x" * 61)
    expect(page.locator("#note-overlay-1")).to_contain_text("61 / 60")
    expect(page.locator("#overlay-1")).to_have_attribute("aria-invalid", "true")
    tab.check()
    page.locator("#overlay-1").fill("Stay")
    expect(page.locator("#offer .problem")).to_have_count(0)
    page.locator("#revise").dblclick()
    page.wait_for_url(f"**/runs/{run_id}")
    [decision] = decisions(quiet_app)
    assert decision["clips"] == [{"clip": 2, "comment": "Slower"}]
    assert decision["edits"] == {"caption": "Stay for the rain. Listen."}


def test_two_touches_with_the_keyboard(tab: Tab, run_id: UUID, quiet_app: App) -> None:
    """From the inbox to the publication: one key opens the film at its button, Enter approves."""
    tab.sign_in(ANNA)
    keys, page = tab.page.keyboard, tab.page
    keys.press("j")
    keys.press("a")
    page.wait_for_url("**/publish#approve")
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    tab.check()
    keys.press("Escape")
    keys.press("j")
    keys.press("x")
    expect(page.locator("#revise")).to_have_text("Redo clip 1 for 0.30 USD")
    keys.press("x")
    expect(page.locator("#approve")).to_have_text("Approve and publish")
    keys.press("a")
    expect(page.locator("#approve")).to_be_focused()
    assert decisions(quiet_app) == []
    keys.press("Enter")
    page.wait_for_url(f"**/runs/{run_id}")
    assert [decision["verdict"] for decision in decisions(quiet_app)] == ["approve"]


def test_the_chat_is_beside_the_film(tab: Tab, run_id: UUID) -> None:
    """Where both have room, the buttons keep their words on a line."""
    tab.sign_in(ANNA)
    tab.page.goto(f"/runs/{run_id}/publish")
    tab.page.get_by_role("link", name="Chat").click()
    expect(tab.page.get_by_label("Message to the supervisor")).to_be_focused()
    for name in ("‹ Frame", "Approve and publish"):
        box = tab.page.locator("main").get_by_role("button", name=name, include_hidden=True).bounding_box()
        assert box is not None
        assert box["width"] > box["height"]
    tab.check()


def test_another_revision(tab: Tab, seeds: Seeds, run_id: UUID, film: str, quiet_app: App) -> None:
    """While a person types, another revision opens: nothing typed is lost, and nothing is decided."""
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}/publish")
    seeds.reopened(run_id, {**TWO_CLIPS, "title": "Another title"}, film)
    page.locator("#note-2").fill("Typed note")
    expect(page.locator("#problem")).to_contain_text("Revision 2 is open now, and nothing was decided.")
    page.get_by_role("button", name="Approve and publish").click()
    expect(page.get_by_role("heading", name="Another title")).to_be_visible()
    expect(page.get_by_label("What you typed")).to_contain_text("Typed note")
    tab.check()
    assert decisions(quiet_app) == []
    tab.reported.clear()  # the browser reports the status 409


def test_many_clips_and_hostile_texts(tab: Tab, seeds: Seeds, film: str, quiet_app: App) -> None:
    """They run nothing, and make no page wider than its screen; also by a link, and without the right to approve."""
    clips = [{"clip": n, "take": 9, "takes": list(range(1, 10)), "overlay": "W" * 60} for n in range(1, 25)]
    names = ["tiktok", "youtube", "instagram", "facebook", "linkedin", "x", "threads", "pinterest", "reddit", "bluesky"]
    content = {
        "clips": clips,
        "caption": "W" * 280,
        "hashtags": ["#" + "w" * 99],
        "platforms": names,
        "title": "W" * 99,
    }
    run_id = seeds.publish(film, title=HOSTILE, brief=HOSTILE * 40)
    requested = [{"text": "y" * 300, "step": "ideas", "clips": [], "outcome": "not_possible", "reason": HOSTILE}]
    warnings, destinations = [HOSTILE], {"facebook": HOSTILE, "reddit": "w" * 200}
    fields = {**content, "warnings": warnings, "destinations": destinations, "publisher": "w" * 200}
    seeds.reopened(run_id, fields, film, requested=requested)
    tab.page.goto(link_to(quiet_app, run_id))
    expect(tab.page.locator("main")).to_contain_text('<script>document.title="taken"</script>')
    tab.check()
    tab.sign_in(ANNA)
    for can in ("approve", "start"):
        quiet_app.rows("update api_keys set can = %s where name = 'settings key 1' returning id", can)
        try:
            tab.page.goto(f"/runs/{run_id}/publish")
            expect(tab.page.locator("main")).to_contain_text('<script>document.title="taken"</script>')
            assert "MyloWare" in tab.page.title()
            tab.check()
        finally:
            quiet_app.rows("update api_keys set can = 'approve' where name = 'settings key 1' returning id")


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_link(browser_process: Browser, run_id: UUID, quiet_app: App, has_scripts: bool) -> None:
    """A reviewer comments at a time and redoes a clip by the buttons alone, with and without scripts."""
    tab = Tab(browser_process, quiet_app.url, is_phone=True, java_script_enabled=has_scripts)
    page = tab.page
    page.goto(link_to(quiet_app, run_id))
    if has_scripts:
        page.get_by_role("link", name="from 2.00 s").click()
        expect(page.locator("#at")).to_have_value("2.02")
        tab.check()
    page.get_by_label("At second").fill("2.02")
    page.get_by_label("Comment on the film at this time").fill("too dark")
    page.get_by_role("button", name="Add to the notes of the clip").click()
    expect(page.locator("#note-2")).to_have_value("At 2.02 s: too dark")
    page.locator("#clip-2").get_by_label("Redo this clip for 0.30 USD").check()
    page.get_by_role("button", name="Show my changes with their price").click()
    page.get_by_role("button", name="Redo clip 2 for 0.30 USD").click()
    expect(page.get_by_text("Thank you: the film is being changed")).to_be_visible()
    [decision] = decisions(quiet_app)
    assert (decision["channel"], decision["clips"]) == ("link", [{"clip": 2, "comment": "At 2.02 s: too dark"}])
    tab.close()
