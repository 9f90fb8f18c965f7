"""A clip is ordered once, found again when its fate is unknown, and fetched whole or not at all."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.base import (
    Failed,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Pending,
    PollResult,
    ProviderError,
    Refused,
    Succeeded,
    Unavailable,
)
from providers.video_profiles import Profile
from providers.videos import Videos

KEY = "sk-very-secret"
SINCE = datetime(2026, 11, 23, 12, tzinfo=UTC)
AT = int(SINCE.timestamp())
REQUEST = {"model": "wan", "prompt": "A fox, shot 1", "seconds": 4, "size": "720x1280"}
MP4 = b"\x00\x00\x00\x18ftypmp42" * 100

Respond = Callable[[httpx.Request], httpx.Response]


@dataclass
class Clip:
    file: Path
    original: Path | None = None
    facts: dict[str, Any] = field(default_factory=lambda: {"seconds": 4.0, "codec": "h264"})


async def accept(path: Path, *, seconds: float, width: int, height: int, into: Path) -> Clip:
    """Takes any clip with bytes in it."""
    if path.read_bytes() != MP4:
        raise ProviderError("clip_unreadable", "The clip is not a video.")
    assert (seconds, width, height, into) == (4.0, 720, 1280, path.parent)
    return Clip(path)


async def no_progress(share: float) -> None:
    """Nobody is told."""


def profile(**more: Any) -> Profile:
    base = {"hosts": ["*"], "models": ["wan"], "sizes": ["720x1280"], "seconds": [4], "usd_per_second": 0}
    return Profile.model_validate(base | more)


def videos(respond: Respond, **more: Any) -> tuple[Videos, list[httpx.Request]]:
    """A provider whose server is `respond`, and all that it asks of it."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return respond(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer), follow_redirects=True)
    return Videos("http://maker/v1/", KEY, profile(**more), client, accept), asked


def at(base_url: str, client: httpx.AsyncClient, **more: Any) -> Videos:
    """A provider of a real server."""
    return Videos(base_url, KEY, profile(), client, accept, **more)


def always(status: int, body: Any = None, **more: Any) -> Respond:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    return lambda request: httpx.Response(status, **content, **more)


def fails(error: type[httpx.TransportError]) -> Respond:
    def respond(request: httpx.Request) -> httpx.Response:
        raise error("no")

    return respond


# ---- submit


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_an_order_is_one_post(status: int) -> None:
    """One multipart POST with the key as bearer, seconds as text; the id comes back."""
    maker, asked = videos(always(status, {"id": "video_1", "status": "queued"}))

    assert await maker.submit(REQUEST, key="k") == "video_1"
    [post] = asked
    assert (post.method, str(post.url)) == ("POST", "http://maker/v1/videos")
    assert post.headers["authorization"] == f"Bearer {KEY}"
    head = b"content-type: " + post.headers["content-type"].encode() + b"\r\n\r\n"
    parts = BytesParser().parsebytes(head + post.content).get_payload()
    sent = {part.get_param("name", header="content-disposition"): part.get_payload() for part in parts}
    assert sent == {"model": "wan", "prompt": "A fox, shot 1", "seconds": "4", "size": "720x1280"}


async def test_an_order_in_json() -> None:
    """A profile may ask for JSON; seconds are a text there too."""
    maker, asked = videos(always(202, {"id": "v", "status": "pending"}), encoding="json")
    await maker.submit(REQUEST, key="k")

    assert json.loads(asked[0].content) == REQUEST | {"seconds": "4"}


