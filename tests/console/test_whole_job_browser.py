"""The whole job in Chromium: from a brief to a published film, and two reviewers at one gate."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.app import ANNA, BEN, App, SandboxClient
from tests.console.chromium import Tab
from tests.console.seeds import THREE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_from_a_brief_to_a_publication(app: App, browser_process: Browser, sandbox: SandboxClient, device: str) -> None:
    """A person writes a brief and then touches the screen twice at each gate, beside watching; it is posted once."""
    app.rows("delete from rate_limits returning client")
    tab = Tab(browser_process, app.url, is_phone=device == "phone")
    page, touches = tab.page, list[str]()

    def touch(target: Locator) -> None:
        touches.append(target.inner_text())
        (target.tap if device == "phone" else target.click)()

    tab.sign_in(ANNA)
    page.get_by_role("link", name="New run").click()
    page.locator("label").filter(has=page.locator("#project-tiny")).click()
    page.locator("#brief").fill(f"Rain on a quiet window, seen on a {device}")
    page.get_by_role("button", name="Continue to the price").click()
    page.get_by_role("button", name="Start 1 run").click()
    page.wait_for_url("**/runs/*-*")
    run_id = page.url.rpartition("/")[2]

    touch(page.get_by_role("link", name="Review the ideas"))
    touch(page.get_by_role("button", name="Approve 1 clip for 0.30 USD"))
    page.wait_for_url(f"**/runs/{run_id}")
    assert len(touches) == 2

    film = page.get_by_role("link", name="Review the film")
    expect(film).to_be_visible(timeout=240_000)
    touch(film)
    playing = page.locator("video").first
    playing.evaluate("video => (video.muted = true, video.play())")
    page.wait_for_function("video => video.currentTime > 0.2", arg=playing.element_handle())
    tab.check()
    touch(page.get_by_role("button", name="Approve and publish"))
    page.wait_for_url(f"**/runs/{run_id}")
    assert len(touches) == 4

    expect(page.locator("#timeline")).to_contain_text("The run was completed.", timeout=120_000)
    tab.check()
    digest = app.run(run_id)["artifacts"]["final_video"]["digest"]
    assert len(sandbox.posts(digest)) == 1
    assert len(sandbox.charges(run_id)) == 1
    decided = app.rows(
        "select gate, verdict, actor_name, channel from decisions where run_id = %s order by number", run_id
    )
    assert [tuple(row.values()) for row in decided] == [
        ("ideation", "approve", "settings key 1", "console"),
        ("publish", "approve", "settings key 1", "console"),
    ]
    tab.close()


def test_two_reviewers_at_once(browser_process: Browser, seeds: Seeds, quiet_app: App) -> None:
    """Both have the gate open: the first decides, and the second is told who did, keeps the text, decides nothing."""
    quiet_app.rows("delete from rate_limits returning client")
    run_id = seeds.ideation(content=THREE)
    first, second = (Tab(browser_process, quiet_app.url, is_phone=is_phone) for is_phone in (False, True))
    for tab, key in ((first, ANNA), (second, BEN)):
        tab.sign_in(key)
        tab.page.goto(f"/runs/{run_id}/ideation")
    second.page.get_by_label("What should change?").fill("Slower, please")
    first.page.get_by_role("button", name="Approve 3 clips for 0.90 USD").click()
    first.page.wait_for_url(f"**/runs/{run_id}")
    expect(second.page.locator("#problem")).to_contain_text("settings key 1")
    second.page.locator("#revise").click()
    expect(second.page.get_by_label("What you typed")).to_contain_text("Slower, please")
    second.check()
    decided = quiet_app.rows("select verdict, actor_name from decisions")
    assert [tuple(row.values()) for row in decided] == [("approve", "settings key 1")]
    first.close()
    second.reported.clear()  # the browser reports the status 409
    second.close()
