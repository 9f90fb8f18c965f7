"""The video service: its life cycle, its refusals, its memory and its faults."""

import io
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import httpx
import pytest
from sandbox_server import SMALL, Client, Server

FIELDS = {
    "id",
    "object",
    "model",
    "status",
    "progress",
    "prompt",
    "size",
    "seconds",
    "created_at",
    "completed_at",
    "expires_at",
    "remixed_from_video_id",
    "error",
}


async def test_a_video_is_ordered_made_and_fetched(client: Client) -> None:
    """Multipart without a file is enough; the object has every field; the content is a playable MP4."""
    form = {name: (None, value) for name, value in {"prompt": "A red kite", **SMALL}.items()}
    created = (await client.post("/v1/videos", files=form)).json()
    ended = await client.ended(created["id"])
    content = await client.get(f"/v1/videos/{created['id']}/content")
    part = await client.get(f"/v1/videos/{created['id']}/content", headers={"Range": "bytes=4-7"})
    still = await client.get(f"/v1/videos/{created['id']}/content", params={"variant": "thumbnail"})

    assert set(created) == FIELDS
    assert created["id"].startswith("video_")
    assert (created["object"], created["status"], created["progress"]) == ("video", "queued", 0)
    assert (ended["status"], ended["progress"], ended["error"]) == ("completed", 100, None)
    assert (ended["prompt"], ended["seconds"], ended["size"]) == ("A red kite", "1", "180x320")
    assert ended["expires_at"] == pytest.approx(ended["completed_at"] + 3600, abs=1)
    assert content.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(content.content)) as container:
        assert container.streams.video[0].frames == 30
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert (still.headers["content-type"], still.content[8:12]) == ("image/webp", b"WEBP")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"model": "sora-9"}, "model"),
        ({"seconds": 4}, "seconds"),
        ({"seconds": "21"}, "seconds"),
        ({"model": "sora-2", "seconds": "5", "size": "720x1280"}, "seconds"),
        ({"model": "sora-2", "seconds": "4", "size": "1024x1792"}, "size"),
        ({"size": "99999x1"}, "size"),
    ],
)
async def test_a_wrong_order_is_refused_and_not_charged(client: Client, fields: dict[str, Any], param: str) -> None:
    """400 in the shape of OpenAI, naming the parameter."""
    before = await client.counts()
    answer = await client.post("/v1/videos", json={"prompt": "A kite", **SMALL, **fields})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param
    assert (await client.counts())["charges"] == before["charges"]


async def test_without_a_key_nothing_is_answered(server: Server) -> None:
    """401 with the error shape."""
    async with httpx.AsyncClient(base_url=server.url) as nobody:
        answers = [await nobody.get("/v1/videos"), await nobody.post("/v1/moderations", json={"input": "a"})]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json()["error"]["code"] == "missing_api_key"


async def test_every_accepted_create_is_one_charge_at_its_price(client: Client) -> None:
    """0.10 USD a second, 0.30 for pro; the same prompt twice is counted as a duplicate."""
    await client.post("/sandbox/pace", json={"seconds": 3600})
    before = await client.counts()
    await client.create("Counted once")
    await client.create("Counted twice", model="sora-2-pro", seconds="4", size="720x1280")
    await client.create("Counted twice")
    after = await client.counts()
    charges = (await client.get("/sandbox/charges")).json()[-3:]

    assert after["charges"] - before["charges"] == 3
    assert after["charged_usd"] - before["charged_usd"] == pytest.approx(0.10 + 1.20 + 0.10)
    assert after["duplicate_prompts"] - before["duplicate_prompts"] == 1
    assert [charge["prompt"] for charge in charges] == ["Counted once", "Counted twice", "Counted twice"]
    assert [charge["usd"] for charge in charges] == [0.10, 1.20, 0.10]