@pytest.mark.parametrize(
    ("respond", "error", "code"),
    [
        (fails(httpx.ConnectError), NotSent, "unreachable"),
        (fails(httpx.ConnectTimeout), NotSent, "unreachable"),
        (fails(httpx.PoolTimeout), NotSent, "unreachable"),
        (always(429, {"error": {"code": "rate"}}), NotSent, "rate_limited"),
        (fails(httpx.ReadTimeout), OutcomeUnknown, "outcome_unknown"),
        (fails(httpx.WriteTimeout), OutcomeUnknown, "outcome_unknown"),
        (fails(httpx.ReadError), OutcomeUnknown, "outcome_unknown"),
        (fails(httpx.RemoteProtocolError), OutcomeUnknown, "outcome_unknown"),
        *((always(s, {"error": {"code": "x"}}), OutcomeUnknown, "outcome_unknown") for s in (500, 502, 503)),
        *((always(s, {"error": {"code": "x"}}), OutcomeUnknown, "outcome_unknown") for s in (408, 409, 425)),
        *((always(s, headers={"location": "http://e/"}), OutcomeUnknown, "outcome_unknown") for s in (302, 303)),
        (always(200, b"<html>"), OutcomeUnknown, "outcome_unknown"),
        (always(200, []), OutcomeUnknown, "outcome_unknown"),
        (always(200, {}), OutcomeUnknown, "outcome_unknown"),
        (always(200, {"id": 7}), OutcomeUnknown, "outcome_unknown"),
        (always(200, {"id": ""}), OutcomeUnknown, "outcome_unknown"),
        (always(200, {"id": "a\x00"}), OutcomeUnknown, "outcome_unknown"),
        (always(200, {"id": "v", "pad": "x" * 5_000_000}), OutcomeUnknown, "outcome_unknown"),
        (always(204), OutcomeUnknown, "outcome_unknown"),
        *((always(s, headers={"location": "http://e/"}), Refused, "video_refused") for s in (301, 307, 308)),
        (always(400, {"error": {"code": "sentinel_block", "message": "Hmmm"}}), Refused, "sentinel_block"),
        (always(400, {"error": {"code": 400, "message": "Bad"}}), Refused, "video_refused"),
        (always(400, {"error": {"code": "Not A Code!"}}), Refused, "video_refused"),
        (always(400, {"error": "Bad"}), Refused, "video_refused"),
        (always(422, {"detail": [{"loc": ["size"]}]}), Refused, "video_refused"),
        (always(404, b"<html>"), Refused, "video_refused"),
        (always(401, {"error": {"code": "invalid_api_key", "message": f"Bad key {KEY}"}}), Refused, "video_refused"),
        (always(403, {"error": {"code": "no_access"}}), Refused, "video_refused"),
    ],
)
async def test_what_became_of_an_order(respond: Respond, error: type[ProviderError], code: str) -> None:
    """Each way an order can end is told apart, after one call and without telling the key."""
    maker, asked = videos(respond)
    with pytest.raises(ProviderError) as caught:
        await maker.submit(REQUEST, key="k")

    assert (type(caught.value), caught.value.code, len(asked)) == (error, code, 1)
    assert KEY not in caught.value.message


async def test_a_refusal_repeats_the_reason_without_the_key() -> None:
    """A vendor's sentence is shown on one line, with our key cut out of it."""
    maker, _ = videos(always(400, {"error": {"message": f"No\nclips for {KEY}.\x00"}}))
    with pytest.raises(Refused) as caught:
        await maker.submit(REQUEST, key="k")

    assert caught.value.message == "The video service refused the order: No clips for [key]."


async def test_a_rate_limit_says_how_long() -> None:
    """The time to wait is told as the server tells it."""
    maker, _ = videos(always(429, headers={"retry-after": "17"}))
    with pytest.raises(NotSent, match="17 seconds"):
        await maker.submit(REQUEST, key="k")


async def test_nobody_there(client: httpx.AsyncClient, serve: Any, unused_tcp_port: int) -> None:
    """A closed port is an order that was not sent; a server that hangs up or is silent is not known."""
    with pytest.raises(NotSent):
        await at(f"http://127.0.0.1:{unused_tcp_port}/v1", client).submit(REQUEST, key="k")
    with pytest.raises(OutcomeUnknown):
        await at(await serve(b""), client).submit(REQUEST, key="k")
    with pytest.raises(OutcomeUnknown):
        await at(await serve(b"", hang=True), client, submit_seconds=0.2).submit(REQUEST, key="k")
    endless = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    with pytest.raises(OutcomeUnknown):
        await at(await serve(endless, trickle=0.02), client, submit_seconds=0.3).submit(REQUEST, key="k")


# ---- find


def listed(id: str, created_at: Any, **more: Any) -> dict[str, Any]:  # noqa: A002 - the contract's name
    made = {"id": id, "created_at": created_at, "status": "queued", "seconds": "4"}
    return made | {name: REQUEST[name] for name in ("model", "prompt", "size")} | more


async def test_find_knows_its_own() -> None:
    """Only videos with this very prompt, model, size and length, made since then, oldest first."""
    data = [
        listed("new", AT + 50),
        listed("failed", AT + 40, status="failed"),
        listed("other prompt", AT + 30, prompt="A fox, shot 2"),
        listed("no prompt", AT + 30, prompt=None),
        listed("other model", AT + 30, model="wan-2"),
        listed("other size", AT + 30, size="1280x720"),
        listed("other length", AT + 30, seconds="8"),
        listed("number", AT + 25, seconds=4.0),
        listed("silent", AT + 20, model=None, size=None, seconds=None),
        listed("no time", None),
        listed("odd time", True),
        {"id": None} | {name: value for name, value in listed("x", AT).items() if name != "id"},
        "noise",
        listed("skewed", AT - 59),
        listed("too old", AT - 61),
    ]
    maker, asked = videos(always(200, {"object": "list", "data": data, "has_more": True}))

    assert await maker.lookup(REQUEST, key="k", since=SINCE) == ["skewed", "silent", "number", "failed", "new"]
    assert dict(asked[0].url.params) == {"limit": "100", "order": "desc"}
    assert len(asked) == 1


