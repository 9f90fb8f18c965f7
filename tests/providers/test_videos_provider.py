"""A clip is ordered once, looked up when the outcome is unknown, and downloaded completely or not at all."""

import asyncio
import json
import tomllib
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.base import NotSent, OutcomeUnknown, ProviderError, Refused, Unavailable, Unusable
from providers.http import Limits
from providers.results import Failed, FileMissing, NotFound, Pending, PollResult, Succeeded
from providers.video_profiles import BUILT_IN_PROFILES, Profile
from providers.videos import Videos
from tests.providers.stub_server import Respond, fail_with, ignore_progress, respond_with, stub_client

KEY = "sk-very-secret"
SINCE = datetime(2026, 11, 23, 12, tzinfo=UTC)
AT = int(SINCE.timestamp())
REQUEST = {"model": "wan", "prompt": "A fox, shot 1", "seconds": 4, "size": "720x1280"}
MP4 = b"\x00\x00\x00\x18ftypmp42" * 100


async def accept(path: Path, *, seconds: float, width: int, height: int, into: Path) -> Succeeded:
    """Accept the clip `MP4`."""
    if path.read_bytes() != MP4:
        raise Unusable("clip_unreadable", "The clip is not a video.")
    assert (seconds, width, height, into) == (4.0, 720, 1280, path.parent)
    return Succeeded(path, None, {"seconds": 4.0, "codec": "h264"})


def build_profile(**fields: Any) -> Profile:
    base = {"hosts": ["*"], "models": ["wan"], "sizes": ["720x1280"], "seconds": [4], "usd_per_second": 0}
    return Profile.model_validate(base | fields)


def kind_fields(kind: str) -> dict[str, Any]:
    """Return the fields of a kind of server."""
    return {"kind": kind, **tomllib.loads(BUILT_IN_PROFILES.read_text())["kinds"][kind]}


def create_provider(respond: Respond, **profile: Any) -> tuple[Videos, list[httpx.Request]]:
    """Return a provider of the server, and the list of the requests that the server receives."""
    client, requests = stub_client(respond, follow_redirects=True)
    return Videos("http://server/v1/", KEY, [build_profile(**profile)], client, accept), requests


def provider_at(base_url: str, client: httpx.AsyncClient, **options: Any) -> Videos:
    """Return a provider of a real server."""
    return Videos(base_url, KEY, [build_profile()], client, accept, limits=Limits(**options))


# ---- submit


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_submit_sends_one_multipart_post(status: int) -> None:
    """One multipart POST with the key as bearer token and the seconds as text; the id is returned."""
    provider, requests = create_provider(respond_with(status, {"id": "video_1", "status": "queued"}))

    assert await provider.submit(REQUEST, key="k") == "video_1"
    [post] = requests
    assert (post.method, str(post.url)) == ("POST", "http://server/v1/videos")
    assert post.headers["authorization"] == f"Bearer {KEY}"
    head = b"content-type: " + post.headers["content-type"].encode() + b"\r\n\r\n"
    parts = BytesParser().parsebytes(head + post.content).get_payload()
    sent = {part.get_param("name", header="content-disposition"): part.get_payload() for part in parts}
    assert sent == {"model": "wan", "prompt": "A fox, shot 1", "seconds": "4", "size": "720x1280"}


async def test_submit_sends_json_if_the_profile_requires_it() -> None:
    """The seconds are text in JSON as well."""
    provider, requests = create_provider(respond_with(202, {"id": "v", "status": "pending"}), encoding="json")
    await provider.submit(REQUEST, key="k")

    assert json.loads(requests[0].content) == REQUEST | {"seconds": "4"}