async def test_a_list_is_paged_by_a_cursor(client: Client) -> None:
    """Newest first or oldest first, with the ids at both ends, until there are no more."""
    await client.post("/sandbox/pace", json={"seconds": 3600})
    made = [(await client.create(f"Listed {number}"))["id"] for number in range(3)]
    newest = (await client.get("/v1/videos", params={"limit": 2})).json()
    next_page = (await client.get("/v1/videos", params={"limit": 1, "after": newest["last_id"]})).json()
    upwards = (await client.get("/v1/videos", params={"order": "asc", "after": made[0]})).json()

    assert newest["object"] == "list"
    assert [video["id"] for video in newest["data"]] == [made[2], made[1]]
    assert (newest["first_id"], newest["last_id"], newest["has_more"]) == (made[2], made[1], True)
    assert [video["id"] for video in next_page["data"]] == [made[0]]
    assert ([video["id"] for video in upwards["data"]], upwards["has_more"]) == (made[1:], False)
    assert (await client.get("/v1/videos", params={"limit": 101})).status_code == 400


async def test_only_ended_videos_are_deleted(client: Client) -> None:
    """A running one is refused; a deleted one is gone."""
    ended = await client.finished("To be deleted")
    await client.post("/sandbox/pace", json={"seconds": 3600})
    running = await client.create("Not to be deleted")
    deleted = await client.delete(f"/v1/videos/{ended['id']}")

    assert deleted.json() == {"id": ended["id"], "deleted": True, "object": "video.deleted"}
    assert (await client.get(f"/v1/videos/{ended['id']}")).status_code == 404
    assert (await client.delete(f"/v1/videos/{running['id']}")).status_code == 400


async def test_content_expires(client: Client) -> None:
    """After its time the content is 404; the video itself is still known."""
    await client.post("/sandbox/pace", json={"keep_seconds": 0})
    video = await client.finished("Short-lived")

    assert (await client.get(f"/v1/videos/{video['id']}/content")).status_code == 404
    assert (await client.get(f"/v1/videos/{video['id']}")).json()["status"] == "completed"