async def test_find_turns_pages() -> None:
    """Pages are read until the list ends or goes past the time asked about."""

    def respond(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params.get("after", "p0")[1:])
        data = [listed(f"p{page + 1}", AT + 1000 - page * 400)]
        return httpx.Response(200, json={"data": data, "has_more": page < 50})

    maker, asked = videos(respond)

    assert await maker.lookup(REQUEST, key="k", since=SINCE) == ["p3", "p2", "p1"]
    assert len(asked) == 4


@pytest.mark.parametrize(
    "body",
    [{"data": [], "has_more": True}, {"data": []}, {"data": [3], "has_more": True}],
)
async def test_find_ends(body: dict[str, Any]) -> None:
    """A list that says there is more and does not give it is over."""
    maker, asked = videos(always(200, body))

    assert await maker.lookup(REQUEST, key="k", since=SINCE) == []
    assert len(asked) == 1


async def test_find_does_not_guess_from_half_a_list() -> None:
    """A list without end is an unanswered question, not an empty answer."""
    count = iter(range(1000))
    maker, asked = videos(lambda r: httpx.Response(200, json={"data": [listed(f"v{next(count)}", AT)], "has_more": 1}))
    with pytest.raises(Unavailable, match="too many"):
        await maker.lookup(REQUEST, key="k", since=SINCE)

    assert len(asked) == 20


@pytest.mark.parametrize(
    "respond",
    [
        fails(httpx.ConnectError),
        fails(httpx.ReadTimeout),
        always(429),
        always(500),
        always(404),
        always(401),
        always(200, b"<html>"),
        always(200, {"data": None}),
    ],
)
async def test_find_cannot_ask(respond: Respond) -> None:
    """Whatever is not a list is no answer."""
    maker, _ = videos(respond)
    with pytest.raises(Unavailable):
        await maker.lookup(REQUEST, key="k", since=SINCE)


async def test_find_asks_nobody_who_forgets_prompts() -> None:
    """Where the list does not tell prompts nothing can be recognised, and nothing is asked."""
    maker, asked = videos(always(500), list_echoes_prompt=False)

    assert (await maker.lookup(REQUEST, key="k", since=SINCE), asked) == ([], [])


def test_patience() -> None:
    """How long an order may take to turn up is the profile's word."""
    assert videos(always(200), patience_seconds=7)[0].lookup_window == timedelta(seconds=7)


# ---- look


async def look(maker: Videos, into: Path, task_id: str = "video_1") -> PollResult:
    return await maker.poll(task_id, REQUEST, into=into, progress=no_progress)


@pytest.mark.parametrize(
    ("video", "share"),
    [
        ({"status": "queued", "progress": 0}, 0.0),
        ({"status": "in_progress", "progress": 42}, 0.42),
        ({"status": "processing", "progress": "50"}, 0.5),
        ({"status": "pending"}, None),
        ({"status": "IN_PROGRESS", "progress": 300}, 1.0),
        ({"status": "never heard of", "progress": "many"}, None),
        ({"status": "queued", "progress": True, "error": None}, None),
    ],
)
async def test_not_finished(tmp_path: Path, video: dict[str, Any], share: float | None) -> None:
    """Any word that is not an end means: not yet."""
    maker, _ = videos(always(200, {"id": "video_1"} | video))

    assert await look(maker, tmp_path) == Pending(share)