@pytest.mark.parametrize(
    ("respond", "error", "code"),
    [
        (fail_with(httpx.ConnectError), NotSent, "unreachable"),
        (fail_with(httpx.ConnectTimeout), NotSent, "unreachable"),
        (fail_with(httpx.PoolTimeout), NotSent, "unreachable"),
        (respond_with(429, {"error": {"code": "rate"}}), NotSent, "rate_limited"),
        (fail_with(httpx.ReadTimeout), OutcomeUnknown, "outcome_unknown"),
        (fail_with(httpx.WriteTimeout), OutcomeUnknown, "outcome_unknown"),
        (fail_with(httpx.ReadError), OutcomeUnknown, "outcome_unknown"),
        (fail_with(httpx.RemoteProtocolError), OutcomeUnknown, "outcome_unknown"),
        *((respond_with(s, {"error": {"code": "x"}}), OutcomeUnknown, "outcome_unknown") for s in (500, 502, 503)),
        *((respond_with(s, {"error": {"code": "x"}}), OutcomeUnknown, "outcome_unknown") for s in (408, 409, 425)),
        *((respond_with(s, headers={"location": "http://e/"}), OutcomeUnknown, "outcome_unknown") for s in (302, 303)),
        (respond_with(200, b"<html>"), OutcomeUnknown, "outcome_unknown"),
        (respond_with(200, []), OutcomeUnknown, "outcome_unknown"),
        (respond_with(200, {}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(200, {"id": 7}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(200, {"id": ""}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(200, {"id": "a\x00"}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(200, {"id": "v", "pad": "x" * 5_000_000}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(204), OutcomeUnknown, "outcome_unknown"),
        *((respond_with(s, headers={"location": "http://e/"}), Refused, "video_refused") for s in (301, 307, 308)),
        (respond_with(400, {"error": {"code": "sentinel_block", "message": "Hmmm"}}), Refused, "sentinel_block"),
        (respond_with(400, {"error": {"code": 400, "message": "Bad"}}), Refused, "video_refused"),
        (respond_with(400, {"error": {"code": "Not A Code!"}}), Refused, "not_a_code"),
        (respond_with(400, {"error": "Bad"}), Refused, "video_refused"),
        (respond_with(422, {"detail": [{"loc": ["size"]}]}), Refused, "video_refused"),
        (respond_with(404, b"<html>"), Refused, "video_refused"),
        (
            respond_with(401, {"error": {"code": "invalid_api_key", "message": f"Bad key {KEY}"}}),
            NotSent,
            "api_key_rejected",
        ),
        (respond_with(403), Refused, "video_refused"),
        (respond_with(403, {"error": {"code": "no_access"}}), Refused, "no_access"),
    ],
)
async def test_submit_maps_each_failure_to_an_error(respond: Respond, error: type[ProviderError], code: str) -> None:
    """Each outcome of an order has its own error, after one call and without the key in the message."""
    provider, requests = create_provider(respond)
    with pytest.raises(ProviderError) as caught:
        await provider.submit(REQUEST, key="k")

    assert (type(caught.value), caught.value.code, len(requests)) == (error, code, 1)
    assert KEY not in caught.value.message


@pytest.mark.parametrize("kind", ["openai", "vllm-omni", "sglang", "litellm", "openrouter"])
async def test_a_create_forbids_a_proxy_to_repeat_it(kind: str) -> None:
    """A LiteLLM proxy may be in front of any server: every create carries the header that forbids it to retry."""
    provider, requests = create_provider(respond_with(200, {"id": "video_1"}), **kind_fields(kind))
    await provider.submit(REQUEST, key="k")

    assert requests[0].headers["x-litellm-num-retries"] == "0"


async def test_a_create_forbids_litellm_another_deployment() -> None:
    """After a failure LiteLLM would send the order to a fallback; the field that forbids it must be a boolean."""
    provider, requests = create_provider(respond_with(200, {"id": "video_1"}), **kind_fields("litellm"))
    await provider.submit(REQUEST, key="k")

    assert json.loads(requests[0].content) == {**REQUEST, "seconds": "4", "disable_fallbacks": True}


NOT_ACCEPTED = [
    ("vllm-omni", 503, {"detail": "Video generation handler not initialized."}),
    ("vllm-omni", 503, {"error": {"message": "Video generation handler not initialized.", "code": 503}}),
    ("vllm-omni", 503, {"detail": "API worker topology is not initialized."}),
    ("vllm-omni", 409, {"detail": "Asynchronous video jobs is not supported with --api-server-count > 1 because …"}),
    ("vllm-omni", 503, {"error": "The model is currently scaling. Please try again later."}),
    ("sglang", 503, {"error": "Scheduler worker exited; restart the server."}),
    ("sglang", 503, {"error": "Disaggregation router exited; restart the server."}),
    ("sglang", 503, {"error": "The server is warming up."}),
    ("sglang", 503, {"detail": "Scheduler is dead"}),
]


@pytest.mark.parametrize(("kind", "status", "body"), NOT_ACCEPTED)
async def test_an_order_that_was_certainly_not_accepted_can_be_placed_again(kind: str, status: int, body: Any) -> None:
    """What a kind of server answers before it accepts anything means not sent, with the server's reason."""
    provider, _ = create_provider(respond_with(status, body), **kind_fields(kind))
    with pytest.raises(NotSent) as caught:
        await provider.submit(REQUEST, key="k")

    assert caught.value.code == "not_ready"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("openai", {"detail": "Video generation handler not initialized."}),
        ("litellm", {"error": {"message": "ServiceUnavailableError: Video generation handler not initialized."}}),
        ("vllm-omni", {"error": "Scheduler worker exited; restart the server."}),
        ("sglang", {"error": "Service unavailable"}),
        ("sglang", b"<html>503 Service Temporarily Unavailable</html>"),
        ("sglang", {"error": "Scheduler did not respond in time."}),
    ],
)
async def test_any_other_503_leaves_the_outcome_unknown(kind: str, body: Any) -> None:
    """A 503 of another origin, such as a gateway, may be sent after the order was accepted."""
    provider, _ = create_provider(respond_with(503, body), **kind_fields(kind))
    with pytest.raises(OutcomeUnknown):
        await provider.submit(REQUEST, key="k")


async def test_a_refusal_contains_the_reason_without_the_key() -> None:
    """The server's message is one line, with the key redacted."""
    provider, _ = create_provider(respond_with(400, {"error": {"message": f"No\nclips for {KEY}.\x00"}}))
    with pytest.raises(Refused) as caught:
        await provider.submit(REQUEST, key="k")

    assert caught.value.message == "The video service (server) refused the order: No clips for [key]."


async def test_a_rate_limit_contains_the_retry_delay() -> None:
    """The message contains the delay that the server requests."""
    provider, _ = create_provider(respond_with(429, headers={"retry-after": "17"}))
    with pytest.raises(NotSent, match="17 seconds"):
        await provider.submit(REQUEST, key="k")


async def test_submit_without_a_response(client: httpx.AsyncClient, serve: Any, unused_tcp_port: int) -> None:
    """A closed port means not sent; a server that closes the connection or does not respond means outcome unknown."""
    with pytest.raises(NotSent):
        await provider_at(f"http://127.0.0.1:{unused_tcp_port}/v1", client).submit(REQUEST, key="k")
    with pytest.raises(OutcomeUnknown):
        await provider_at(await serve(b""), client).submit(REQUEST, key="k")
    with pytest.raises(OutcomeUnknown):
        await provider_at(await serve(b"", hang=True), client, submit_seconds=0.2).submit(REQUEST, key="k")
    endless = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    with pytest.raises(OutcomeUnknown):
        await provider_at(await serve(endless, trickle=0.02), client, submit_seconds=0.3).submit(REQUEST, key="k")


# ---- lookup


def listed_video(video_id: str, created_at: Any, **fields: Any) -> dict[str, Any]:
    video = {"id": video_id, "created_at": created_at, "status": "queued", "seconds": "4"}
    return video | {name: REQUEST[name] for name in ("model", "prompt", "size")} | fields


async def test_lookup_returns_matching_videos_only() -> None:
    """Only videos with the same prompt, model, size and length, created since then, oldest first."""
    data = [
        listed_video("new", AT + 50),
        listed_video("failed", AT + 40, status="failed"),
        listed_video("other prompt", AT + 30, prompt="A fox, shot 2"),
        listed_video("no prompt", AT + 30, prompt=None),
        listed_video("other model", AT + 30, model="wan-2"),
        listed_video("other size", AT + 30, size="1280x720"),
        listed_video("other length", AT + 30, seconds="8"),
        listed_video("number", AT + 25, seconds=4.0),
        listed_video("sparse", AT + 20, model=None, size=None, seconds=None),
        listed_video("no time", None),
        listed_video("odd time", True),
        {"id": None} | {name: value for name, value in listed_video("x", AT).items() if name != "id"},
        "noise",
        listed_video("skewed", AT - 59),
        listed_video("too old", AT - 61),
    ]
    provider, requests = create_provider(respond_with(200, {"object": "list", "data": data, "has_more": True}))

    assert await provider.lookup(REQUEST, key="k", since=SINCE) == ["skewed", "sparse", "number", "failed", "new"]
    assert dict(requests[0].url.params) == {"limit": "100", "order": "desc"}
    assert len(requests) == 1


async def test_lookup_reads_all_pages() -> None:
    """Pages are read until the list ends or contains older videos."""

    def respond(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params.get("after", "p0")[1:])
        data = [listed_video(f"p{page + 1}", AT + 1000 - page * 400)]
        return httpx.Response(200, json={"data": data, "has_more": page < 50})

    provider, requests = create_provider(respond)

    assert await provider.lookup(REQUEST, key="k", since=SINCE) == ["p3", "p2", "p1"]
    assert len(requests) == 4


@pytest.mark.parametrize(
    "body",
    [{"data": [], "has_more": True}, {"data": []}, {"data": [3], "has_more": True}],
)
async def test_lookup_ends_without_a_next_page(body: dict[str, Any]) -> None:
    """A list that announces more entries without returning any has ended."""
    provider, requests = create_provider(respond_with(200, body))

    assert await provider.lookup(REQUEST, key="k", since=SINCE) == []
    assert len(requests) == 1


async def test_lookup_of_an_endless_list_is_unavailable() -> None:
    """An incomplete search is an error, not an empty result."""
    count = iter(range(1000))
    provider, requests = create_provider(
        lambda r: httpx.Response(200, json={"data": [listed_video(f"v{next(count)}", AT)], "has_more": 1})
    )
    with pytest.raises(Unavailable, match="too many"):
        await provider.lookup(REQUEST, key="k", since=SINCE)

    assert len(requests) == 20


@pytest.mark.parametrize(
    "respond",
    [
        fail_with(httpx.ConnectError),
        fail_with(httpx.ReadTimeout),
        respond_with(429),
        respond_with(500),
        respond_with(404),
        respond_with(401),
        respond_with(200, b"<html>"),
        respond_with(200, {"data": None}),
    ],
)
async def test_lookup_without_a_list_is_unavailable(respond: Respond) -> None:
    """Any response that is not a list is an error."""
    provider, _ = create_provider(respond)
    with pytest.raises(Unavailable):
        await provider.lookup(REQUEST, key="k", since=SINCE)


async def test_lookup_without_prompts_sends_no_request() -> None:
    """If the list contains no prompts, no video can be identified and no request is sent."""
    provider, requests = create_provider(respond_with(500), list_echoes_prompt=False)

    assert (await provider.lookup(REQUEST, key="k", since=SINCE), requests) == ([], [])


async def test_candidates_of_a_list_without_prompts() -> None:
    """Where the list shows no prompts, the videos of the same model, size and length since the call are candidates."""
    data = [
        listed_video("new", AT + 50, prompt=None),
        listed_video("other prompt", AT + 40, prompt="A fox, shot 2"),
        listed_video("other model", AT + 30, prompt=None, model="wan-2"),
        listed_video("other size", AT + 30, prompt=None, size="1280x720"),
        listed_video("other length", AT + 30, prompt=None, seconds="8"),
        listed_video("a/b", AT + 20, prompt=None, status="in_progress"),
        listed_video("too old", AT - 61, prompt=None),
    ]
    provider, _ = create_provider(respond_with(200, {"data": data}), **kind_fields("sglang"))

    found = await provider.candidates(REQUEST, since=SINCE)

    assert [each.task_id for each in found] == ["a/b", "new"]
    assert (found[0].status, found[0].created_at) == ("in_progress", SINCE + timedelta(seconds=20))
    assert found[0].url == "http://server/v1/videos/a%2Fb"


@pytest.mark.parametrize(
    ("kind", "place", "proof"),
    [
        ("openai", "http://server/v1/videos", "with their prompts"),
        ("vllm-omni", "http://server/v1/videos", "forgets its jobs when it restarts"),
        ("sglang", "http://server/v1/videos", "proves nothing: compare time, size and length"),
        ("litellm", "the log of the proxy and the console of the vendor behind it", "look in the log of the proxy"),
        ("openrouter", "https://openrouter.ai/activity", "look in https://openrouter.ai/activity"),
    ],
)
async def test_a_person_is_sent_where_something_can_be_seen(kind: str, place: str, proof: str) -> None:
    """A list that proves nothing is not named as proof, and one that does not exist is not queried."""
    provider, requests = create_provider(respond_with(500), **kind_fields(kind))

    assert provider.lookup_url(REQUEST, key="k") == place
    assert proof in provider.lookup_proof
    if kind in ("litellm", "openrouter"):
        assert (await provider.candidates(REQUEST, since=SINCE), requests) == ([], [])
    else:
        with pytest.raises(Unavailable):
            await provider.candidates(REQUEST, since=SINCE)


def test_the_lookup_window_is_set_by_the_profile() -> None:
    """The profile sets how long an order may take to appear in the list."""
    assert create_provider(respond_with(200), lookup_window_seconds=7)[0].lookup_window == timedelta(seconds=7)


# ---- poll


async def poll(provider: Videos, into: Path, task_id: str = "video_1") -> PollResult:
    return await provider.poll(task_id, REQUEST, into=into, progress=ignore_progress)


@pytest.mark.parametrize(
    ("video", "share"),
    [
        ({"status": "queued", "progress": 0}, 0.0),
        ({"status": "in_progress", "progress": 42}, 0.42),
        ({"status": "processing", "progress": "50"}, 0.5),
        ({"status": "pending"}, None),
        ({"status": "IN_PROGRESS", "progress": 300}, 1.0),
        ({"status": "unknown", "progress": "many"}, None),
        ({"status": "queued", "progress": True, "error": None}, None),
    ],
)
async def test_an_unfinished_video_is_pending(tmp_path: Path, video: dict[str, Any], share: float | None) -> None:
    """Any status that is not final means pending."""
    provider, _ = create_provider(respond_with(200, {"id": "video_1"} | video))

    assert await poll(provider, tmp_path) == Pending(share)


@pytest.mark.parametrize(
    ("respond", "code", "message"),
    [
        (respond_with(200, {"status": "failed", "error": {"code": "moderation_blocked", "message": "No."}}),
         "moderation_blocked", "No."),
        (respond_with(200, {"status": "failed", "error": {"message": "No."}}), "video_failed", "No."),
        (respond_with(200, {"status": "failed"}), "video_failed",
         "The video service ended the video with status failed."),
        (respond_with(200, {"status": "failed", "error": "No."}), "video_failed", "No."),
        (respond_with(200, {"status": "cancelled"}), "video_failed",
         "The video service ended the video with status cancelled."),
        (respond_with(200, {"status": "expired"}), "video_failed",
         "The video service ended the video with status expired."),
        (respond_with(200, {"status": "deleted"}), "video_failed",
         "The video service ended the video with status deleted."),
        (respond_with(400, {"status": "failed", "error": {"code": 400, "message": "Bad prompt"}}),
         "video_failed", "Bad prompt"),
        (respond_with(500, {"status": "failed", "error": {"code": 500, "message": "OOM"}}), "video_failed", "OOM"),
        (respond_with(404, {"status": "failed", "error": {"code": 404, "message": "LoRA"}}), "video_failed", "LoRA"),
        (respond_with(429, {"status": "failed", "error": {"code": 429, "message": "Busy"}}), "video_failed", "Busy"),
    ],
)  # fmt: skip
async def test_a_failed_video_has_a_reason(tmp_path: Path, respond: Respond, code: str, message: str | None) -> None:
    """A failed job is reported with its reason, also if the response has an HTTP error status."""
    provider, _ = create_provider(respond)
    result = await poll(provider, tmp_path)

    assert isinstance(result, Failed)
    assert result.code == code
    assert message in (None, result.message)


@pytest.mark.parametrize(
    "respond",
    [
        respond_with(404, {"error": {"code": "not_found", "message": "?"}}),
        respond_with(404, b"<html>"),
        respond_with(410),
    ],
    ids=["not found", "page", "gone"],
)
async def test_an_unknown_video_is_not_found(tmp_path: Path, respond: Respond) -> None:
    """A job that the server does not know has not failed: another server behind the same URL may know it."""
    provider, _ = create_provider(respond)

    assert await poll(provider, tmp_path) == NotFound()


@pytest.mark.parametrize(("status", "charged"), [("failed", False), ("expired", True), ("deleted", True)])
async def test_a_generated_video_is_charged(tmp_path: Path, status: str, charged: bool) -> None:
    """An expired or deleted video is charged, a failed one is not."""
    provider, _ = create_provider(respond_with(200, {"status": status}))
    result = await poll(provider, tmp_path)

    assert isinstance(result, Failed)
    assert result.charged is charged


async def test_the_name_identifies_the_server() -> None:
    """The name is host, port and path without credentials: orders of one server are not looked up at another."""
    async with httpx.AsyncClient() as client:
        urls = ("http://server/v1/", "http://server:81/v1", "http://server/v2", "https://a:secret@server/v1")
        names = [provider_at(url, client).name for url in urls]

    assert names == ["videos:server/v1", "videos:server:81/v1", "videos:server/v2", "videos:server/v1"]


@pytest.mark.parametrize(
    ("respond", "code"),
    [
        (fail_with(httpx.ConnectError), "unreachable"),
        (fail_with(httpx.ReadTimeout), "unreachable"),
        (fail_with(httpx.RemoteProtocolError), "unreachable"),
        (respond_with(429), "rate_limited"),
        (respond_with(500, {"error": {"code": "server_error"}}), "unexpected_response"),
        (respond_with(401), "api_key_rejected"),
        (respond_with(302, headers={"location": "http://e/"}), "unexpected_response"),
        (respond_with(200, b"<html>"), "unexpected_response"),
        (respond_with(200, {"id": "video_1"}), "unexpected_response"),
        (respond_with(200, {"status": 3}), "unexpected_response"),
        (respond_with(200, b"[" * 100_000), "unexpected_response"),
    ],
)
async def test_an_unusable_response_is_unavailable(tmp_path: Path, respond: Respond, code: str) -> None:
    """A response that is neither a status nor final is an error that can be retried."""
    provider, _ = create_provider(respond)
    with pytest.raises(Unavailable) as caught:
        await poll(provider, tmp_path)

    assert caught.value.code == code


def completed_video(content: Respond) -> Respond:
    """Return a server with a completed video, which responds to a request for the file with `content`."""

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/content"):
            return content(request)
        return httpx.Response(200, json={"status": "completed", "model": "wan-2.2", "seconds": "4"})

    return respond


async def test_a_completed_video_is_downloaded(tmp_path: Path) -> None:
    """A completed video is downloaded, validated and described; its id may contain any characters."""
    provider, requests = create_provider(
        completed_video(respond_with(200, MP4, headers={"content-type": "video/mp4"})), content_query={"index": "0"}
    )
    result = await poll(provider, tmp_path, "video_a/b+c=?d")

    assert isinstance(result, Succeeded)
    assert result.file is not None
    assert result.file.read_bytes() == MP4
    assert result.facts == {"seconds": 4.0, "codec": "h264", "model": "wan-2.2", "provider_seconds": 4.0}
    assert requests[1].url.raw_path == b"/v1/videos/video_a%2Fb%2Bc%3D%3Fd/content?index=0"
    assert requests[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (respond_with(404, {"detail": "gone"}), "video_expired"),
        (respond_with(410), "video_expired"),
        (respond_with(400, {"error": {"message": "stored in cloud"}}), "video_unfetchable"),
        (respond_with(422, {"detail": "not yet"}), "video_unfetchable"),
    ],
)
async def test_a_file_that_is_not_served_may_be_late(tmp_path: Path, content: Respond, code: str) -> None:
    """A missing file is not a failure yet: some servers report a video as completed before they serve it."""
    provider, requests = create_provider(completed_video(content))
    result = await poll(provider, tmp_path)

    assert isinstance(result, FileMissing)
    assert (result.failure.code, result.failure.charged) == (code, True)
    assert {request.url.host for request in requests} == {"server"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (respond_with(422, {"status": "failed", "error": {"code": "nsfw", "message": "No."}}), "nsfw"),
        (respond_with(429, {"status": "failed", "error": {"code": "nsfw", "message": "No."}}), "nsfw"),
        (respond_with(200, b"not a clip", headers={"content-type": "video/mp4"}), "clip_unreadable"),
    ],
)
async def test_a_clip_that_cannot_be_used_fails(tmp_path: Path, content: Respond, code: str) -> None:
    """A failed job, or a file that is not a clip, ends the order."""
    provider, _ = create_provider(completed_video(content))
    result = await poll(provider, tmp_path)

    assert isinstance(result, Failed)
    assert (result.code, result.charged) == (code, code != "nsfw")
    assert ("(the delivered file: http://server/v1/videos/" in result.message) == (code == "clip_unreadable")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (fail_with(httpx.ConnectError), "download_incomplete"),
        (fail_with(httpx.ReadTimeout), "download_incomplete"),
        (respond_with(429), "rate_limited"),
        (respond_with(503), "unexpected_response"),
        (respond_with(401), "api_key_rejected"),
        (respond_with(200, b"<html>", headers={"content-type": "text/html; charset=utf-8"}), "not_a_file"),
        (respond_with(200, {"error": "soon"}), "not_a_file"),
        (respond_with(200, b"<html>", headers={"content-type": "application/xhtml+xml"}), "not_a_file"),
        (respond_with(200, MP4, headers={"content-type": "video/mp4", "content-length": "9"}), "download_incomplete"),
    ],
)
async def test_a_temporary_download_error_is_unavailable(tmp_path: Path, content: Respond, code: str) -> None:
    """The download is retried later, and no file is left behind."""
    provider, _ = create_provider(completed_video(content))
    with pytest.raises(Unavailable) as caught:
        await poll(provider, tmp_path)

    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