async def test_content_is_not_there_before_the_video_is(client: Client) -> None:
    """404 while it is made, and progress is told."""
    await client.post("/sandbox/pace", json={"seconds": 1})
    video = await client.create("Patience")
    early = await client.get(f"/v1/videos/{video['id']}/content")
    ended = await client.ended(video["id"])

    assert early.status_code == 404
    assert ended["completed_at"] - video["created_at"] >= 1


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    """After kill -9 a video in the making is made, and charges, faults and settings are as they were."""
    first = Server(tmp_path)
    async with Client(first.url) as client:
        await client.post("/sandbox/pace", json={"seconds": 0.5})
        await client.fault("llm_refusal", times=2)
        begun = await client.create("Interrupted", seconds="2", size="360x640")
        counts = await client.counts()
    first.kill()
    second = Server(tmp_path)
    async with Client(second.url) as client:
        ended = await client.ended(begun["id"])
        content = (await client.get(f"/v1/videos/{begun['id']}/content")).content
        faults = (await client.get("/sandbox/faults")).json()["faults"]
        after = await client.counts()
    second.stop()

    assert ended["status"] == "completed"
    with av.open(io.BytesIO(content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60
    assert faults == [{"fault": "llm_refusal", "times": 2}]
    assert (after["charges"], after["charged_usd"]) == (counts["charges"], counts["charged_usd"]) == (1, 0.2)


async def test_it_goes_when_its_parent_goes(tmp_path: Path) -> None:
    """With --parent-watch the end of standard input is the end of the server."""
    server = Server(tmp_path)
    server.stop()

    assert server.process.returncode == 0


@pytest.mark.parametrize(
    ("word", "code"), [("#moderation_blocked", "moderation_blocked"), ("#fail", "generation_failed")]
)
async def test_words_in_a_prompt_make_it_fail(client: Client, word: str, code: str) -> None:
    """So that every failure can be had without an order to the admin; the charge stands."""
    video = await client.finished(f"A street {word}")

    assert (video["status"], video["completed_at"]) == ("failed", None)
    assert video["error"]["code"] == code
    assert video["error"]["message"]


async def test_words_in_a_prompt_spoil_the_file(client: Client) -> None:
    """#truncated is half a file, #html a page that says it is an MP4, #silent has no sound."""
    truncated, html, silent = [
        (await client.get(f"/v1/videos/{(await client.finished(f'A bee {word}'))['id']}/content")).content
        for word in ("#truncated", "#html", "#silent")
    ]

    length = int.from_bytes(truncated[:4], "big")
    assert truncated[4:8] == b"ftyp"
    assert b"moov" in truncated[length:]
    with av.open(io.BytesIO(truncated)) as container:
        assert container.streams.video[0].frames == 30
        with pytest.raises(av.error.FFmpegError):
            list(container.decode(video=0))
    assert html.startswith(b"<!doctype html>")
    with av.open(io.BytesIO(silent)) as container:
        assert len(container.streams.audio) == 0


async def test_slow_in_a_prompt_takes_longer(client: Client) -> None:
    """It is still in progress when another, ordered later, is done."""
    slow = await client.create("A snail #slow")
    await client.finished("A hare")

    assert (await client.get(f"/v1/videos/{slow['id']}")).json()["status"] == "in_progress"


@pytest.mark.parametrize(
    ("fault", "params", "status", "charged"),
    [
        ("create_accept_then_500", {}, 500, 1),
        ("create_accept_then_hang", {"seconds": 0.1}, 504, 1),
        ("create_500", {}, 500, 0),
        ("create_429", {"retry_after": 7}, 429, 0),
        ("create_refuse", {}, 400, 0),
    ],
)
async def test_creates_go_wrong_once(
    client: Client, fault: str, params: dict[str, Any], status: int, charged: int
) -> None:
    """The fault happens as often as ordered, and what was accepted is charged and can be found."""
    before = (await client.counts())["charges"]
    await client.fault(fault, **params)
    answer = await client.post("/v1/videos", json={"prompt": f"Fault {fault}", **SMALL})
    newest = (await client.get("/v1/videos", params={"limit": 1})).json()["data"][0]

    assert answer.status_code == status
    assert (await client.counts())["charges"] - before == charged
    assert (newest["prompt"] == f"Fault {fault}") is bool(charged)
    assert answer.headers.get("retry-after") == ("7" if fault == "create_429" else None)
    assert fault != "create_refuse" or answer.json()["error"]["code"] == "sentinel_block"
    assert (await client.post("/v1/videos", json={"prompt": "After", **SMALL})).status_code == 200


async def test_jobs_fail_and_dawdle_as_ordered(client: Client) -> None:
    """`fail` takes a code, `slow` a time."""
    await client.fault("fail", code="something_new")
    failed = await client.finished("Doomed")
    await client.fault("slow", seconds=0.8)
    start = time.monotonic()
    await client.finished("Slow")

    assert failed["error"]["code"] == "something_new"
    assert time.monotonic() - start >= 0.8


async def test_a_lost_video_stays_lost(client: Client) -> None:
    """404 for ever, and out of the list."""
    video = await client.create("Lost")
    await client.fault("lose_video")
    answers = [(await client.get(f"/v1/videos/{video['id']}")).status_code for _ in range(2)]
    listed = (await client.get("/v1/videos")).json()["data"]

    assert answers == [404, 404]
    assert video["id"] not in [one["id"] for one in listed]


async def test_content_goes_wrong_as_ordered(client: Client) -> None:
    """Each fault spoils one download; the next is whole."""
    video = await client.finished("Downloaded")
    path = f"/v1/videos/{video['id']}/content"
    whole = (await client.get(path)).content

    await client.fault("content_truncated")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(path)
    await client.fault("content_html")
    page = await client.get(path)
    await client.fault("content_wrong_type")
    wrong = await client.get(path)
    await client.fault("content_500")
    error = await client.get(path)
    await client.fault("content_slow", seconds=0.4)
    start = time.monotonic()
    slow = await client.get(path)

    assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html")
    assert (wrong.headers["content-type"], wrong.content) == ("image/png", whole)
    assert error.status_code == 500
    assert time.monotonic() - start >= 0.4
    assert slow.content == whole
    assert (await client.get(path)).content == whole


@pytest.mark.parametrize("status", [404, 410])
async def test_a_shut_down_service_answers_nothing_until_cleared(client: Client, status: int) -> None:
    """As the vendor did for good."""
    await client.fault("shutdown", status=status)
    answers = [await client.get("/v1/videos"), await client.post("/v1/videos", json={"prompt": "A", **SMALL})]
    await client.delete("/sandbox/faults")

    assert [answer.status_code for answer in answers] == [status, status]
    assert (await client.get("/v1/videos")).status_code == 200


async def test_the_vllm_profile(client: Client) -> None:
    """Multipart only; a failed job is an error status with the job as body and a number as code."""
    await client.fault("profile", profile="vllm")
    as_json = await client.post("/v1/videos", json={"prompt": "A", **SMALL})
    form = {name: (None, value) for name, value in {"prompt": "A #fail", **SMALL}.items()}
    video = (await client.post("/v1/videos", files=form)).json()
    await client.ended(video["id"])
    failed = await client.get(f"/v1/videos/{video['id']}")
    content = await client.get(f"/v1/videos/{video['id']}/content")

    assert as_json.status_code == 422
    assert (failed.status_code, failed.json()["status"], failed.json()["error"]["code"]) == (422, "failed", 422)
    assert content.status_code == 422


async def test_the_sglang_profile(client: Client) -> None:
    """No code in errors, no variant=video, and deleting answers with the video."""
    await client.fault("profile", profile="sglang")
    failed = await client.finished("A #fail")
    video = await client.finished("A")
    path = f"/v1/videos/{video['id']}/content"
    with_variant = await client.get(path, params={"variant": "video"})
    without = await client.get(path)
    deleted = await client.delete(f"/v1/videos/{video['id']}")

    assert set(failed["error"]) == {"message"}
    assert (with_variant.status_code, without.status_code) == (404, 200)
    assert (deleted.json()["object"], deleted.json()["status"]) == ("video", "deleted")


async def test_the_litellm_profile(client: Client) -> None:
    """ "processing", ids with characters that must be quoted, and nothing to delete with."""
    await client.fault("profile", profile="litellm")
    video = await client.create("A")
    quoted = quote(video["id"], safe="")
    ended = await client.ended(quoted)
    content = await client.get(f"/v1/videos/{quoted}/content")

    assert video["status"] == "processing"
    assert all(character in video["id"] for character in "+/=")
    assert (ended["id"], ended["status"]) == (video["id"], "completed")
    assert content.content[4:8] == b"ftyp"
    assert (await client.delete(f"/v1/videos/{quoted}")).status_code == 405


async def test_the_openrouter_profile(client: Client) -> None:
    """202 and "pending", under its own path."""
    await client.fault("profile", profile="openrouter")
    answer = await client.post("/api/v1/videos", json={"prompt": "A", **SMALL})
    await client.ended(answer.json()["id"])
    content = await client.get(f"{answer.json()['polling_url']}/content", params={"index": "0"})

    assert (answer.status_code, set(answer.json()), answer.json()["status"]) == (
        202,
        {"id", "polling_url", "status"},
        "pending",
    )
    assert content.content[4:8] == b"ftyp"


async def test_an_unknown_fault_is_refused(client: Client) -> None:
    """With the names there are; a parameter a fault does not have is refused too."""
    unknown = await client.post("/sandbox/faults", json={"fault": "earthquake"})
    strange = await client.post("/sandbox/faults", json={"fault": "slow", "minutes": 3})

    assert (unknown.status_code, strange.status_code) == (422, 422)
    assert "create_500" in unknown.json()["error"]["message"]


async def test_the_official_client_speaks_to_it(server: Server) -> None:
    """openai-python creates, polls and downloads."""
    openai = pytest.importorskip("openai")
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0) as official:
        with pytest.warns(DeprecationWarning, match="Sora API"):
            video = await official.videos.create(
                prompt="Officially", model="sandbox-video", seconds="1", size="180x320"
            )
        with pytest.warns(DeprecationWarning, match="Sora API"):
            video = await official.videos.poll(video.id)
        with pytest.warns(DeprecationWarning, match="Sora API"):
            content = await official.videos.download_content(video.id)
        head = (await content.aread())[4:8]

    assert (video.status, head) == ("completed", b"ftyp")
    assert json.loads(video.model_dump_json())["prompt"] == "Officially"