@pytest.mark.parametrize(
    ("respond", "code", "message"),
    [
        (always(200, {"status": "failed", "error": {"code": "moderation_blocked", "message": "No."}}),
         "moderation_blocked", "No."),
        (always(200, {"status": "failed", "error": {"message": "No."}}), "video_failed", "No."),
        (always(200, {"status": "failed"}), "video_failed", "The video service ended the video as failed."),
        (always(200, {"status": "failed", "error": "No."}), "video_failed", "No."),
        (always(200, {"status": "cancelled"}), "video_failed", "The video service ended the video as cancelled."),
        (always(200, {"status": "expired"}), "video_failed", "The video service ended the video as expired."),
        (always(200, {"status": "deleted"}), "video_failed", "The video service ended the video as deleted."),
        (always(400, {"status": "failed", "error": {"code": 400, "message": "Bad prompt"}}),
         "video_failed", "Bad prompt"),
        (always(500, {"status": "failed", "error": {"code": 500, "message": "OOM"}}), "video_failed", "OOM"),
        (always(404, {"status": "failed", "error": {"code": 404, "message": "LoRA"}}), "video_failed", "LoRA"),
    ],
)  # fmt: skip
async def test_failed(tmp_path: Path, respond: Respond, code: str, message: str | None) -> None:
    """A job that failed is told with its reason, also inside an HTTP error."""
    maker, _ = videos(respond)
    ended = await look(maker, tmp_path)

    assert isinstance(ended, Failed)
    assert ended.code == code
    assert message in (None, ended.message)


@pytest.mark.parametrize(
    "respond",
    [
        always(404, {"error": {"code": "not_found", "message": "?"}}),
        always(404, b"<html>"),
        always(410),
    ],
    ids=["not found", "a page", "gone"],
)
async def test_missing(tmp_path: Path, respond: Respond) -> None:
    """A job that the server does not know has not failed: another of its servers may."""
    maker, _ = videos(respond)

    assert await look(maker, tmp_path) == NotFound()


@pytest.mark.parametrize(("status", "charged"), [("failed", False), ("expired", True), ("deleted", True)])
async def test_what_was_made_is_charged(tmp_path: Path, status: str, charged: bool) -> None:
    """Whether it can still be had or not."""
    maker, _ = videos(always(200, {"status": status}))
    ended = await look(maker, tmp_path)

    assert isinstance(ended, Failed)
    assert ended.charged is charged


async def test_a_server_has_a_name_of_its_own() -> None:
    """Its host, port and path, and nothing secret: what another one took is not asked for here."""
    async with httpx.AsyncClient() as client:
        urls = ("http://maker/v1/", "http://maker:81/v1", "http://maker/v2", "https://a:secret@maker/v1")
        names = [at(url, client).name for url in urls]

    assert names == ["videos:maker/v1", "videos:maker:81/v1", "videos:maker/v2", "videos:maker/v1"]


@pytest.mark.parametrize(
    ("respond", "code"),
    [
        (fails(httpx.ConnectError), "unreachable"),
        (fails(httpx.ReadTimeout), "unreachable"),
        (fails(httpx.RemoteProtocolError), "unreachable"),
        (always(429), "rate_limited"),
        (always(500, {"error": {"code": "server_error"}}), "odd_answer"),
        (always(401), "key_refused"),
        (always(302, headers={"location": "http://e/"}), "odd_answer"),
        (always(200, b"<html>"), "odd_answer"),
        (always(200, {"id": "video_1"}), "odd_answer"),
        (always(200, {"status": 3}), "odd_answer"),
        (always(200, b"[" * 100_000), "odd_answer"),
    ],
)
async def test_cannot_be_told_now(tmp_path: Path, respond: Respond, code: str) -> None:
    """What is neither an answer nor an end is asked again later."""
    maker, _ = videos(respond)
    with pytest.raises(Unavailable) as caught:
        await look(maker, tmp_path)

    assert caught.value.code == code


def completed(content: Respond) -> Respond:
    """A server with a completed video whose file is answered for by `content`."""

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/content"):
            return content(request)
        return httpx.Response(200, json={"status": "completed", "model": "wan-2.2", "seconds": "4"})

    return respond