COMPLETED = b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 22\r\n\r\n{"status":"completed"}'
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: video/mp4\r\n"


@pytest.mark.parametrize(
    ("reply", "behaviour"),
    [
        (HEAD + b"content-length: 1000\r\n\r\nshort", {}),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", {}),
        (HEAD + b"content-length: 1000\r\n\r\nshort", {"hang": True}),
        (HEAD + b"content-length: 1000000\r\n\r\nslow", {"trickle": 0.02}),
        (b"", {"hang": True}),
        (b"", {}),
    ],
    ids=["cut", "cut between chunks", "idle", "slow", "no response", "closed"],
)
async def test_an_interrupted_download_is_unavailable(
    tmp_path: Path, client: httpx.AsyncClient, serve: Any, reply: bytes, behaviour: dict[str, Any]
) -> None:
    """A cut, silent or endless transfer ends in time and can be retried; no part of it is kept."""
    provider = provider_at(await serve(COMPLETED, reply, **behaviour), client, idle_seconds=0.3, download_seconds=0.6)
    with pytest.raises(Unavailable) as caught:
        await poll(provider, tmp_path)

    assert caught.value.code == "download_incomplete"
    assert list(tmp_path.iterdir()) == []


async def test_an_idle_download_ends_early(tmp_path: Path, client: httpx.AsyncClient, serve: Any) -> None:
    """A server that stops sending is abandoned sooner than one that is slow."""
    url = await serve(COMPLETED, HEAD + b"content-length: 1000\r\n\r\nshort", hang=True)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="whole file"):
            await poll(provider_at(url, client, idle_seconds=0.2, download_seconds=60), tmp_path)


