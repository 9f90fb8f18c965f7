"""Video API: life cycle, validation, persistence, server profiles and injected faults."""

import io
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import httpx
import pytest
from sandbox_server import SMALL_VIDEO, SandboxClient, SandboxServer

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


async def test_a_video_is_created_completed_and_downloaded(client: SandboxClient) -> None:
    """A multipart create gives a video object with all fields and a playable MP4."""
    form = {name: (None, value) for name, value in {"prompt": "A red kite", **SMALL_VIDEO}.items()}
    created = (await client.post("/v1/videos", files=form)).json()
    ended = await client.wait_for_video(created["id"])
    content = await client.get(f"/v1/videos/{created['id']}/content")
    part = await client.get(f"/v1/videos/{created['id']}/content", headers={"Range": "bytes=4-7"})

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
async def test_an_invalid_order_is_refused_and_not_charged(
    client: SandboxClient, fields: dict[str, Any], param: str
) -> None:
    """An invalid order gives a 400 error in the format of OpenAI that names the parameter."""
    before = await client.get_counts()
    answer = await client.post("/v1/videos", json={"prompt": "A kite", **SMALL_VIDEO, **fields})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param
    assert (await client.get_counts())["charges"] == before["charges"]


async def test_a_request_without_a_key_is_refused(server: SandboxServer) -> None:
    """A request without a key gets a 401 error in the format of OpenAI."""
    async with httpx.AsyncClient(base_url=server.url) as anonymous:
        answers = [await anonymous.get("/v1/videos"), await anonymous.post("/v1/moderations", json={"input": "a"})]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json()["error"]["code"] == "missing_api_key"


async def test_every_accepted_create_is_charged_once_at_its_price(client: SandboxClient) -> None:
    """A second costs 0.10 USD, or 0.30 USD with the pro model; a repeated prompt is counted as a duplicate."""
    await client.post("/sandbox/pace", json={"seconds": 3600})
    before = await client.get_counts()
    await client.create_video("Counted once")
    await client.create_video("Counted twice", model="sora-2-pro", seconds="4", size="720x1280")
    await client.create_video("Counted twice")
    after = await client.get_counts()
    charges = (await client.get("/sandbox/charges")).json()[-3:]

    assert after["charges"] - before["charges"] == 3
    assert after["charged_usd"] - before["charged_usd"] == pytest.approx(0.10 + 1.20 + 0.10)
    assert after["duplicate_prompts"] - before["duplicate_prompts"] == 1
    assert [charge["prompt"] for charge in charges] == ["Counted once", "Counted twice", "Counted twice"]
    assert [charge["usd"] for charge in charges] == [0.10, 1.20, 0.10]


async def test_a_list_is_paged_by_a_cursor(client: SandboxClient) -> None:
    """A page is ordered newest or oldest first and names its first and last id and whether there are more."""
    await client.post("/sandbox/pace", json={"seconds": 3600})
    created = [(await client.create_video(f"Listed {number}"))["id"] for number in range(3)]
    newest = (await client.get("/v1/videos", params={"limit": 2})).json()
    next_page = (await client.get("/v1/videos", params={"limit": 1, "after": newest["last_id"]})).json()
    ascending = (await client.get("/v1/videos", params={"order": "asc", "after": created[0]})).json()

    assert newest["object"] == "list"
    assert [video["id"] for video in newest["data"]] == [created[2], created[1]]
    assert (newest["first_id"], newest["last_id"], newest["has_more"]) == (created[2], created[1], True)
    assert [video["id"] for video in next_page["data"]] == [created[0]]
    assert ([video["id"] for video in ascending["data"]], ascending["has_more"]) == (created[1:], False)
    assert (await client.get("/v1/videos", params={"limit": 101})).status_code == 400


async def test_content_expires(client: SandboxClient) -> None:
    """Expired content is not found; the video itself can still be retrieved."""
    await client.post("/sandbox/pace", json={"keep_seconds": 0})
    video = await client.create_and_wait("Short-lived")

    assert (await client.get(f"/v1/videos/{video['id']}/content")).status_code == 404
    assert (await client.get(f"/v1/videos/{video['id']}")).json()["status"] == "completed"


