"""Publishing: an upload is counted once, kept, shown as SANDBOX, and goes wrong as ordered."""

import asyncio
import hashlib
import time
import uuid
from typing import Any

import pytest
from sandbox_server import Client

KEY = {"Authorization": "Apikey any"}
VIDEO = b"not really a video, but bytes are bytes"


async def upload(
    client: Client, *, key: str | None = None, platforms: tuple[str, ...] = ("tiktok",), **fields: str
) -> Any:
    form = {"user": "studio", "title": "Rain #ai", "async_upload": "true", "is_aigc": "true", **fields}
    headers = KEY | ({"Idempotency-Key": key} if key else {})
    data = {**form, "platform[]": list(platforms)}
    return await client.post("/api/upload", data=data, files={"video": ("a.mp4", VIDEO)}, headers=headers)


async def outcome(client: Client, request_id: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            answer = await client.get("/api/uploadposts/status", params={"request_id": request_id}, headers=KEY)
            if answer.json()["status"] in ("completed", "failed"):
                return answer.json()
            await asyncio.sleep(0.05)


async def test_an_upload_is_taken_followed_and_found_in_the_history(client: Client) -> None:
    """Own request id, status, links that name the sandbox, and a page behind them that says so."""
    own = str(uuid.uuid4())
    accepted = (await upload(client, request_id=own, platforms=("tiktok", "youtube"))).json()
    done = await outcome(client, own)
    history = (await client.get("/api/uploadposts/history", params={"request_id": own}, headers=KEY)).json()["history"]
    page = await client.get(history[0]["post_url"])
    video = await client.get(f"/sandbox/posts/{own}/video")
    kept = (await client.get("/sandbox/posts")).json()[-1]

    assert (accepted["success"], accepted["request_id"], accepted["total_platforms"]) == (True, own, 2)
    assert (done["status"], done["completed"], done["total"]) == ("completed", 2, 2)
    assert [one["platform"] for one in done["results"] if one["success"]] == ["tiktok", "youtube"]
    assert "/sandbox/posts/" in history[0]["post_url"]
    assert all(line["platform_post_id"].startswith("sandbox-") for line in history)
    assert "SANDBOX" in page.text
    assert "Rain #ai" in page.text
    assert video.content == VIDEO
    assert (kept["sha256"], kept["bytes"]) == (hashlib.sha256(VIDEO).hexdigest(), len(VIDEO))
    assert (kept["title"], kept["flags"]["is_aigc"]) == ("Rain #ai", "true")


async def test_the_same_key_is_the_same_upload(client: Client) -> None:
    """One post; without a key two uploads are two posts."""
    before = (await client.counts())["posts"]
    key = str(uuid.uuid4())
    first, again = (await upload(client, key=key)).json(), (await upload(client, key=key)).json()
    once = (await client.counts())["posts"]
    await upload(client)
    await upload(client)

    assert first["request_id"] == again["request_id"]
    assert once - before == 1
    assert (await client.counts())["posts"] - once == 2


async def test_two_uploads_under_one_key_at_once_are_one(client: Client) -> None:
    """The key decides, not who looks first."""
    before = (await client.counts())["posts"]
    key = str(uuid.uuid4())
    answers = await asyncio.gather(*(upload(client, key=key) for _ in range(5)))

    assert len({answer.json()["request_id"] for answer in answers}) == 1
    assert (await client.counts())["posts"] - before == 1


async def test_a_synchronous_upload_answers_with_results(client: Client) -> None:
    """HTTP 200 and results per platform."""
    body = (await upload(client, async_upload="false")).json()

    assert body["results"]["tiktok"]["success"] is True


async def test_without_a_key_or_a_field_it_is_refused(client: Client) -> None:
    """401 for the wrong kind of key, 400 for what is missing, 404 for what is unknown."""
    before = (await client.counts())["posts"]
    nobody = await client.post("/api/upload", data={"user": "a"})
    partial = await client.post("/api/upload", data={"user": "a", "title": "b"}, headers=KEY)
    unknown = await client.get("/api/uploadposts/status", params={"request_id": "nothing"}, headers=KEY)

    assert (nobody.status_code, partial.status_code, unknown.status_code) == (401, 400, 404)
    assert unknown.json()["status"] == "not_found"
    assert (await client.counts())["posts"] == before


@pytest.mark.parametrize(
    ("fault", "params", "status", "posts"),
    [
        ("upload_accept_then_timeout", {"seconds": 0.1}, 504, 1),
        ("upload_429", {"retry_after": 3}, 429, 0),
        ("upload_500", {}, 500, 0),
    ],
)
async def test_uploads_go_wrong_once(
    client: Client, fault: str, params: dict[str, Any], status: int, posts: int
) -> None:
    """What was accepted is found under the same key; the rest was never there."""
    before = (await client.counts())["posts"]
    key = str(uuid.uuid4())
    await client.fault(fault, **params)
    answer = await upload(client, key=key, request_id=key)
    after = (await client.counts())["posts"]
    again = await upload(client, key=key, request_id=key)

    assert answer.status_code == status
    assert after - before == posts
    assert (again.status_code, again.json()["request_id"]) == (200, key)
    assert (await client.counts())["posts"] - before == 1
    assert (fault == "upload_429") is bool(answer.json().get("violations"))


async def test_one_platform_can_fail_and_be_tried_again(client: Client) -> None:
    """Success on the other stands; a retry repeats only what failed, and there is nothing to retry twice."""
    await client.fault("upload_partial")
    request_id = (await upload(client, platforms=("tiktok", "youtube"))).json()["request_id"]
    first = await outcome(client, request_id)
    body = {"request_id": request_id}
    retried = await client.post("/api/uploadposts/posts/retry", json=body, headers=KEY)
    second = await outcome(client, request_id)
    nothing = await client.post("/api/uploadposts/posts/retry", json=body, headers=KEY)

    assert {one["platform"]: one["success"] for one in first["results"]} == {"tiktok": True, "youtube": False}
    assert retried.json()["retried"] == ["youtube"]
    assert all(one["success"] for one in second["results"])
    assert nothing.status_code == 409


async def test_a_post_can_fall_into_the_inbox(client: Client) -> None:
    """Success without a link, and marked."""
    await client.fault("upload_fallback_to_inbox")
    (result,) = (await outcome(client, (await upload(client)).json()["request_id"]))["results"]

    assert (result["success"], result["fallback_to_inbox"], result["url"]) == (True, True, None)


async def test_publishing_can_be_slow(client: Client) -> None:
    """It is in progress until then."""
    await client.fault("upload_slow", seconds=0.8)
    start = time.monotonic()
    await outcome(client, (await upload(client)).json()["request_id"])

    assert time.monotonic() - start >= 0.8