async def test_a_file_over_the_size_limit_fails(tmp_path: Path) -> None:
    """A file over the limit is not kept, whatever length it announces."""
    transport = httpx.MockTransport(completed_video(respond_with(200, MP4, headers={"content-type": "video/mp4"})))
    provider = Videos(
        "http://m/v1",
        KEY,
        [build_profile()],
        httpx.AsyncClient(transport=transport),
        accept,
        limits=Limits(file_bytes=1000),
    )
    result = await poll(provider, tmp_path)

    assert isinstance(result, Failed)
    assert (result.code, list(tmp_path.iterdir())) == ("file_too_large", [])


async def test_an_unwritable_folder_is_unavailable(tmp_path: Path) -> None:
    """A local write error is not a failure of the video."""
    provider, _ = create_provider(completed_video(respond_with(200, MP4, headers={"content-type": "video/mp4"})))
    with pytest.raises(Unavailable, match="cannot be written"):
        await poll(provider, tmp_path / "missing")


async def test_an_unavailable_validation_is_not_a_failure(tmp_path: Path) -> None:
    """A clip is not rejected when its validation is unavailable."""

    async def busy(path: Path, *, seconds: float, width: int, height: int, into: Path) -> Succeeded:
        raise Unavailable("media_busy", "Later.")

    transport = httpx.MockTransport(completed_video(respond_with(200, MP4, headers={"content-type": "video/mp4"})))
    provider = Videos("http://m/v1", KEY, [build_profile()], httpx.AsyncClient(transport=transport), busy)
    with pytest.raises(Unavailable, match="Later"):
        await poll(provider, tmp_path)


