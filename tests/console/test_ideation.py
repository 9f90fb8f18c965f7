"""The ideation page: what it shows, edits and their price, decisions, stale revisions, rights, without a script."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.app import App
from tests.console.conftest import csrf_token_of, sign_in
from tests.console.seeds import HOSTILE, IDEAS, THREE, Seeds

COMMENT = "Warmer light in the second clip, and a dog."


def address(run_id: UUID) -> str:
    """Return the path of the page of a run."""
    return f"/runs/{run_id}/ideation"


Fields = dict[str, str | list[str]]


def fields_of(page: httpx.Response) -> Fields:
    """Return what a browser sends of the form on the page, without a button."""
    form = page.text.partition('<form id="ideas"')[2].partition("</form>")[0]
    fields: Fields = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = (unescape(found[1]) if (found := re.search(rf' {x}="([^"]*)"', tag)) else "" for x in NAMES)
        if 'type="checkbox"' in tag or name == "card":
            entries = fields.setdefault(name, [])
            assert isinstance(entries, list)
            entries += [value] if name == "card" or "checked" in tag else []
        else:
            fields[name] = value
    for name, value in re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>\n(.*?)</textarea>', form, re.DOTALL):
        fields[name] = unescape(value).replace("\n", "\r\n")
    return fields


NAMES = ("name", "value")


def button_of(page: httpx.Response, name: str) -> str:
    """Return the value of the button with this id, which has to be there."""
    [value] = re.findall(rf'id="{name}"[^>]* name="action" value="([^"]+)"', page.text)
    return str(value)


def text_of(page: httpx.Response) -> str:
    """Return the texts of a page in one line."""
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.text)))


def decisions(app: App) -> list[dict[str, Any]]:
    """Return all decisions."""
    return app.rows("select verdict, comment, edits, sample, channel, revision from decisions order by number")


@pytest.fixture
def run_id(seeds: Seeds, quiet_app: App) -> UUID:
    """A run at the second revision of its ideas, after a request for changes."""
    run_id = seeds.ideation(content=THREE, brief="Rain on a quiet window")
    digest = quiet_app.run(str(run_id))["review"]["digest"]
    quiet_app.decide(str(run_id), "ideation", approved=False, comment=COMMENT, digest=digest)
    changed = [THREE["ideas"][0], {**THREE["ideas"][1], "scene": "A warm lamp is lit behind the pane."}]
    requested = [
        {"text": "Warmer light", "step": "ideas", "clips": [2], "outcome": "done", "reason": ""},
        {"text": "A dog", "step": "impossible", "clips": [], "outcome": "not_possible", "reason": "No animals."},
    ]
    content = {**THREE, "ideas": [*changed, THREE["ideas"][2]], "notice": "The price has changed."}
    seeds.reopened(run_id, content, requested=requested)
    quiet_app.rows("delete from decisions returning number")
    return run_id


def test_what_it_shows(browser: httpx.Client, run_id: UUID) -> None:
    """Brief, requested changes with their outcome, notices, ideas with limits, words that changed, price and caps."""
    assert f'href="{address(run_id)}"' in browser.get("/inbox").text
    page = browser.get(address(run_id))
    text = text_of(page)

    for expected in (
        "Ideas to approve Revision 2 tiny",
        "Rain on a quiet window",
        "The price has changed.",
        "Done Warmer light",
        "Not possible A dog No animals.",
        "Idea 3",
        "22 / 600",
        "Clips 3 of 3 s, 180x320, with sound",
        "sandbox-video at videos",
        "Price of a clip 0.30 USD",
        "Total 0.90 USD",
        "Left 5.00 USD of 5.00 USD, the run's cap",
        "Approve 3 clips for 0.90 USD",
    ):
        assert expected in text
    assert "A <ins>warm</ins> lamp is lit" in page.text
    assert page.text.count("<ins>") == 2  # at the text, and in the list of all changes
    assert 'src="/overlay.png?text=A%20little%20longer"' in page.text


def test_an_overlay_is_drawn(browser: httpx.Client, visitor: httpx.Client, quiet_app: App) -> None:
    """The picture is a PNG for sessions, and a text over the limit is refused."""
    picture = browser.get("/overlay.png", params={"text": "Stay"})
    assert (picture.headers["content-type"], picture.content[:4]) == ("image/png", b"\x89PNG")
    assert picture.content != browser.get("/overlay.png", params={"text": "Stays"}).content
    assert browser.get("/overlay.png", params={"text": "x" * 61}).status_code == 422
    assert httpx.get(f"{quiet_app.url}/overlay.png?text=Stay").status_code == 303


def test_an_approval(browser: httpx.Client, quiet_app: App, run_id: UUID) -> None:
    """The button decides as REST does, in the name of the key, and a second click decides nothing more."""
    page = browser.get(address(run_id))
    form = {**fields_of(page), "action": button_of(page, "approve")}
    for _ in range(2):
        answer = browser.post(address(run_id), data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run_id}")

    [decision] = decisions(quiet_app)
    assert (decision["verdict"], decision["edits"], decision["channel"]) == ("approve", None, "console")
    expected = text_of(browser.get(f"/runs/{run_id}"))
    assert "Ideation, revision 2: approve settings key 1 (console)" in expected


def test_edits_without_a_script(browser: httpx.Client, quiet_app: App, run_id: UUID) -> None:
    """Ideas are moved, added, dropped and edited by the buttons of the form, each with the new price."""
    page = browser.get(address(run_id))
    page = browser.post(address(run_id), data={**fields_of(page), "action": "down 1"})
    assert fields_of(page)["card"] == ["2", "1", "3"]
    page = browser.post(address(run_id), data={**fields_of(page), "action": "add"})
    assert fields_of(page)["card"] == ["2", "1", "3", "new1"]
    assert "Must have 1 to 60 characters, not 0." in page.text
    assert 'id="approve"' not in page.text

    texts = {"title-new1": "Dawn", "scene-new1": "Light.", "sound-new1": "Birds", "title-1": "Rain drops"}
    fields = {**fields_of(page), **texts, "keep": ["1", "2", "new1"]}
    page = browser.post(address(run_id), data={**fields, "action": "price"})
    assert "Approve 3 clips for 0.90 USD" in page.text
    fields["keep"] = ["1", "new1"]
    stale_price = browser.post(address(run_id), data={**fields, "action": button_of(page, "approve")})
    assert (stale_price.status_code, "price_changed" in stale_price.text) == (409, True)
    assert decisions(quiet_app) == []

    assert "Approve 2 clips for 0.60 USD" in stale_price.text
    form = {**fields_of(stale_price), "action": button_of(stale_price, "approve")}
    assert browser.post(address(run_id), data=form).status_code == 303
    [decision] = decisions(quiet_app)
    assert [idea["title"] for idea in decision["edits"]] == ["Rain drops", "Dawn"]


def test_a_part_for_htmx(browser: httpx.Client, run_id: UUID) -> None:
    """While a person types, the price, the notes and the pictures come back, and no field."""
    form = fields_of(browser.get(address(run_id)))
    headers = {"hx-request": "true", "hx-target": "offer"}
    part = browser.post(address(run_id), data={**form, "keep": ["1", "2"]}, headers=headers)
    assert "Approve 2 clips for 0.60 USD" in part.text
    assert "<textarea" not in part.text

    wrong = browser.post(address(run_id), data={**form, "title-1": "x" * 75}, headers=headers)
    assert '<span class="count">75 / 60</span> <span>Must have 1 to 60 characters, not 75.</span>' in wrong.text
    assert '<a href="#title-1">Title of idea 1</a>' in wrong.text
    assert "approve" not in wrong.text


def test_a_price_decides_nothing(browser: httpx.Client, quiet_app: App, run_id: UUID) -> None:
    """A request of the script that carries a button, which htmx adds if it has the focus, only shows the price."""
    page = browser.get(address(run_id))
    for action in (button_of(page, "approve"), "reject", "add"):
        headers = {"hx-request": "true", "hx-target": "offer"}
        part = browser.post(address(run_id), data={**fields_of(page), "action": action}, headers=headers)
        assert (part.status_code, "Approve 3 clips for 0.90 USD" in part.text) == (200, True)
    assert decisions(quiet_app) == []


def test_a_sample(browser: httpx.Client, quiet_app: App, run_id: UUID) -> None:
    """Only the chosen clips are ordered; without a choice the page says so."""
    page = browser.get(address(run_id))
    refused = browser.post(address(run_id), data={**fields_of(page), "action": "sample 0.3000"})
    assert (refused.status_code, "Mark “Make a sample" in refused.text) == (422, True)

    page = browser.post(address(run_id), data={**fields_of(page), "sample": ["2"], "action": "price"})
    assert "Make 1 clip first for 0.30 USD" in page.text
    answer = browser.post(address(run_id), data={**fields_of(page), "action": button_of(page, "sample")})
    assert answer.status_code == 303
    [decision] = decisions(quiet_app)
    assert (decision["verdict"], decision["sample"]) == ("approve", [2])


def test_requested_changes(browser: httpx.Client, quiet_app: App, run_id: UUID) -> None:
    """They need a comment. With edits they are refused once, and the comment and the edits stay."""
    form = {**fields_of(browser.get(address(run_id))), "action": "revise"}
    empty = browser.post(address(run_id), data=form)
    assert (empty.status_code, "Describe the requested changes" in empty.text) == (422, True)

    form |= {"comment": "More rain", "title-1": "Typed title"}
    page = browser.post(address(run_id), data=form)
    assert (page.status_code, "Your edits go with an approval only." in page.text) == (422, True)
    assert (fields_of(page)["comment"], fields_of(page)["title-1"]) == ("More rain", "Typed title")
    assert browser.post(address(run_id), data={**fields_of(page), "action": "unedited"}).status_code == 303
    [decision] = decisions(quiet_app)
    assert (decision["verdict"], decision["comment"], decision["edits"]) == ("revise", "More rain", None)


def test_a_rejection(browser: httpx.Client, quiet_app: App, run_id: UUID) -> None:
    """It ends the run, whatever was typed."""
    form = fields_of(browser.get(address(run_id)))
    answer = browser.post(address(run_id), data={**form, "title-1": "", "action": "reject"})
    assert (answer.status_code, decisions(quiet_app)[0]["verdict"]) == (303, "reject")


def test_another_revision(browser: httpx.Client, quiet_app: App, seeds: Seeds, run_id: UUID) -> None:
    """A form of an older revision decides nothing: the new one is expected, and what was typed beside it."""
    page = browser.get(address(run_id))
    form = {**fields_of(page), "title-1": "Typed title", "comment": "More", "action": button_of(page, "approve")}
    digest = seeds.reopened(run_id, {**THREE, "title": "Another title"})
    answer = browser.post(address(run_id), data=form)

    assert answer.status_code == 409
    for expected in ("stale_review", "Revision 3 is open now", "Another title", "What you typed", "Typed title"):
        assert expected in answer.text
    fields = fields_of(answer)
    assert (fields["digest"], fields["title-1"], fields["comment"]) == (digest, "Drops", "More")
    part = browser.post(address(run_id), data=form, headers={"hx-request": "true", "hx-target": "offer"})
    assert (part.status_code, part.text.startswith('<div class="problem stale_review">')) == (409, True)
    assert decisions(quiet_app) == []


def test_a_gate_that_is_not_open(browser: httpx.Client, quiet_app: App, run_id: UUID) -> None:
    """The page says who decided, and keeps what was typed."""
    page = browser.get(address(run_id))
    digest = quiet_app.run(str(run_id))["review"]["digest"]
    quiet_app.decide(str(run_id), "ideation", digest=digest)
    form = {**fields_of(page), "title-1": "Typed title", "action": button_of(page, "approve")}
    answer = browser.post(address(run_id), data=form)

    for response in (answer, browser.get(address(run_id))):
        assert (response.status_code, "gate_not_open" in response.text) == (409, True)
        assert "Last decision: approve at the ideation gate by settings key 1" in response.text
    assert "Typed title" in answer.text
    assert len(decisions(quiet_app)) == 1


def test_the_cap(browser: httpx.Client, quiet_app: App, seeds: Seeds) -> None:
    """More than is left is marked, and refused; the gate stays open."""
    run_id = seeds.ideation(content=THREE, cap_usd=0.7)
    page = browser.get(address(run_id))
    assert "are left: drop ideas until it fits." in page.text
    refused = browser.post(address(run_id), data={**fields_of(page), "action": button_of(page, "approve")})
    assert (refused.status_code, "budget_exceeded" in refused.text) == (409, True)
    assert decisions(quiet_app) == []


def test_clips_that_are_there(browser: httpx.Client, quiet_app: App, seeds: Seeds) -> None:
    """An idea whose clip is generated has only its overlay to edit, and nothing can be moved or dropped."""
    run_id = seeds.ideation(content={**THREE, "make": [2, 3]})
    page = browser.get(address(run_id))
    assert "Approve 2 clips for 0.60 USD" in page.text
    assert 'name="keep"' not in page.text
    assert page.text.count(" readonly") == 3

    form = {**fields_of(page), "overlay-1": "Stay here", "action": button_of(page, "approve")}
    assert browser.post(address(run_id), data=form).status_code == 303
    assert decisions(quiet_app)[0]["edits"][0]["overlay"] == "Stay here"


def test_narrations(browser: httpx.Client, seeds: Seeds) -> None:
    """The words to speak are edited with their price."""
    speech = {"model": "tts", "voice": "alloy", "usd_per_1000_characters": "15"}
    run_id = seeds.ideation(content={"speech": speech, "ideas": [{**IDEAS["ideas"][0], "narration": "Listen."}]})
    page = browser.get(address(run_id))
    assert fields_of(page)["narration-1"] == "Listen."
    before = button_of(page, "approve")
    page = browser.post(address(run_id), data={**fields_of(page), "narration-1": "Listen to it.", "action": "price"})
    assert button_of(page, "approve") != before


def test_rights_and_tokens(visitor: httpx.Client, quiet_app: App, run_id: UUID) -> None:
    """A key that can only start runs reads the page without a form; a form needs the token of its session."""
    quiet_app.rows("update api_keys set can = 'start' where name = 'settings key 2' returning id")
    try:
        sign_in(visitor, "key-of-ben-0000000000000")
        page = visitor.get(address(run_id))
        assert ("This key cannot approve." in page.text, "Total" in page.text, "Steam rises" in page.text) == (
            True,
        ) * 3
        assert "<textarea" not in page.text
        assert 'id="ideas"' not in page.text
        form = {"csrf_token": csrf_token_of(page), "action": "reject"}
        refused = visitor.post(address(run_id), data=form)
        assert (refused.status_code, "lacks approval permission" in refused.text) == (403, True)
    finally:
        quiet_app.rows("update api_keys set can = 'approve' where name = 'settings key 2' returning id")
    form = {**fields_of(visitor.get(address(run_id))), "action": "reject", "csrf_token": "0" * 64}
    assert visitor.post(address(run_id), data=form).status_code == 403
    assert decisions(quiet_app) == []


def test_texts_of_others_are_text(browser: httpx.Client, seeds: Seeds) -> None:
    """Markup in every text is expected, in the form and when it was typed, and is none."""
    idea = {"title": HOSTILE[:60], "scene": HOSTILE, "sound": HOSTILE, "overlay": HOSTILE[:60]}
    requested = [{"text": HOSTILE, "step": "ideas", "clips": [], "outcome": "not_done", "reason": HOSTILE}]
    run_id = seeds.ideation(title=HOSTILE, brief=HOSTILE)
    seeds.reopened(run_id, {"title": HOSTILE, "ideas": [idea], "notice": HOSTILE}, requested=requested)
    page = browser.get(address(run_id))
    typed = {**fields_of(page), "title-1": HOSTILE, "comment": HOSTILE, "action": "revise"}
    for expected in (page, browser.post(address(run_id), data=typed)):
        assert "<script>" not in expected.text
        assert "<img src=x" not in expected.text
    assert fields_of(page)["scene-1"] == HOSTILE.strip()


@pytest.mark.parametrize(
    "hostile", [{"card": ["99", "new0", "1", "1", "<b>"]}, {"card": []}, {"keep": ["9"]}, {"sample": ["x"]}]
)
def test_invented_fields_decide_nothing(
    browser: httpx.Client, quiet_app: App, run_id: UUID, hostile: dict[str, list[str]]
) -> None:
    """Cards that are not there, or are there twice, order nothing that was not expected with its price."""
    page = browser.get(address(run_id))
    form = {**fields_of(page), "action": button_of(page, "approve"), **hostile}
    answer = browser.post(address(run_id), data=form)

    assert answer.status_code in (303, 409, 422)
    assert all(decision["edits"] is None for decision in decisions(quiet_app))
