"""The form that starts runs: projects, the price first, several briefs, images, errors, rights, double clicks."""

from __future__ import annotations

import io
import re
from html import unescape
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.api.test_statements import statements_of
from tests.app import BEN, App
from tests.console.conftest import csrf_token_of, sign_in
from tests.console.seeds import HOSTILE, Seeds


def fields_of(page: httpx.Response, form: str = 'class="new"') -> dict[str, str]:
    """Return what a browser sends of a form of the page, without a button."""
    text, fields = page.text.partition(form)[2].partition("</form>")[0], {}
    for tag in re.findall(r"<input[^>]*>", text):
        name, value = (unescape(found[1]) if (found := re.search(rf' {x}="([^"]*)"', tag)) else "" for x in NAMES)
        if not re.search('type="(radio|checkbox)"', tag) or " checked" in tag:
            fields[name] = value
    for name, value in re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>\n(.*?)</textarea>', text, re.DOTALL):
        fields[name] = unescape(value).replace("\n", "\r\n")
    return fields


NAMES = ("name", "value")
#: How the form of the second page begins.
SENT = '<form method="post" action="/new"'


def filled(client: httpx.Client, path: str = "/new", **fields: str) -> httpx.Response:
    """Send the form as its page contains it, with these fields, and return the next page."""
    return client.post("/new", data={**fields_of(client.get(path)), **fields})


def started(client: httpx.Client, page: httpx.Response) -> httpx.Response:
    """Press the button that starts the runs of the page."""
    assert page.status_code == 200, page.text
    return client.post("/new", data={**fields_of(page, SENT), "step": "start"})


def text_of(page: httpx.Response) -> str:
    """Return the texts of a page in one line."""
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.text)))


def runs(app: App) -> list[dict[str, Any]]:
    """Return the runs, oldest first."""
    return app.rows("select id, project, brief, options, cap_usd, channel, seed from runs order by created_at")


def picture() -> bytes:
    """Return an image."""
    file = io.BytesIO()
    Image.new("RGB", (360, 640), "teal").save(file, "PNG")
    return file.getvalue()


def test_the_projects(seeds: Seeds, browser: httpx.Client, film: str, quiet_app: App) -> None:
    """Each has its length, platforms, price, cap, options with bounds, and its newest film, by few statements."""
    page = browser.get("/new")
    few = statements_of(quiet_app, lambda: browser.get("/new"))
    text = text_of(page)
    for expected in ("Tiny", "One clip of three seconds.", "1 × 3 s, tiktok, youtube", "cap 5.00 USD"):
        assert expected in text
    assert "0.30 to 0.90 USD a film" in text
    assert re.search(r'id="tiny.clips" name="tiny.clips" min="1" max="3"', page.text)
    assert "<video" not in page.text
    for number in range(40):
        seeds.run(status="completed", age=number, artifacts={"final_video": {"digest": film}})
    assert browser.get("/new").text.count(f"/media/{film}") == 1
    assert statements_of(quiet_app, lambda: browser.get("/new")) == few