@pytest.mark.parametrize(
    ("profile", "is_announced", "shortest", "longest"),
    [({"poll_seconds": 7}, True, 7, 7), ({}, True, 30, 60), ({}, False, 1, 15)],
)
async def test_a_clip_is_polled_as_often_as_useful(
    client: httpx.AsyncClient, profile: dict[str, Any], is_announced: bool, shortest: float, longest: float
) -> None:
    """As the profile says; else rarely if a webhook announces it, and more and more rarely if none does."""
    videos = Videos("http://server/v1/", KEY, [build_profile(**profile)], client, accept, is_announced=is_announced)
    pauses = [videos.poll_pause(polls).total_seconds() for polls in range(50)]

    assert shortest <= min(pauses) <= max(pauses) <= longest
    assert len(set(pauses)) == 1 or max(pauses) > 1.5 * min(pauses)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"code": "SAFETY.INPUT.TEXT", "message": "Refused."}}, "safety_input_text", "Refused."),
        ({"failure": "Refused.", "failureCode": "INPUT_PREPROCESSING.SAFETY.TEXT"}, "input_preprocessing_safety_text",
         "Refused."),
        ({"error": {"code": "raiMediaFiltered", "message": "Filtered."}}, "rai_media_filtered", "Filtered."),
        ({"error": {"code": "InputTextSensitiveContentDetected"}}, "input_text_sensitive_content_detected", None),
        ({"error": {"code": "DataInspectionFailed", "message": "No."}}, "data_inspection_failed", "No."),
        ({"error": {"code": 1026, "message": "Sensitive."}}, "code_1026", "Sensitive."),
        ({"error": {"code": "400", "message": 'litellm.BadRequestError: OpenAIException - {"error": {"message": '
         '"Not allowed.", "code": "content_policy_violation"}}. Received Model Group=sora'}},
         "content_policy_violation", "Not allowed."),
        ({"error": {"message": "Error code: 400 - {'error': {'message': 'Not allowed.', 'code': 'ContentFilter'}}"}},
         "content_filter", "Not allowed."),
        ({"error": '{"error": {"code": "IPInfringementSuspect", "message": "A brand."}}'}, "ip_infringement_suspect",
         "A brand."),
        ({"detail": [{"loc": ["body", "prompt"], "msg": "Flagged.", "type": "content_policy_violation"}]},
         "content_policy_violation", "Flagged."),
        ({"error": {"message": 'It failed: {"broken": '}}, "video_failed", "It failed"),
        ({"error": {"message": "<html><h1>Bad gateway</h1></html>"}}, "video_failed", None),
        ({"error": {"code": "x" * 100, "message": [{"message": "Deep."}]}}, "video_failed", "Deep."),
        ({"error": {"code": "内容违规", "message": "内容违规"}}, "video_failed", "内容违规"),
    ],
)  # fmt: skip
async def test_the_codes_of_other_vendors_are_kept(
    tmp_path: Path, body: dict[str, Any], code: str, message: str | None
) -> None:
    """A code has lower-case words with underscores; a message is prose, whatever JSON it comes in."""
    ended, _ = create_provider(respond_with(200, {"id": "video_1", "status": "failed", **body}))
    result = await poll(ended, tmp_path)
    refused, _ = create_provider(respond_with(400, body))
    with pytest.raises(Refused) as failed:
        await refused.submit(REQUEST, key="k")

    assert isinstance(result, Failed)
    assert (result.code, failed.value.code) == (code, code.replace("video_failed", "video_refused"))
    assert result.message == (message or "The video service ended the video with status failed.")
    assert failed.value.message.endswith(message or "HTTP 400")
    assert not {*"{}<"} & {*failed.value.message}


async def test_a_body_of_any_depth_is_an_error_without_details(tmp_path: Path) -> None:
    """A nested body is not followed for ever."""
    body: Any = "x"
    for _ in range(500):
        body = {"error": body}
    provider, _ = create_provider(respond_with(400, body))
    with pytest.raises(Refused) as failed:
        await provider.submit(REQUEST, key="k")

    assert failed.value.code == "video_refused"
