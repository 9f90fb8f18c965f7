"""The console in Chromium: keyboard, phone, accessibility, the policy, and nothing that leaves this machine."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from console import sessions
from tests.app import ANNA, App
from tests.console.chromium import Tab
from tests.console.seeds import HOSTILE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def selected(tab: Tab) -> str:
    """Return the title of the selected row."""
    return tab.page.locator(".row[aria-current] .open").inner_text()


def test_signing_in_and_out(tab: Tab) -> None:
    """A wrong key is reported on the form; the right one leads to the page that was requested."""
    tab.page.goto("/inbox?page=2")
    tab.check()
    tab.page.keyboard.type("wrong-key")
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("alert").filter(has_text="Invalid API key.")).to_be_visible()
    tab.check()
    tab.reported.clear()  # the browser reports the status 401
    tab.page.get_by_label("API key").fill(ANNA)
    tab.page.get_by_role("button", name="Sign in").click()
    tab.page.wait_for_url("**/inbox?page=2")
    tab.page.get_by_role("button", name="Sign out").click()
    tab.page.wait_for_url("**/sign-in")


def test_a_link(tab: Tab, quiet_app: App) -> None:
    """The link that `serve` prints signs in with its button."""
    link = quiet_app.in_loop(sessions.create_sign_in_link(quiet_app.state.services.db, quiet_app.url))
    assert link is not None
    tab.page.goto(link)
    tab.check()
    tab.page.get_by_role("button", name="Sign in").click()
    tab.page.wait_for_url("**/inbox")


def test_the_inbox_is_accessible(tab: Tab, seeds: Seeds, film: str) -> None:
    """Empty, with each kind of row and with 200 rows axe finds nothing serious, and nothing is too wide."""
    tab.sign_in(ANNA)
    tab.check()
    seeds.one_of_each(film)
    tab.page.reload()
    # Not `wait_for_function`, which uses eval: the policy refuses it.
    while not tab.page.evaluate("document.querySelector('.poster video').readyState"):
        tab.page.wait_for_timeout(100)
    tab.check()
    small = "[...document.querySelectorAll('.row .button, nav a, .bar button')].filter(e => e.offsetHeight < 44).length"
    if tab.page.viewport_size == {"width": 390, "height": 844}:
        assert tab.page.evaluate(small) == 0
    seeds.many(200, film)
    tab.page.reload()
    expect(tab.page.locator(".row")).to_have_count(50)
    tab.check()
    tab.page.get_by_role("link", name="Older").click()
    tab.page.wait_for_url("**/inbox?page=2")


def test_the_keyboard(tab: Tab, seeds: Seeds, film: str) -> None:
    """j, k and Enter select and open; a and r open the review at its button; no key decides."""
    for number in range(3):
        seeds.publish(film, title=f"Film {number}", age=number + 1)
    tab.sign_in(ANNA)
    keys, page = tab.page.keyboard, tab.page
    keys.press("j")
    keys.press("j")
    assert selected(tab) == "Film 1"
    keys.press("k")
    assert selected(tab) == "Film 0"
    for _ in range(5):
        keys.press("j")
    assert selected(tab) == "Film 2"
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    tab.check()
    keys.press("j")
    keys.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    assert selected(tab) == "Film 2"

    keys.press("Enter")
    page.wait_for_url("**/publish")
    expect(page.get_by_role("heading", name="Film 2")).to_be_visible()
    tab.check()
    for key, field in (("a", page.locator("#approve")), ("r", page.get_by_label("What should change?"))):
        page.goto("/inbox")
        keys.press("j")
        keys.press(key)
        page.wait_for_url("**/publish#*")
        expect(field).to_be_focused()
    assert seeds.decisions() == 0


def test_the_selection_survives_news(tab: Tab, seeds: Seeds) -> None:
    """A new row appears by itself; the selected row and the focus stay."""
    seeds.ideation(title="First", age=3)
    seeds.ideation(title="Second", age=2)
    tab.sign_in(ANNA)
    tab.page.keyboard.press("j")
    tab.page.keyboard.press("j")
    seeds.ideation(title="Third", age=1)
    expect(tab.page.locator(".row")).to_have_count(3)
    expect(tab.page.get_by_role("status")).to_have_text("The inbox has changed: 3 rows on this page.")
    assert selected(tab) == "First"
    expect(tab.page.locator(".open", has_text="First")).to_be_focused()
    tab.page.keyboard.press("k")
    assert selected(tab) == "Second"


def test_the_end_of_a_session_is_noticed(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """An open inbox whose session has ended leads to the sign-in page."""
    tab.sign_in(ANNA)
    quiet_app.rows("delete from console_tokens returning digest")
    tab.page.wait_for_url("**/sign-in?next=/inbox")
    tab.reported.clear()  # the browser reports the status 401


def test_texts_of_others_are_text(tab: Tab, seeds: Seeds, film: str) -> None:
    """Hostile texts are shown, run nothing and request nothing."""
    seeds.ideation(title=HOSTILE, brief=HOSTILE * 30)
    seeds.publish(film, title="W" * 300, brief="x" * 900)
    seeds.stuck(HOSTILE)
    seeds.undelivered(HOSTILE, url=f"https://{'a' * 200}.example/")
    failed = seeds.failed(HOSTILE * 20, brief=HOSTILE * 30)
    tab.sign_in(ANNA)
    for path in ("/inbox", f"/runs/{failed}"):
        tab.page.goto(path)
        expect(tab.page.locator("main")).to_contain_text('<script>document.title="taken"</script>')
        assert "MyloWare" in tab.page.title()
        assert tab.page.locator("main img, main script").count() == 0
        tab.check()
