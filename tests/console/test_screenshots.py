"""Every page with plausible rows, on a desktop and a phone, light and dark; `make screenshots` keeps the pictures."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser

from console.replay import replay_page
from sandbox.clip_renderer import render_clip
from sandbox.clip_spec import ClipSpec
from tests.app import ANNA, App
from tests.console.chromium import Tab
from tests.console.seeds import THREE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
#: Where to write the pictures, if anywhere; they are cut to this height in pixels and have so many colours.
FOLDER = os.environ.get("CONSOLE_PICTURES")
MAX_HEIGHT, COLOURS = 1_200, 96
#: The pictures are of all four; the tests see each device and each scheme once.
VARIANTS = [("desktop", "light"), ("phone", "dark"), *([("desktop", "dark"), ("phone", "light")] if FOLDER else [])]
ACTOR = {"kind": "api_key", "id": "key_1", "name": "Anna"}


@pytest.fixture(scope="module")
def film(quiet_app: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a clip of the sandbox."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    render_clip(ClipSpec("Rain runs down a window in front of the lights of a city", 1, 360, 640, silent=True), path)
    artifacts = quiet_app.state.services.artifacts
    return quiet_app.in_loop(artifacts.store(path, kind="final_video", media_type="video/mp4", facts={}))


def keep(tab: Tab, name: str) -> None:
    """Write a picture of the page to the folder."""
    if FOLDER:
        size = tab.page.viewport_size
        assert size is not None
        height = min(MAX_HEIGHT, tab.page.evaluate("document.documentElement.scrollHeight"))
        clip: Any = {"x": 0, "y": 0, "width": size["width"], "height": max(height, size["height"])}
        picture = Image.open(io.BytesIO(tab.page.screenshot(full_page=True, clip=clip)))
        picture.convert("RGB").quantize(COLOURS).save(Path(FOLDER, f"{name}.png"), optimize=True)


@pytest.mark.parametrize(("device", "scheme"), VARIANTS)
def test_every_page(
    quiet_app: App, browser_process: Browser, seeds: Seeds, film: str, device: str, scheme: str
) -> None:
    """Each page is accessible and as wide as the screen."""
    quiet_app.rows("delete from rate_limits returning client")
    quiet_app.rows("update api_keys set can = 'admin' where name = 'settings key 1' returning id")
    for day in range(14):
        provider = ("kling", "replicate", "higgsfield")[day % 3]
        seeds.costs("pair", provider, days_ago=day, spent=(0.4 + day % 4 / 5,), seconds=4, published=8)
    with_film = (
        "update runs set artifacts = jsonb_set(artifacts, '{final_video,digest}', to_jsonb(%s::text)) returning id"
    )
    quiet_app.rows(with_film, film)
    seeds.undelivered(age=9, brief="A lighthouse in the fog")
    stuck = seeds.stuck(age=5, brief="Waves at night")
    seeds.failed("The clip shows a brand.", age=4, brief="A quiet street market")
    publish = seeds.publish(film, age=2, title="Lights behind the rain", brief="Rain on a window in a city")
    ideation = seeds.ideation(age=1, content=THREE, title="Rain on a quiet window", brief="A slow film about rain")
    seeds.event(ideation, "step.started", step="ideator")
    done = seeds.run(brief="A slow film about rain", artifacts={"ideas": {"title": "Rain on a quiet window"}})
    seeds.event(done, "run.started", source="console", project="tiny", actor=ACTOR)
    seeds.revision(done, 1, scene="Drops run down a pane.")
    seeds.revision(done, 2, scene="Heavy drops run slowly down a pane.")
    seeds.clips(done, film)

    pruned = seeds.pruned(film, created_at=datetime.now(UTC) - timedelta(days=92))
    seeds.clear_rules()
    for comments in (("No hands in the picture", "Each clip ends in the dark"), ("Show the window in every clip",)):
        for comment in comments:
            seeds.note(comment, title="Rain on a quiet window", created_at=datetime.now(UTC) - timedelta(days=9))
        rules = quiet_app.client.post("/v1/projects/tiny/rules", json={"action": "propose"}).json()
        if len(comments) > 1:
            body = {"action": "approve", "digest": rules["digest"]}
            quiet_app.client.post("/v1/projects/tiny/rules", json=body).raise_for_status()

    link = quiet_app.client.post(f"/v1/runs/{publish}/reviews/link", json={"gate": "publish"}).json()["url"]
    tab = Tab(browser_process, quiet_app.url, is_phone=device == "phone", color_scheme=scheme)
    for name, path in {"sign-in": "/sign-in", "sign-in-link": "/sign-in/once", "link": urlsplit(link).path}.items():
        tab.page.goto(path)
        tab.check()
        keep(tab, f"{name}-{device}-{scheme}")
    tab.sign_in(ANNA)
    pages = {
        "inbox": "/inbox", "run": f"/runs/{done}", "ideation": f"/runs/{ideation}/ideation", "runs": "/runs",
        "publish": f"/runs/{publish}/publish", "revisions": f"/runs/{done}/revisions", "costs": "/costs",
        "trouble": "/trouble", "trouble-action": f"/trouble/{stuck}/stop-waiting", "health": "/doctor",
        "keys": "/keys", "start-again": f"/new?from={done}", "chat": f"/chat?run={ideation}",
        "fork": f"/runs/{done}/actions/fork", "pruned": f"/runs/{pruned}", "rules": "/projects/tiny/rules",
        "new": "/new?project=shorts",
    }  # fmt: skip
    tab.page.goto(f"/chat?run={ideation}")
    tab.page.get_by_label("Message").fill("Approve it")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("button", name="Confirm").wait_for()
    for name, path in pages.items():
        tab.page.goto(path)
        tab.check()
        keep(tab, f"{name}-{device}-{scheme}")
    tab.page.locator("#brief").fill("Rain on a window\nWaves at night\nSnow on a quiet street")
    tab.page.get_by_label("One run per line").check()
    for name, button in {"several": "Continue to the price", "several-started": "Start 3 runs"}.items():
        tab.page.get_by_role("button", name=button).click()
        tab.page.get_by_role("heading", name="3 runs").wait_for()
        tab.check()
        keep(tab, f"{name}-{device}-{scheme}")
    tab.close()


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_a_run_as_a_page_to_keep(
    quiet_app: App, browser_process: Browser, seeds: Seeds, film: str, tmp_path: Path, device: str
) -> None:
    """It is read from a file, shows the takes as pictures, and requests nothing."""
    run = seeds.run(brief="A slow film about rain", artifacts={"ideas": {"title": "Rain on a quiet window"}})
    seeds.event(run, "run.started", source="console", project="tiny", actor=ACTOR)
    seeds.revision(run, 1)
    seeds.clips(run, film)
    page = tmp_path / "run.html"
    page.write_text(quiet_app.in_loop(replay_page(quiet_app.state.services, run)))

    tab = Tab(browser_process, "file://", is_phone=device == "phone")
    tab.page.goto(page.as_uri())
    tab.check()
    assert tab.page.locator("img").count() == 1
    assert tab.requested == [page.as_uri()]
    keep(tab, f"replay-{device}-light")
    tab.context.close()