def test_one_brief(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """The price comes first and starts nothing; the button starts the run as REST does, and twice starts one."""
    page = filled(browser, "/new?project=tiny", brief="Rain\non a window", budget_usd="2.50", **{"tiny.clips": "2"})
    assert "0.60 to 2.50 USD" in text_of(page)
    assert runs(quiet_app) == []
    answers = [started(browser, page) for _ in range(2)]

    [run] = runs(quiet_app)
    assert [answer.headers["location"] for answer in answers] == [f"/runs/{run['id']}"] * 2
    expected = ("tiny", "Rain\non a window", {"clips": 2}, 2.5, "console")
    assert tuple(run[name] for name in ("project", "brief", "options", "cap_usd", "channel")) == expected
    edited = browser.post("/new", data={**fields_of(page, SENT), "step": "edit"})
    kept = fields_of(edited)
    assert (kept["brief"], kept["tiny.clips"], kept["budget_usd"]) == ("Rain\r\non a window", "2", "2.50")
    assert kept["project"] == "tiny"


def test_several_briefs(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """Each line is a run, with the total first; a line that is refused is named, and the others are kept."""
    text = f"Rain\r\n\r\n  Waves  \r\n{'x' * 10_001}\r\nRain"
    page = filled(browser, "/new?project=tiny", brief=text, lines="1")
    read = text_of(page)
    assert "0.90 to 15.00 USD" in read
    assert "1 line is refused" in read
    assert "The brief must have 1 to 10,000 characters, not 10,001." in read
    answers = [started(browser, page) for _ in range(2)]

    assert [run["brief"] for run in runs(quiet_app)] == ["Rain", "Waves", "Rain"]
    for answer in answers:
        assert "3 runs were started" in text_of(answer)
        assert re.findall(r'<a class="text" href="/runs/([\w-]+)"', answer.text) == [
            str(run["id"]) for run in runs(quiet_app)
        ]
        assert "Line 4" in answer.text
    again = browser.post("/new", data={**fields_of(answers[0], SENT), "step": "edit"})
    assert fields_of(again)["brief"] == "x" * 10_001
    assert fields_of(again)["request"] != fields_of(page, SENT)["request"]
    many = filled(browser, "/new?project=tiny", brief="\n".join("abcdefg" * 8), lines="1")
    assert (many.status_code, "At most 50 runs start at once, not 56." in many.text) == (422, True)


@pytest.mark.parametrize(
    ("fields", "status", "expected"),
    [
        ({"brief": "  "}, 422, "The brief must have 1 to 10,000 characters, not 0."),
        ({"brief": "", "lines": "1"}, 422, "The brief must have 1 to 10,000 characters, not 0."),
        ({"project": ""}, 422, "Choose a project."),
        ({"project": "gone"}, 404, "Project 'gone' not found."),
        ({"tiny.clips": "9"}, 422, "Option clips must be a whole number from 1 to 3."),
        ({"tiny.clips": "two"}, 422, "options.clips: Input should be a valid integer"),
        ({"budget_usd": "lots"}, 422, "must be a number such as 2.50"),
        ({"image": "0" * 64}, 422, "The image: no uploaded image has the digest 000000000000…; upload it first."),
    ],
)
def test_what_is_wrong_is_shown(
    seeds: Seeds, browser: httpx.Client, quiet_app: App, fields: dict[str, str], status: int, expected: str
) -> None:
    """Nothing that was typed is lost, and nothing starts."""
    page = filled(browser, "/new?project=tiny", **{"brief": HOSTILE, **fields})
    assert (page.status_code, expected in unescape(page.text)) == (status, True), page.text
    kept = fields_of(page)
    assert kept["brief"] == fields.get("brief", HOSTILE).strip()
    assert kept["budget_usd"] == fields.get("budget_usd", "")
    assert "<script>" not in page.text
    assert runs(quiet_app) == []


def test_images(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """An upload that is no image, or that the model cannot start from, is refused as REST refuses it."""
    form = {**fields_of(browser.get("/new?project=tiny")), "brief": "Rain"}
    for content, expected in ((b"hello", "image"), (picture(), "sandbox-video takes no start image")):
        page = browser.post("/new", data=form, files={"file": ("frame.png", content, "image/png")})
        assert (page.status_code, expected in text_of(page)) == (422, True)
        assert fields_of(page)["brief"] == "Rain"
    assert 'class="thumb"' in page.text
    large = browser.post("/new", data=form, files={"file": ("frame.png", b"\0" * 34_000_000, "image/png")})
    assert large.status_code == 413
    empty = browser.post("/new", data=form, files={"file": ("", b"", "application/octet-stream")})
    assert "Start 1 run?" in empty.text


def test_start_again(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """The page of a run links to the form, filled in with its project, brief, options and image."""
    digest = quiet_app.client.post("/v1/artifacts", content=picture(), headers={"content-type": "image/png"})
    image = digest.json()["digest"]
    source = seeds.run(project="pair", brief="Waves", options={"clips": 3}, seed={"image": image})
    assert f'href="/new?from={source}"' in browser.get(f"/runs/{source}").text
    assert quiet_app.run(str(source))["image"] == image
    form = fields_of(browser.get(f"/new?from={source}"))
    kept = ("project", "brief", "pair.clips", "image")
    assert tuple(form[name] for name in kept) == ("pair", "Waves", "3", image)
    assert started(browser, filled(browser, f"/new?from={source}", image="")).status_code == 303
    assert [run["options"] for run in runs(quiet_app)] == [{"clips": 3}] * 2
    assert browser.get(f"/new?from={image[:8]}").status_code == 422
    assert browser.get("/new?from=00000000-0000-0000-0000-000000000000").status_code == 404


def test_rights(seeds: Seeds, visitor: httpx.Client, quiet_app: App) -> None:
    """Without a session there is no form; a key that cannot approve caps at most as the project; CSRF is checked."""
    assert visitor.get("/new").headers["location"] == "/sign-in?next=/new"
    assert visitor.post("/new", data={"step": "start"}).headers["location"] == "/sign-in"
    quiet_app.rows("update api_keys set can = 'start' where name = 'settings key 2' returning id")
    try:
        sign_in(visitor, BEN)
        page = filled(visitor, "/new?project=tiny", brief="Rain", budget_usd="5.01")
        assert (page.status_code, "at most 5.00 USD" in page.text) == (403, True)
        assert started(visitor, filled(visitor, "/new?project=tiny", brief="Rain", budget_usd="5")).status_code == 303
        refused = visitor.post("/new", data={**fields_of(page), "csrf_token": "x", "step": "start"})
        assert (refused.status_code, csrf_token_of(page) in refused.text) == (403, False)
    finally:
        quiet_app.rows("update api_keys set can = 'approve' where name = 'settings key 2' returning id")
    assert len(runs(quiet_app)) == 1
