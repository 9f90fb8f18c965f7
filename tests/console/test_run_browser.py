"""The runs in Chromium: a run that is followed live, through a reload and a restart of the service; accessibility."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from api.listening import listen
from tests.app import ANNA, App, SandboxClient
from tests.console.chromium import Tab, chromium
from tests.console.seeds import HOSTILE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def browser_process() -> Iterator[Browser]:
    """The browser of all tests here."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def film(quiet_app: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a stored film."""
    return Seeds(quiet_app).film(tmp_path_factory.mktemp("film"))


@pytest.fixture
def seeds(quiet_app: App) -> Iterator[Seeds]:
    """A database without runs, before and after."""
    quiet_app.rows("delete from rate_limits returning client")
    seeds = Seeds(quiet_app)
    seeds.clear()
    yield seeds
    seeds.clear()


@pytest.fixture(params=["desktop", "phone"])
def is_phone(request: pytest.FixtureRequest) -> bool:
    """Whether the screen is that of a phone, which is dark."""
    return bool(request.param == "phone")


@pytest.fixture
def tab(is_phone: bool, quiet_app: App, browser_process: Browser, seeds: Seeds) -> Iterator[Tab]:
    """A page that is watched: see `Tab.close`."""
    tab = Tab(browser_process, quiet_app.url, is_phone=is_phone, color_scheme="dark" if is_phone else "light")
    yield tab
    tab.close()


def rows_of(tab: Tab) -> list[str]:
    """Return the ids of the rows of the timeline that begin an event."""
    return [str(each) for each in tab.page.evaluate("[...document.querySelectorAll('#timeline [id]')].map(e => e.id)")]