async def test_done(tmp_path: Path) -> None:
    """A completed video is fetched, accepted and described; its id may hold anything."""
    maker, asked = videos(
        completed(always(200, MP4, headers={"content-type": "video/mp4"})), content_query={"index": "0"}
    )
    done = await look(maker, tmp_path, "video_a/b+c=?d")

    assert isinstance(done, Succeeded)
    assert done.file is not None
    assert done.file.read_bytes() == MP4
    assert done.facts == {"seconds": 4.0, "codec": "h264", "model": "wan-2.2", "provider_seconds": 4.0}
    assert asked[1].url.raw_path == b"/v1/videos/video_a%2Fb%2Bc%3D%3Fd/content?index=0"
    assert asked[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (always(404, {"detail": "gone"}), "video_expired"),
        (always(410), "video_expired"),
        (always(422, {"status": "failed", "error": {"code": "nsfw", "message": "No."}}), "nsfw"),
        (always(400, {"error": {"message": "stored in cloud"}}), "video_unfetchable"),
        (always(302, headers={"location": "http://evil.example/clip.mp4"}), "video_unfetchable"),
        (always(200, b"not a clip", headers={"content-type": "video/mp4"}), "clip_unreadable"),
    ],
)
async def test_no_clip_for_good(tmp_path: Path, content: Respond, code: str) -> None:
    """A file that is gone, elsewhere or no clip ends the order; no other host is ever asked."""
    maker, asked = videos(completed(content))
    ended = await look(maker, tmp_path)

    assert isinstance(ended, Failed)
    assert (ended.code, ended.charged) == (code, code != "nsfw")
    assert {request.url.host for request in asked} == {"maker"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (fails(httpx.ConnectError), "download_cut"),
        (fails(httpx.ReadTimeout), "download_cut"),
        (always(429), "rate_limited"),
        (always(503), "odd_answer"),
        (always(401), "key_refused"),
        (always(200, b"<html>", headers={"content-type": "text/html; charset=utf-8"}), "not_a_file"),
        (always(200, {"error": "soon"}), "not_a_file"),
        (always(200, b"<html>", headers={"content-type": "application/xhtml+xml"}), "not_a_file"),
        (always(200, MP4, headers={"content-type": "video/mp4", "content-length": "9"}), "download_cut"),
    ],
)
async def test_no_clip_now(tmp_path: Path, content: Respond, code: str) -> None:
    """A file that did not come this time is asked for again, and nothing of it stays behind."""
    maker, _ = videos(completed(content))
    with pytest.raises(Unavailable) as caught:
        await look(maker, tmp_path)

    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


COMPLETED = b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 22\r\n\r\n{"status":"completed"}'
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: video/mp4\r\n"


@pytest.mark.parametrize(
    ("reply", "how"),
    [
        (HEAD + b"content-length: 1000\r\n\r\nshort", {}),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", {}),
        (HEAD + b"content-length: 1000\r\n\r\nshort", {"hang": True}),
        (HEAD + b"content-length: 1000000\r\n\r\nslow", {"trickle": 0.02}),
        (b"", {"hang": True}),
        (b"", {}),
    ],
    ids=["cut", "cut between chunks", "falls silent", "trickles", "never answers", "hangs up"],
)
async def test_a_transfer_that_breaks(
    tmp_path: Path, client: httpx.AsyncClient, serve: Any, reply: bytes, how: dict[str, Any]
) -> None:
    """A cut, silent or endless transfer ends in time and is asked for again; no piece of it is kept."""
    maker = at(await serve(COMPLETED, reply, **how), client, idle_seconds=0.3, download_seconds=0.6)
    with pytest.raises(Unavailable) as caught:
        await look(maker, tmp_path)

    assert caught.value.code == "download_cut"
    assert list(tmp_path.iterdir()) == []


async def test_silence_ends_a_transfer_early(tmp_path: Path, client: httpx.AsyncClient, serve: Any) -> None:
    """A server that falls silent is not waited for as long as one that is merely slow."""
    url = await serve(COMPLETED, HEAD + b"content-length: 1000\r\n\r\nshort", hang=True)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="whole file"):
            await look(at(url, client, idle_seconds=0.2, download_seconds=60), tmp_path)


async def test_a_clip_without_end_is_cut_off(tmp_path: Path) -> None:
    """A file over the cap is not kept, whatever length it claims."""
    transport = httpx.MockTransport(completed(always(200, MP4, headers={"content-type": "video/mp4"})))
    maker = Videos("http://m/v1", KEY, profile(), httpx.AsyncClient(transport=transport), accept, max_bytes=1000)
    ended = await look(maker, tmp_path)

    assert isinstance(ended, Failed)
    assert (ended.code, list(tmp_path.iterdir())) == ("file_too_large", [])


async def test_no_room_to_write(tmp_path: Path) -> None:
    """A folder that cannot be written is not the video's fault."""
    maker, _ = videos(completed(always(200, MP4, headers={"content-type": "video/mp4"})))
    with pytest.raises(Unavailable, match="cannot be written"):
        await look(maker, tmp_path / "missing")


async def test_a_check_that_cannot_be_made_now(tmp_path: Path) -> None:
    """When the check itself is unavailable the clip is not called bad."""

    async def busy(path: Path, *, seconds: float, width: int, height: int, into: Path) -> Clip:
        raise Unavailable("media_busy", "Later.")

    transport = httpx.MockTransport(completed(always(200, MP4, headers={"content-type": "video/mp4"})))
    maker = Videos("http://m/v1", KEY, profile(), httpx.AsyncClient(transport=transport), busy)
    with pytest.raises(Unavailable, match="Later"):
        await look(maker, tmp_path)
