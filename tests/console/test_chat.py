"""The chat of the console over HTTP: its conversation, what is confirmed by a click, and what is refused."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.app import ANNA, BEN, App, SandboxClient
from tests.console.conftest import csrf_token_of, sign_in
from tests.console.seeds import HOSTILE, THREE, Seeds

CONFIRM = re.compile(r'value="((?:approve|revise|reject|cancel) [A-Z]\d[A-Z]\d)">Confirm: ([^<]+)</button>')


def say(client: httpx.Client, message: str, run_id: UUID | None = None, **fields: str) -> httpx.Response:
    """Send a message by the form of the page, opened on the page of a run, and return the next page."""
    page = client.get("/chat", params={"run": str(run_id)} if run_id else {})
    assert page.status_code == 200, page.text
    [request] = re.findall(r'name="request" form="chat-form" value="([\w-]+)"', page.text)
    run = {"run": found[0]} if (found := re.findall(r'name="run" value="([\w-]+)"', page.text)) else {}
    assert bool(run) == bool(run_id)
    form = {"csrf_token": csrf_token_of(page), "request": request, **run, "message": message, **fields}
    return client.post("/chat", data=form)


def lines_of(page: httpx.Response, role: str = "user|assistant") -> list[str]:
    """Return the texts of the conversation on a page."""
    found = re.findall(rf'<p class="text (?:{role})" dir="auto"><span[^>]*>[^<]*</span>(.*?)</p>', page.text, re.DOTALL)
    return [unescape(text) for text in found]


def cards_of(page: httpx.Response) -> list[str]:
    """Return the texts of what waits for confirmation on a page."""
    cards = re.findall(r'<section class="card pending".*?</section>', page.text, re.DOTALL)
    return [unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", card))) for card in cards]


def problem_of(page: httpx.Response) -> str:
    """Return the problem beside the form, or nothing."""
    [found] = re.findall(r'<div id="chat-problem" role="alert">(.*?)</div>', page.text, re.DOTALL)
    return unescape(re.sub("<[^>]+>", "", found))


def button_of(page: httpx.Response) -> tuple[str, str]:
    """Return the message that the button of the one prepared decision sends, and its label."""
    [(message, label)] = CONFIRM.findall(page.text)
    return message, label


def decisions(app: App, run_id: UUID) -> list[dict[str, Any]]:
    """Return the decisions about a run, oldest first."""
    return app.rows("select * from decisions where run_id = %s order by number", run_id)


def test_a_conversation(seeds: Seeds, browser: httpx.Client) -> None:
    """“This run” is that of the page; the conversation is there on every page, after a reload too."""
    run_id, _ = seeds.ideation(), seeds.run()
    empty = browser.get("/chat")
    assert (lines_of(empty), "Ask about your runs" in empty.text) == ([], True)
    answer = say(browser, "How is this run?", run_id)
    say(browser, "What projects are\nthere?")
    say(browser, "What projects are\nthere?")
    page = browser.get("/chat", headers={"HX-Request": "true"})

    assert answer.status_code == 200, answer.text
    assert lines_of(answer)[1].startswith(f"Run {run_id} is awaiting ideation approval")
    assert lines_of(page)[::2] == ["How is this run?", *["What projects are\nthere?"] * 2]
    assert lines_of(page)[:2] == lines_of(answer)
    assert "<html" not in page.text
    for path in ("/inbox", f"/runs/{run_id}", f"/runs/{run_id}/ideation", "/costs", "/new", "/doctor"):
        run = f"?run={run_id}" if str(run_id) in path else ""
        text = browser.get(path).text
        assert f'id="open-chat" href="/chat{run}"' in text, path
        assert re.search(r'<dialog id="chat".*?</dialog>', text, re.DOTALL), path


def test_a_decision_is_confirmed_by_a_click(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """It is shown whole with its price, after a reload too, and decided once in the name of the person."""
    run_id = seeds.ideation(content=THREE)
    first = say(browser, "Approve it", run_id)
    page = browser.get("/chat")
    [card] = cards_of(page)
    assert cards_of(first) == [card]
    for expected in ("0.90 USD", "Lamp", "Steam rises from a cup.", "A little longer", "Revision 1"):
        assert expected in card, card
    message, label = button_of(page)
    assert (message.split()[0], label) == ("approve", "approve for 0.90 USD")
    assert "send exactly" not in page.text
    assert decisions(quiet_app, run_id) == []
    done = [say(browser, message, run_id) for _ in range(2)]

    [decision] = decisions(quiet_app, run_id)
    assert (decision["verdict"], decision["gate"], decision["channel"]) == ("approve", "ideation", "chat")
    assert decision["actor_name"] == "settings key 1"
    assert decision["seen_digest"].startswith(re.findall("digest ([0-9a-f]{12})", card)[0])
    assert lines_of(done[0])[-1].startswith("Approved by settings key 1: the clips are being generated.")
    assert "was used already; nothing has changed" in lines_of(done[1])[-1]
    assert cards_of(browser.get("/chat")) == []
    assert lines_of(browser.get("/chat")) == lines_of(done[0])


def test_changes_and_the_end_of_a_run(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """Each is shown with its words; one that is withdrawn cannot be confirmed, and another one can."""
    run_id = seeds.ideation()
    say(browser, "Ask for changes: more rain, please", run_id)
    page = say(browser, "Cancel this run", run_id)
    changes, end = cards_of(page)
    assert "more rain, please" in changes
    assert "End the run “Rain on a window”" in end
    (revise, revise_label), (cancel, cancel_label) = CONFIRM.findall(page.text)
    assert (revise_label, cancel_label) == ("request changes", "end the run")
    withdrawn = say(browser, cancel.replace("cancel", "withdraw"))
    assert "Nothing was decided." in lines_of(withdrawn)[-1]
    assert len(cards_of(withdrawn)) == 1
    assert "was withdrawn" in lines_of(say(browser, cancel))[-1]
    say(browser, revise)

    [decision] = decisions(quiet_app, run_id)
    assert (decision["verdict"], decision["comment"]) == ("revise", "more rain, please")
    assert quiet_app.run(str(run_id))["error"] is None


def test_the_film_is_shown(seeds: Seeds, browser: httpx.Client, film: str) -> None:
    """Before a publication the film can be watched, beside its caption and hashtags."""
    run_id = seeds.publish(film, content={"caption": "Stay for the rain.\nFilm: https://evil.example/film.mp4"})
    page = say(browser, "Publish it", run_id)
    [card] = cards_of(page)
    [video] = re.findall(r'<video[^>]* src="([^"]+)"', page.text)
    assert "Stay for the rain." in card
    assert "#rain" in card
    assert button_of(page)[1] == "publish the film"
    assert video.startswith(f"/v1/artifacts/{film}?")
    assert browser.get(unescape(video)).headers["content-type"] == "video/mp4"
    assert f'href="/runs/{run_id}/publish"' in page.text


def test_another_session(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """Neither another session of the same key nor another person sees the conversation or confirms its decision."""
    run_id = seeds.ideation()
    message, _ = button_of(say(browser, "Approve it", run_id))
    for key in (ANNA, BEN):
        with httpx.Client(base_url=quiet_app.url) as client:
            sign_in(client, key)
            assert (lines_of(client.get("/chat")), cards_of(client.get("/chat"))) == ([], [])
            assert "No decision waits for the code" in lines_of(say(client, message))[-1]
    assert decisions(quiet_app, run_id) == []


def test_out_of_date(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """An expired decision, and one about a former revision, decides nothing, and is shown no longer."""
    old, late = seeds.ideation(), seeds.ideation()
    stale, _ = button_of(say(browser, "Approve it", old))
    seeds.reopened(old, {"title": "Another title"})
    assert cards_of(browser.get("/chat")) == []
    expired, _ = button_of(say(browser, "Approve it", late))
    quiet_app.rows("update pending_confirmations set expires_at = now() where run_id = %s returning 1", late)
    assert cards_of(browser.get("/chat")) == []

    refused = [lines_of(say(browser, message))[-1] for message in (stale, expired)]
    assert "Nothing was decided." in refused[0]
    assert "has expired: prepare the decision again. Nothing was decided." in refused[1]
    assert decisions(quiet_app, old) + decisions(quiet_app, late) == []
    seeds.failed()
    running = seeds.run()
    assert len(cards_of(say(browser, "Cancel this run", running))) == 1
    quiet_app.rows("update runs set status = 'failed' where id = %s returning 1", running)
    assert cards_of(browser.get("/chat")) == []


def test_a_key_that_cannot_approve(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """Its preparation is refused in words, and so is what it prepared while it could approve."""
    run_id = seeds.ideation()
    message, _ = button_of(say(browser, "Approve it", run_id))
    quiet_app.rows("update api_keys set can = 'start' where name = 'settings key 1' returning id")
    try:
        page = say(browser, "Reject it", run_id)
        refused = say(browser, message, run_id)
    finally:
        quiet_app.rows("update api_keys set can = 'approve' where name = 'settings key 1' returning id")

    assert "API key lacks approval permission" in lines_of(page)[-1]
    assert len(cards_of(page)) == 1
    assert refused.status_code == 403
    assert "approval_not_permitted" in problem_of(refused)
    assert decisions(quiet_app, run_id) == []


def test_forms_of_others(seeds: Seeds, browser: httpx.Client, quiet_app: App) -> None:
    """Without the CSRF token nothing is sent; without a session the page leads to the form for a key."""
    run_id = seeds.ideation()
    message, _ = button_of(say(browser, "Approve it", run_id))
    for fields in ({"message": message}, {"message": message, "csrf_token": "0" * 64}):
        refused = browser.post("/chat", data=fields)
        assert (refused.status_code, "csrf_token_invalid" in refused.text) == (403, True)
    browser.cookies.clear()
    assert browser.get("/chat").headers["location"] == "/sign-in?next=/chat"
    assert browser.post("/chat", data={"message": message}).status_code == 303
    part = browser.post("/chat", data={"message": message}, headers={"HX-Request": "true"})
    assert (part.status_code, "HX-Redirect" in part.headers) == (401, True)
    assert decisions(quiet_app, run_id) == []


def test_texts_of_others_are_text(seeds: Seeds, browser: httpx.Client, film: str) -> None:
    """Markup in a message, an answer, and what is decided is shown, and is none."""
    ideas, run = seeds.ideation(title=HOSTILE, brief=HOSTILE), seeds.run(brief=HOSTILE)
    post = seeds.publish(film, title=HOSTILE, content={"caption": HOSTILE, "hashtags": ["#<b>"]})
    say(browser, HOSTILE)
    say(browser, "Approve it", ideas)
    say(browser, f"Ask for changes: {HOSTILE}", ideas)
    say(browser, "Cancel this run", run)
    say(browser, "Publish it", post)
    page = say(browser, "What is waiting for me?")
    assert len(cards_of(page)) == 4
    assert lines_of(page)[0] == HOSTILE
    for found in (page, browser.get("/chat", headers={"HX-Request": "true"})):
        assert "&lt;script&gt;" in found.text
        assert "<script>" not in found.text
        assert "<img" not in found.text


@pytest.mark.parametrize(
    ("message", "expected"), [("", "must have 1 to 100,000 characters"), ("W" * 100_001, "must have 1 to 100,000")]
)
def test_a_message_of_a_wrong_length(seeds: Seeds, browser: httpx.Client, message: str, expected: str) -> None:
    """It is refused in a sentence, and stays in the field."""
    run_id = seeds.ideation()
    refused = say(browser, message, run_id)
    assert (refused.status_code, expected in problem_of(refused)) == (422, True)
    assert refused.text.partition('<textarea id="message"')[2].partition(">\n")[2].startswith(f"{message}</textarea>")
    assert f'name="run" value="{run_id}"' in refused.text
    assert lines_of(refused) == []


def test_a_model_that_fails(seeds: Seeds, browser: httpx.Client, sandbox: SandboxClient, quiet_app: App) -> None:
    """The error is a sentence, and the same message, sent again, is the same one: it starts one run."""
    sandbox.fault("llm_401", None)
    text = "Make a video about a lighthouse for project tiny"
    failed = say(browser, text)
    sandbox.clear()
    assert failed.status_code >= 500
    assert problem_of(failed)
    assert f"{text}</textarea>" in failed.text
    [request] = re.findall(r'name="request" form="chat-form" value="([\w-]+)"', failed.text)
    pages = [say(browser, text, request=request) for _ in range(2)]
    assert [row["brief"] for row in quiet_app.rows("select brief from runs")] == ["A lighthouse"]
    assert lines_of(pages[1], "user") == [text]


def test_the_stream(seeds: Seeds, browser: httpx.Client) -> None:
    """It has the events of REST; the last one has the conversation as the page has it. An error is one of REST."""
    run_id = seeds.ideation()
    page = browser.get("/chat", params={"run": str(run_id)})
    form = {"csrf_token": csrf_token_of(page), "message": "Approve it", "run": str(run_id), "request": "r-1"}
    headers = {"Accept": "text/event-stream", "HX-Request": "true"}
    stream = browser.post("/chat", data=form, headers=headers)
    events = [event.split("\n") for event in stream.text.strip().split("\n\n")]
    kinds = [lines[0].removeprefix("event: ") for lines in events]
    assert kinds[:1] + kinds[-2:] == ["tool", "token", "done"]
    last = httpx.Response(200, text="\n".join(line.removeprefix("data: ") for line in events[-1][1:]))
    reloaded = browser.get("/chat", params={"run": str(run_id)})
    assert (lines_of(last), cards_of(last)) == (lines_of(reloaded), cards_of(reloaded))
    assert button_of(last) == button_of(reloaded)

    empty = browser.post("/chat", data={**form, "message": " "}, headers=headers)
    [event] = empty.text.strip().split("\n\n")
    assert event.startswith("event: error\n")
    assert json.loads(event.partition("data: ")[2])["error"]["code"] == "invalid_request"


def test_a_restart(seeds: Seeds, browser: httpx.Client, quiet_app: App, sandbox: SandboxClient) -> None:
    """Another process of the service shows the same conversation, and confirms what was prepared in it."""
    run_id = seeds.ideation()
    message, _ = button_of(say(browser, "Approve it", run_id))
    before = browser.get("/chat")
    with (
        App(quiet_app.settings, sandbox, with_worker=False) as other,
        httpx.Client(base_url=other.url, cookies=dict(browser.cookies)) as client,
    ):
        assert (lines_of(client.get("/chat")), cards_of(client.get("/chat"))) == (lines_of(before), cards_of(before))
        say(client, message)
    assert [each["verdict"] for each in decisions(quiet_app, run_id)] == ["approve"]