def test_the_pages_are_accessible(tab: Tab, seeds: Seeds, film: str) -> None:
    """Empty, with long and hostile texts and with 200 rows axe finds nothing serious, and nothing is too wide."""
    tab.sign_in(ANNA)
    tab.page.get_by_role("link", name="Runs").click()
    expect(tab.page.get_by_text("There are no runs yet.")).to_be_visible()
    tab.check()
    run_id = seeds.failed(HOSTILE * 5, brief=HOSTILE * 20 + "W" * 300, artifacts={"ideas": {"title": "W" * 200}})
    seeds.revision(run_id, 1, scene=HOSTILE)
    seeds.revision(run_id, 2, scene="W" * 300)
    seeds.clips(run_id, film, error=HOSTILE + "x" * 300)
    for number in range(200):
        seeds.event(run_id, "step.started", step=f"clips {number}")
    for number in range(60):
        seeds.run(brief=f"Film {number}", status="completed", artifacts={"final_video": {"digest": film}})
    for path in (f"/runs/{run_id}", f"/runs/{run_id}/revisions", "/runs", f"/runs/{run_id}/actions/fork"):
        tab.page.goto(path)
        tab.check()
        assert "MyloWare" in tab.page.title()
        assert tab.page.locator("main img, main script").count() == 0
    tab.page.goto("/runs")
    tab.page.get_by_label("Text").fill("film 7")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".row")).to_have_count(1)
    tab.page.keyboard.press("j")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/runs/*-*")
    tab.check()


def test_an_action_is_confirmed_by_keyboard(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """Cancel leads to a page that says what it does; the button there ends the run, and the page shows it."""
    run_id = seeds.run()
    tab.sign_in(ANNA)
    tab.page.goto(f"/runs/{run_id}")
    tab.page.get_by_role("link", name="Cancel…").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("heading", name="Cancel the run")).to_be_visible()
    tab.check()
    assert quiet_app.run(str(run_id))["status"] == "running"
    tab.page.get_by_role("button", name="Cancel the run").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#timeline").get_by_text("The run was cancelled.")).to_be_visible()
    expect(tab.page.locator("#state").get_by_text("Cancelled", exact=True)).to_be_visible()


def test_a_run_is_followed(app: App, browser_process: Browser, is_phone: bool) -> None:
    """Clips, waits, the place in the graph and the end appear without a reload, and the rows are those of one."""
    tab = Tab(browser_process, app.url, is_phone=is_phone)
    app.rows("delete from rate_limits returning client")
    run_id = app.start("A quiet lake")
    tab.sign_in(ANNA)
    tab.page.goto(f"/runs/{run_id}")
    graph = tab.page.locator("#graph")
    expect(graph).to_contain_text("The run is at ideation gate; its step is ideator.")
    expect(tab.page.get_by_role("link", name="Review the ideas")).to_be_visible()
    app.until(run_id, "awaiting_ideation_approval")  # it is served
    app.decide(run_id, "ideation")
    expect(tab.page.locator("#clip-1-1")).to_contain_text("Ready", timeout=120_000)
    expect(graph).to_contain_text("The run is at publish gate", timeout=120_000)
    tab.page.reload()
    app.until(run_id, "awaiting_publish_approval")
    app.decide(run_id, "publish", comment="Lovely")
    expect(graph).to_contain_text("The run has reached the end", timeout=120_000)
    expect(tab.page.locator("#timeline")).to_contain_text("The run was completed.")
    expect(tab.page.get_by_role("heading", name="The film")).to_be_visible()
    assert tab.page.locator("#decisions ~ ol li").count() == 2
    checkpoints = tab.page.locator(".decisions code").all_inner_texts()
    saved = app.rows("select checkpoint_id from checkpoints where thread_id = %s", run_id)
    assert len(set(checkpoints)) == 2
    assert set(checkpoints) <= {row["checkpoint_id"] for row in saved}

    live = tab.page.locator("#timeline p:first-child").all_inner_texts()
    tab.check()
    tab.page.reload()
    assert tab.page.locator("#timeline p:first-child").all_inner_texts() == live
    # Of the progress of an order only the newest has a row.
    events = app.events(run_id)
    newest = {event["subject"]: event["seq"] for event in events if event["kind"] == "order.progress"}
    listed = [e for e in events if e["kind"] != "order.progress" or e["seq"] == newest[e["subject"]]]
    assert len(listed) < len(events)
    assert rows_of(tab) == [f"moment-{event['seq']}" for event in reversed(listed)]
    tab.close()


def test_a_restart_and_another_replica(
    quiet_app: App, seeds: Seeds, browser_process: Browser, is_phone: bool, sandbox: SandboxClient
) -> None:
    """After a restart the page goes on by itself with what happened between, each row once, at another process too."""
    run_id = seeds.run()
    seeds.event(run_id, "step.started", step="ideator")
    with App(quiet_app.settings, sandbox, with_worker=False) as first:
        tab = Tab(browser_process, first.url, is_phone=is_phone)
        tab.sign_in(ANNA)
        tab.page.goto(f"/runs/{run_id}")
        seeds.event(run_id, "step.started", step="clips")
        expect(tab.page.locator("#timeline")).to_contain_text("The step clips was started.")
    expect(tab.page.get_by_role("alert")).to_contain_text("The service does not answer.")
    seeds.event(run_id, "step.started", step="render")
    replica = App(quiet_app.settings, sandbox, with_worker=False)
    replica._listening.close()
    replica._listening = listen(port=int(first.url.rpartition(":")[2]))
    with replica:
        expect(tab.page.locator("#timeline")).to_contain_text("The step render was started.")
        expect(tab.page.get_by_role("alert")).to_be_empty()
        seeds.event(run_id, "step.started", step="publisher")
        expect(tab.page.locator("#timeline")).to_contain_text("The step publisher was started.")
        rows = tab.page.locator("#timeline li > p:first-child").all_inner_texts()
        assert rows == [f"The step {step} was started." for step in ("publisher", "render", "clips", "ideator")]
        assert len(set(rows_of(tab))) == 4
        tab.reported.clear()  # the browser reports that the service did not answer
        tab.close()