async def test_content_is_not_available_before_completion(client: SandboxClient) -> None:
    """Content of an unfinished video is not found, and the job takes the configured time."""
    await client.post("/sandbox/pace", json={"seconds": 1})
    video = await client.create_video("Patience")
    early = await client.get(f"/v1/videos/{video['id']}/content")
    ended = await client.wait_for_video(video["id"])

    assert early.status_code == 404
    assert ended["completed_at"] - video["created_at"] >= 1


@pytest.mark.slow
async def test_a_restart_keeps_jobs_charges_faults_and_settings(tmp_path: Path) -> None:
    """After kill -9 an unfinished video is completed, and charges, faults and settings are unchanged."""
    first = SandboxServer(tmp_path)
    async with SandboxClient(first.url) as client:
        await client.post("/sandbox/pace", json={"seconds": 0.5})
        await client.inject_fault("llm_refusal", times=2)
        unfinished = await client.create_video("Interrupted", seconds="2", size="360x640")
        counts = await client.get_counts()
    first.kill()
    second = SandboxServer(tmp_path)
    async with SandboxClient(second.url) as client:
        ended = await client.wait_for_video(unfinished["id"])
        content = (await client.get(f"/v1/videos/{unfinished['id']}/content")).content
        faults = (await client.get("/sandbox/faults")).json()["faults"]
        after = await client.get_counts()
    second.stop()

    assert ended["status"] == "completed"
    with av.open(io.BytesIO(content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60
    assert faults == [{"fault": "llm_refusal", "times": 2}]
    assert (after["charges"], after["charged_usd"]) == (counts["charges"], counts["charged_usd"]) == (1, 0.2)


async def test_the_server_stops_with_its_parent(tmp_path: Path) -> None:
    """With --parent-watch the server exits when its standard input is closed."""
    server = SandboxServer(tmp_path)
    server.stop()

    assert server.process.returncode == 0


@pytest.mark.parametrize(
    ("word", "code"), [("#moderation_blocked", "moderation_blocked"), ("#fail", "generation_failed")]
)
async def test_fault_words_in_a_prompt_fail_the_video(client: SandboxClient, word: str, code: str) -> None:
    """A fault word fails the video with its error code, without the admin API."""
    video = await client.create_and_wait(f"A street {word}")

    assert (video["status"], video["completed_at"]) == ("failed", None)
    assert video["error"]["code"] == code
    assert video["error"]["message"]


async def test_fault_words_in_a_prompt_change_the_file(client: SandboxClient) -> None:
    """#truncated gives half a file, #html an HTML page typed as an MP4, #silent a file without audio."""
    truncated, html, silent = [
        (await client.get(f"/v1/videos/{(await client.create_and_wait(f'A bee {word}'))['id']}/content")).content
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


async def test_the_fault_word_slow_delays_the_video(client: SandboxClient) -> None:
    """A slow video is still in progress when a later one is completed."""
    slow = await client.create_video("A snail #slow")
    await client.create_and_wait("A hare")

    assert (await client.get(f"/v1/videos/{slow['id']}")).json()["status"] == "in_progress"


@pytest.mark.parametrize(
    ("fault", "params", "status", "charged"),
    [
        ("create_accept_then_500", {}, 500, 1),
        ("create_accept_then_hang", {"seconds": 0.1}, 504, 1),
        ("create_500", {}, 500, 0),
        ("create_429", {"retry_after": 7}, 429, 0),
    ],
)
async def test_an_injected_create_fault_occurs_once(
    client: SandboxClient, fault: str, params: dict[str, Any], status: int, charged: int
) -> None:
    """The fault occurs once; an accepted order is charged and listed, a rejected one is not."""
    before = (await client.get_counts())["charges"]
    await client.inject_fault(fault, **params)
    answer = await client.post("/v1/videos", json={"prompt": f"Fault {fault}", **SMALL_VIDEO})
    newest = (await client.get("/v1/videos", params={"limit": 1})).json()["data"][0]

    assert answer.status_code == status
    assert (await client.get_counts())["charges"] - before == charged
    assert (newest["prompt"] == f"Fault {fault}") is bool(charged)
    assert answer.headers.get("retry-after") == ("7" if fault == "create_429" else None)
    assert (await client.post("/v1/videos", json={"prompt": "After", **SMALL_VIDEO})).status_code == 200


async def test_injected_job_faults_fail_and_delay_videos(client: SandboxClient) -> None:
    """The fault `fail` sets the error code, and `slow` the minimum duration."""
    await client.inject_fault("fail", code="something_new")
    failed = await client.create_and_wait("Failing")
    await client.inject_fault("slow", seconds=0.8)
    start = time.monotonic()
    await client.create_and_wait("Slow")

    assert failed["error"]["code"] == "something_new"
    assert time.monotonic() - start >= 0.8


async def test_a_lost_video_stays_lost(client: SandboxClient) -> None:
    """A lost video is not found in any later request and is not listed."""
    video = await client.create_video("Lost")
    await client.inject_fault("video_not_found")
    answers = [(await client.get(f"/v1/videos/{video['id']}")).status_code for _ in range(2)]
    listed = (await client.get("/v1/videos")).json()["data"]

    assert answers == [404, 404]
    assert video["id"] not in [one["id"] for one in listed]


async def test_an_injected_content_fault_occurs_once(client: SandboxClient) -> None:
    """Each fault affects one download; the next download is complete."""
    video = await client.create_and_wait("Downloaded")
    path = f"/v1/videos/{video['id']}/content"
    complete = (await client.get(path)).content

    await client.inject_fault("content_truncated")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(path)
    await client.inject_fault("content_html")
    page = await client.get(path)
    await client.inject_fault("content_wrong_type")
    wrong = await client.get(path)
    await client.inject_fault("content_500")
    error = await client.get(path)

    assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html")
    assert (wrong.headers["content-type"], wrong.content) == ("image/png", complete)
    assert error.status_code == 500
    assert (await client.get(path)).content == complete


@pytest.mark.parametrize("status", [404, 410])
async def test_a_shut_down_service_refuses_requests_until_cleared(client: SandboxClient, status: int) -> None:
    """A shut-down service refuses every request with the configured status, as the vendor does after shutdown."""
    await client.inject_fault("shutdown", status=status)
    answers = [await client.get("/v1/videos"), await client.post("/v1/videos", json={"prompt": "A", **SMALL_VIDEO})]
    await client.delete("/sandbox/faults")

    assert [answer.status_code for answer in answers] == [status, status]
    assert (await client.get("/v1/videos")).status_code == 200


async def test_the_vllm_profile(client: SandboxClient) -> None:
    """vLLM accepts multipart only and reports a failed job with status 422, the job as body and a numeric code."""
    await client.inject_fault("profile", profile="vllm")
    as_json = await client.post("/v1/videos", json={"prompt": "A", **SMALL_VIDEO})
    form = {name: (None, value) for name, value in {"prompt": "A #fail", **SMALL_VIDEO}.items()}
    video = (await client.post("/v1/videos", files=form)).json()
    await client.wait_for_video(video["id"])
    failed = await client.get(f"/v1/videos/{video['id']}")
    content = await client.get(f"/v1/videos/{video['id']}/content")

    assert as_json.status_code == 422
    assert (failed.status_code, failed.json()["status"], failed.json()["error"]["code"]) == (422, "failed", 422)
    assert content.status_code == 422


async def test_the_sglang_profile(client: SandboxClient) -> None:
    """SGLang errors have no code, and variant=video is unknown."""
    await client.inject_fault("profile", profile="sglang")
    failed = await client.create_and_wait("A #fail")
    video = await client.create_and_wait("A")
    path = f"/v1/videos/{video['id']}/content"
    with_variant = await client.get(path, params={"variant": "video"})
    without = await client.get(path)

    assert set(failed["error"]) == {"message"}
    assert (with_variant.status_code, without.status_code) == (404, 200)


async def test_the_litellm_profile(client: SandboxClient) -> None:
    """LiteLLM reports "processing", uses ids that must be URL-quoted, and has no delete."""
    await client.inject_fault("profile", profile="litellm")
    video = await client.create_video("A")
    quoted = quote(video["id"], safe="")
    ended = await client.wait_for_video(quoted)
    content = await client.get(f"/v1/videos/{quoted}/content")

    assert video["status"] == "processing"
    assert all(character in video["id"] for character in "+/=")
    assert (ended["id"], ended["status"]) == (video["id"], "completed")
    assert content.content[4:8] == b"ftyp"
    assert (await client.delete(f"/v1/videos/{quoted}")).status_code == 405


async def test_the_openrouter_profile(client: SandboxClient) -> None:
    """OpenRouter accepts with 202 and "pending" under its own path."""
    await client.inject_fault("profile", profile="openrouter")
    answer = await client.post("/api/v1/videos", json={"prompt": "A", **SMALL_VIDEO})
    await client.wait_for_video(answer.json()["id"])
    content = await client.get(f"{answer.json()['polling_url']}/content", params={"index": "0"})

    assert (answer.status_code, set(answer.json()), answer.json()["status"]) == (
        202,
        {"id", "polling_url", "status"},
        "pending",
    )
    assert content.content[4:8] == b"ftyp"


async def count_charges(client: SandboxClient) -> int:
    """Return the number of charges."""
    return len((await client.get("/sandbox/charges")).json())


@pytest.mark.parametrize(("headers", "charges"), [({}, 3), ({"x-litellm-num-retries": "0"}, 1)])
async def test_a_litellm_proxy_repeats_a_failed_create(
    client: SandboxClient, headers: dict[str, str], charges: int
) -> None:
    """The vendor accepts each of three creates and answers two with 500: the client sees one answer."""
    before = await count_charges(client)
    await client.inject_fault("profile", profile="litellm")
    await client.inject_fault("create_accept_then_500", times=2)
    answer = await client.post("/v1/videos", json={"prompt": "A", **SMALL_VIDEO}, headers=headers)

    assert answer.status_code == (500 if headers else 200)
    assert await count_charges(client) - before == charges


@pytest.mark.parametrize(("headers", "charges"), [({}, 3), ({"x-litellm-num-retries": "0"}, 1)])
async def test_a_proxy_in_front_of_any_server(client: SandboxClient, headers: dict[str, str], charges: int) -> None:
    """A create is repeated by a proxy in between, unless the header forbids it."""
    before = await count_charges(client)
    await client.inject_fault("create_repeated")
    answer = await client.post("/v1/videos", json={"prompt": "A", **SMALL_VIDEO}, headers=headers)

    assert answer.status_code == 200
    assert await count_charges(client) - before == charges


@pytest.mark.parametrize(("profile", "field"), [("vllm", "detail"), ("sglang", "error")])
async def test_a_server_that_is_not_ready(client: SandboxClient, profile: str, field: str) -> None:
    """A create is answered with 503 before anything is accepted or charged."""
    before = await count_charges(client)
    await client.inject_fault("profile", profile=profile)
    await client.inject_fault("create_not_ready", message="Not initialized.")
    form = {name: (None, value) for name, value in {"prompt": "A", **SMALL_VIDEO}.items()}
    answer = await client.post("/v1/videos", files=form)

    assert (answer.status_code, answer.json()) == (503, {field: "Not initialized."})
    assert await count_charges(client) == before


async def test_a_failed_video_is_read_with_429(client: SandboxClient) -> None:
    """The status is that of a rate limit, and the body is the failed video."""
    video = await client.create_and_wait("A #fail")
    await client.inject_fault("failed_with_429")
    answers = [await client.get(f"/v1/videos/{video['id']}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [429, 200]
    assert [answer.json()["status"] for answer in answers] == ["failed", "failed"]


async def test_an_unknown_fault_is_refused(client: SandboxClient) -> None:
    """An unknown fault is refused with the valid names, and an unknown parameter is refused too."""
    unknown = await client.post("/sandbox/faults", json={"fault": "earthquake"})
    unknown_param = await client.post("/sandbox/faults", json={"fault": "slow", "minutes": 3})

    assert (unknown.status_code, unknown_param.status_code) == (422, 422)
    assert "create_500" in unknown.json()["error"]["message"]


async def test_the_official_client_is_compatible(server: SandboxServer) -> None:
    """openai-python creates, polls and downloads a video."""
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
