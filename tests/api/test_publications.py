"""A run posts to each platform once: again only where the platform says that it failed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app import App, SandboxClient


def _to_publication(app: App) -> tuple[str, str]:
    """Approve a run at both gates; return its id and the digest of its film."""
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    review = app.until(run_id, "awaiting_publish_approval", seconds=100)["review"]
    app.decide(run_id, "publish")
    return run_id, review["content"]["film"]["digest"]


def _posted(app: App, digest: str) -> list[dict[str, Any]]:
    return [post["platforms"] for post in app.sandbox.posts(digest)]


@pytest.mark.slow
def test_a_retry_posts_only_to_the_platform_that_failed(app: App, sandbox: SandboxClient) -> None:
    """The run shows the post that exists; a retry completes it without posting that one again."""
    sandbox.fault("upload_partial", platform="youtube")
    sandbox.fault("upload_label_ignored")
    run_id, digest = _to_publication(app)
    run = app.until(run_id, "failed")

    assert (run["error"]["code"], run["error"]["retryable"]) == ("publication_incomplete", True)
    assert "A retry posts to youtube only." in run["error"]["message"]
    publication = run["artifacts"]["publication"]
    assert (set(publication["platforms"]), list(publication["failed"])) == ({"tiktok"}, ["youtube"])
    assert publication["warnings"][0].startswith("The AI label was not applied: is_aigc")
    history = app.client.get(f"/v1/runs/{run_id}/history").json()["entries"]
    assert any("The AI label was not applied" in entry["text"] for entry in history)

    assert app.client.post(f"/v1/runs/{run_id}/retry", json={}).status_code == 200
    run = app.until(run_id, "completed")
    assert set(run["artifacts"]["publication"]["platforms"]) == {"tiktok", "youtube"}
    assert _posted(app, digest) == [{"tiktok": "published", "youtube": "failed"}, {"youtube": "published"}]


@pytest.mark.slow
def test_a_status_without_a_platforms_word_is_no_failure(app: App, sandbox: SandboxClient) -> None:
    """`failed` for lack of activity is asked again, and the post is found in the history under its other name."""
    sandbox.fault("upload_status_failed", times=None, results="processing")
    sandbox.fault("upload_history_renamed", times=None)
    run_id, digest = _to_publication(app)
    run = app.until(run_id, "completed")

    assert set(run["artifacts"]["publication"]["platforms"]) == {"tiktok", "youtube"}
    assert _posted(app, digest) == [{"tiktok": "published", "youtube": "published"}]


@pytest.mark.slow
def test_edited_hashtags_are_normalised_and_a_long_caption_is_refused(app: App) -> None:
    """Hashtags are brought into form and trimmed with a warning; a caption is never changed by the server."""
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_publish_approval", seconds=100)
    body = {"gate": "publish", "approved": True, "edits": {"caption": "I <3 rain"}}
    refused = app.client.post(f"/v1/runs/{run_id}/approve", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
    assert "youtube does not take the character <" in refused.json()["error"]["message"]

    app.decide(run_id, "publish", edits={"hashtags": "rain #lo-fi हिन्दी one two three #ai"})
    publication = app.until(run_id, "completed")["artifacts"]["publication"]
    assert publication["hashtags"] == ["#rain", "#lofi", "#हिन्दी", "#one", "#ai"]
    assert publication["warnings"] == ["tiktok does not take all hashtags: #two #three left out."]
