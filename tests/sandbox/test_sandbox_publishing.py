"""Publishing API: uploads are stored, deduplicated, shown as SANDBOX and subject to injected faults."""

import asyncio
import hashlib
import uuid
from typing import Any

import pytest
from sandbox_server import SandboxClient

AUTHORIZATION = {"Authorization": "Apikey any"}
VIDEO = b"not really a video, but bytes are bytes"


async def upload(
    client: SandboxClient, *, key: str | None = None, platforms: tuple[str, ...] = ("tiktok",), **fields: str
) -> Any:
    form = {"user": "studio", "title": "Rain #ai", "async_upload": "true", "is_aigc": "true", **fields}
    headers = AUTHORIZATION | ({"Idempotency-Key": key} if key else {})
    data = {**form, "platform[]": list(platforms)}
    return await client.post("/api/upload", data=data, files={"video": ("a.mp4", VIDEO)}, headers=headers)


async def wait_for_upload(client: SandboxClient, request_id: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            answer = await client.get(
                "/api/uploadposts/status", params={"request_id": request_id}, headers=AUTHORIZATION
            )
            if answer.json()["status"] in ("completed", "failed"):
                return answer.json()
            await asyncio.sleep(0.05)


async def test_an_upload_is_accepted_completed_and_listed_in_the_history(client: SandboxClient) -> None:
    """An upload keeps its request id; its links lead to pages marked SANDBOX and its file is stored."""
    request_id = str(uuid.uuid4())
    accepted = (await upload(client, request_id=request_id, platforms=("tiktok", "youtube"))).json()
    done = await wait_for_upload(client, request_id)
    history = (
        await client.get("/api/uploadposts/history", params={"request_id": request_id}, headers=AUTHORIZATION)
    ).json()["history"]
    page = await client.get(history[0]["post_url"])
    video = await client.get(f"/sandbox/posts/{request_id}/video")
    stored = (await client.get("/sandbox/posts")).json()[-1]

    assert (accepted["success"], accepted["request_id"], accepted["total_platforms"]) == (True, request_id, 2)
    assert (done["status"], done["completed"], done["total"]) == ("completed", 2, 2)
    assert [one["platform"] for one in done["results"] if one["success"]] == ["tiktok", "youtube"]
    assert "/sandbox/posts/" in history[0]["post_url"]
    assert all(entry["platform_post_id"].startswith("sandbox-") for entry in history)
    assert "SANDBOX" in page.text
    assert "Rain #ai" in page.text
    assert video.content == VIDEO
    assert (stored["sha256"], stored["bytes"]) == (hashlib.sha256(VIDEO).hexdigest(), len(VIDEO))
    assert (stored["title"], stored["flags"]["is_aigc"]) == ("Rain #ai", "true")


async def test_a_repeated_idempotency_key_returns_the_same_upload(client: SandboxClient) -> None:
    """Two uploads with one key are one post; two uploads without a key are two posts."""
    before = (await client.get_counts())["posts"]
    key = str(uuid.uuid4())
    first, again = (await upload(client, key=key)).json(), (await upload(client, key=key)).json()
    after_first = (await client.get_counts())["posts"]
    await upload(client)
    await upload(client)

    assert first["request_id"] == again["request_id"]
    assert after_first - before == 1
    assert (await client.get_counts())["posts"] - after_first == 2


async def test_concurrent_uploads_with_one_key_are_one_post(client: SandboxClient) -> None:
    """Concurrent uploads with the same key all return the same request id."""
    before = (await client.get_counts())["posts"]
    key = str(uuid.uuid4())
    answers = await asyncio.gather(*(upload(client, key=key) for _ in range(5)))

    assert len({answer.json()["request_id"] for answer in answers}) == 1
    assert (await client.get_counts())["posts"] - before == 1


async def test_a_synchronous_upload_returns_results(client: SandboxClient) -> None:
    """A synchronous upload returns the result of each platform."""
    body = (await upload(client, async_upload="false")).json()

    assert body["results"]["tiktok"]["success"] is True


async def test_a_request_without_a_key_or_a_field_is_refused(client: SandboxClient) -> None:
    """A missing API key gives 401, a missing field 400 and an unknown upload 404."""
    before = (await client.get_counts())["posts"]
    without_key = await client.post("/api/upload", data={"user": "a"})
    partial = await client.post("/api/upload", data={"user": "a", "title": "b"}, headers=AUTHORIZATION)
    unknown = await client.get("/api/uploadposts/status", params={"request_id": "nothing"}, headers=AUTHORIZATION)

    assert (without_key.status_code, partial.status_code, unknown.status_code) == (401, 400, 404)
    assert unknown.json()["status"] == "not_found"
    assert (await client.get_counts())["posts"] == before


@pytest.mark.parametrize(
    ("fault", "params", "status", "posts"),
    [
        ("upload_accept_then_timeout", {"seconds": 0.1}, 504, 1),
        ("upload_429", {"retry_after": 3}, 429, 0),
        ("upload_500", {}, 500, 0),
    ],
)
async def test_an_injected_upload_fault_occurs_once(
    client: SandboxClient, fault: str, params: dict[str, Any], status: int, posts: int
) -> None:
    """An accepted upload is found by its key; a rejected one leaves no post."""
    before = (await client.get_counts())["posts"]
    key = str(uuid.uuid4())
    await client.inject_fault(fault, **params)
    answer = await upload(client, key=key, request_id=key)
    after = (await client.get_counts())["posts"]
    again = await upload(client, key=key, request_id=key)

    assert answer.status_code == status
    assert after - before == posts
    assert (again.status_code, again.json()["request_id"]) == (200, key)
    assert (await client.get_counts())["posts"] - before == 1
    assert (fault == "upload_429") is bool(answer.json().get("violations"))


async def test_a_platform_can_fail(client: SandboxClient) -> None:
    """The other platforms publish the film."""
    await client.inject_fault("upload_partial")
    request_id = (await upload(client, platforms=("tiktok", "youtube"))).json()["request_id"]
    found = await wait_for_upload(client, request_id)

    assert {one["platform"]: one["success"] for one in found["results"]} == {"tiktok": True, "youtube": False}


async def test_a_post_can_fall_back_to_the_inbox(client: SandboxClient) -> None:
    """A fallback to the inbox is reported as a success without a link."""
    await client.inject_fault("upload_fallback_to_inbox")
    (result,) = (await wait_for_upload(client, (await upload(client)).json()["request_id"]))["results"]

    assert (result["success"], result["fallback_to_inbox"], result["url"]) == (True, True, None)


@pytest.mark.parametrize(
    ("params", "results"),
    [
        ({}, []),
        ({"results": "processing"}, [("tiktok", False, "processing"), ("youtube", False, "processing")]),
    ],
)
async def test_a_status_can_report_failed_without_a_platforms_word(
    client: SandboxClient, params: dict[str, str], results: list[tuple[str, bool, str]]
) -> None:
    """As at the vendor, `failed` can mean that nothing was recorded for an hour, while the posts are published."""
    request_id = (await upload(client, platforms=("tiktok", "youtube"))).json()["request_id"]
    await client.inject_fault("upload_status_failed", **params)
    status = await client.get("/api/uploadposts/status", params={"request_id": request_id}, headers=AUTHORIZATION)
    body = status.json()

    assert (body["status"], body["completed"], body["total"]) == ("failed", 0, 2)
    assert [(one["platform"], one["success"], one["status"]) for one in body["results"]] == results
    assert all(one["success"] for one in (await wait_for_upload(client, request_id))["results"])


async def test_a_label_can_be_ignored_and_the_history_renamed(client: SandboxClient) -> None:
    """A result names the ignored field, and the history comes under its other name."""
    request_id = (await upload(client)).json()["request_id"]
    await client.inject_fault("upload_label_ignored")
    await client.inject_fault("upload_history_renamed")
    (result,) = (await wait_for_upload(client, request_id))["results"]
    history = await client.get("/api/uploadposts/history", params={"request_id": request_id}, headers=AUTHORIZATION)

    assert result["warnings"][0]["field"] == "is_aigc"
    assert [entry["request_id"] for entry in history.json()["uploads"]] == [request_id]
