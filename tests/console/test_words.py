"""What the pages call things: the sandbox, and the status of runs."""

from __future__ import annotations

import re

import httpx
import pytest
from pydantic import SecretStr

from api.settings import Settings
from tests.app import App
from tests.console.conftest import csrf_token_of
from tests.console.seeds import Seeds

NOTICE = "sample ideas and clips; nothing is charged or posted."


def test_the_sandbox_is_named_on_every_page(
    visitor: httpx.Client, browser: httpx.Client, quiet_app: App, seeds: Seeds
) -> None:
    """On the pages of the console, those of a reviewer's link, and without a session."""
    run_id = seeds.ideation()
    link = quiet_app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation"}).json()["url"]
    token = link.rpartition("/")[2]
    for path in ("/inbox", "/new", f"/runs/{run_id}", f"/runs/{run_id}/ideation", f"/review/{token}"):
        assert NOTICE in browser.get(path).text, path
    with httpx.Client(base_url=quiet_app.url) as stranger:
        for path in ("/sign-in", "/sign-in/x", f"/review/{token}", "/review/x"):
            assert NOTICE in stranger.get(path).text, path


def test_services_that_the_sandbox_replaces(quiet_app: App) -> None:
    """Only those that are not configured."""
    complete = quiet_app.settings
    assert complete.sandbox_services == ["language model and moderation", "video", "publishing"]
    own = {"openai_model": "gpt-5", "upload_post_api_key": SecretStr("key")}
    assert complete.model_copy(update=own).sandbox_services == ["video"]
    assert Settings(_env_file=None).sandbox_services == []  # type: ignore[call-arg]


@pytest.mark.parametrize(("code", "label"), [("cancelled", "Cancelled"), ("rejected", "Rejected")])
def test_a_run_that_a_person_ended_has_not_failed(browser: httpx.Client, seeds: Seeds, code: str, label: str) -> None:
    """Its status stays `failed` in filters and in the API."""
    run_id = seeds.failed("Anna ended it.", code)
    for path in (f"/runs/{run_id}", "/runs?status=failed"):
        page = browser.get(path).text
        assert (f'<span class="badge ended">{label}</span>' in page, "badge failed" in page) == (True, False)
    assert "No clip was ordered." in browser.get(f"/runs/{run_id}").text


def test_the_status_of_a_run_in_words(browser: httpx.Client, seeds: Seeds) -> None:
    """The list, its filter and the run page use the words of the inbox."""
    run_id = seeds.ideation()
    assert '<option value="awaiting_ideation_approval">Ideas to approve</option>' in browser.get("/runs").text
    for path in (f"/runs/{run_id}", "/runs", "/inbox"):
        assert "Ideas to approve</span>" in browser.get(path).text


def test_a_colleague_is_invited(visitor: httpx.Client, browser: httpx.Client, quiet_app: App, seeds: Seeds) -> None:
    """Whoever may approve gets a reviewer's link, and keeps what was typed; nothing is decided."""
    run_id = seeds.ideation()
    path = f"/runs/{run_id}/ideation"
    page = browser.get(path)
    assert "Invite someone to review…" in page.text
    [digest] = re.findall(r'name="digest" value="([^"]+)"', page.text)
    form = {"csrf_token": csrf_token_of(page), "digest": digest, "comment": "Warmer", "action": "invite"}
    assert browser.post(path, data={**form, "csrf_token": ""}).status_code == 403
    answer = browser.post(path, data=form)
    [link] = re.findall(r'readonly value="([^"]+)"', answer.text)
    assert (answer.status_code, "Warmer" in answer.text, "can decide this one review, until" in answer.text) == (
        200,
        True,
        True,
    )
    with httpx.Client(base_url=quiet_app.url) as stranger:
        token = link.rpartition("/")[2]
        opened = stranger.get(f"/review/{token}")
        assert (opened.status_code, "Invite someone" in opened.text) == (200, False)
        assert "Only you see your notes until you request changes." in opened.text
        answered = stranger.post(f"/review/{token}", files={name: (None, text) for name, text in form.items()})
        assert (answered.status_code, 'readonly value="' in answered.text) == (200, False)
    assert seeds.decisions() == 0
    assert len(quiet_app.rows("select id from events where kind = 'link.created' and run_id = %s", run_id)) == 1


def test_a_page_asks_whether_its_review_is_open(browser: httpx.Client, seeds: Seeds) -> None:
    """Until another revision is open, or it is decided. That serves no content."""
    run_id = seeds.ideation()
    page = browser.get(f"/runs/{run_id}/ideation")
    [check] = re.findall(r'data-check="([^"]+)"', page.text)
    assert browser.get(check).status_code == 204
    seeds.reopened(run_id, {"title": "Another"})
    assert (browser.get(check).status_code, browser.get(check).text) == (409, "")


def test_only_the_newest_progress_of_an_order(browser: httpx.Client, seeds: Seeds) -> None:
    """Each order has one line of progress; what else happened is kept."""
    run_id = seeds.run(status="awaiting_video_generation")
    key = seeds.order(run_id, "clip", "videos", clip=1, take=1)
    for progress in (0.1, 0.2, 0.3):
        seeds.event(run_id, "order.progress", subject=key, progress=progress)
    page = browser.get(f"/runs/{run_id}").text
    assert re.findall(r"is (\d+) % ready", page) == ["30"]


def test_a_cap_below_the_clips(browser: httpx.Client) -> None:
    """The price of the clips is shown, with how many the cap pays for."""
    form = {"csrf_token": csrf_token_of(browser.get("/new")), "project": "four", "brief": "Rain", "request": "1"}
    page = browser.post("/new", data={**form, "budget_usd": "0.35"}, files={"file": ("", b"")}).text
    assert '<p class="total">0.40 USD</p>' in page
    assert "pays for at most 3 of 4 clips" in page


def test_the_film_is_downloaded_by_its_title(browser: httpx.Client, seeds: Seeds, film: str) -> None:
    """From its review and from its run, which has the caption that was posted."""
    post = {"caption": "Stay for the rain.", "hashtags": ["#rain"], "platforms": {"tiktok": {"url": "https://x.y/1"}}}
    artifacts = {"final_video": {"digest": film}, "ideas": {"title": "Rain/Sun"}, "publication": post}
    run_id = seeds.run(status="completed", artifacts=artifacts)
    page = browser.get(f"/runs/{run_id}").text
    assert f'href="/media/{film}" download="Rain-Sun.mp4"' in page
    assert (
        "Stay for the rain.\n\n#rain" in page or "Stay for the rain. #rain" in page,
        'href="https://x.y/1"' in page,
    ) == (True, True)
    review = browser.get(f"/runs/{seeds.publish(film)}/publish").text
    assert 'download="Rain on a quiet window.mp4"' in review
    assert "Posts now to TikTok." in review
