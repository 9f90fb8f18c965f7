"""A film is uploaded once, labelled as made by AI, and its status is reported by platform."""

import json
import os
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.base import ArtifactChanged, NotSent, OutcomeUnknown, ProviderError, Refused, Unavailable, Unconfirmed
from providers.publications.folder import Folder
from providers.publications.upload_post import AI_LABELS, UploadPost
from providers.results import Failed, Pending, Succeeded
from tests.providers.stub_server import Respond, fail_with, ignore_progress, respond_with, stub_client

KEY = "up-very-secret"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
FILM = b"\x00\x00\x00\x18ftypmp42 a film"


def create_publisher(respond: Respond, file_store: Any) -> tuple[UploadPost, list[httpx.Request]]:
    """Return a publisher of the server, and the list of the requests that the server receives."""
    client, requests = stub_client(respond)
    return UploadPost("http://up/api", KEY, "studio", file_store, client), requests


def build_order(digest: str, **fields: Any) -> dict[str, Any]:
    return {
        "digest": digest,
        "caption": "A fox in the snow",
        "hashtags": ["fox", "#snow"],
        "title": "Fox",
        "platforms": ["tiktok", "youtube"],
        **fields,
    }


@pytest.fixture
def order(file_store: Any) -> dict[str, Any]:
    """Return an order for a stored film."""
    return build_order(file_store.add(FILM))


def parse_form(post: httpx.Request) -> list[tuple[str, Any]]:
    head = b"content-type: " + post.headers["content-type"].encode() + b"\r\n\r\n"
    payload: list[Message] = BytesParser().parsebytes(head + post.content).get_payload()  # type: ignore[assignment]
    return [(part.get_param("name", header="content-disposition"), part.get_payload(decode=True)) for part in payload]


# ---- Upload-Post: submit


async def test_submit_uploads_the_film(file_store: Any, order: dict[str, Any]) -> None:
    """One call with the request id in form and headers, every AI label, no draft fallback, and the stored bytes."""
    publisher, requests = create_publisher(respond_with(200, {"success": True}), file_store)
    request_id = await publisher.submit(order, key="run-1/publication")
    [post] = requests
    sent = parse_form(post)

    assert str(post.url) == "http://up/api/upload"
    assert post.headers["authorization"] == f"Apikey {KEY}"
    assert post.headers["idempotency-key"] == request_id
    assert [value for name, value in sent if name == "platform[]"] == [b"tiktok", b"youtube"]
    assert dict(sent) | {"platform[]": b""} == {
        "user": b"studio",
        "platform[]": b"",
        "title": b"A fox in the snow\n\n#fox #snow",
        "youtube_title": b"Fox",
        "async_upload": b"true",
        "request_id": request_id.encode(),
        "disable_inbox_fallback": b"true",
        "video": FILM,
        **dict.fromkeys(AI_LABELS, b"true"),
    }


async def test_the_request_id_is_derived_from_the_key(file_store: Any, order: dict[str, Any]) -> None:
    """The same key gives the same id, another key another; a request may contain its own id."""
    publisher, _ = create_publisher(respond_with(200, {"success": True}), file_store)
    first, again, other = [await publisher.submit(order, key=key) for key in ("a", "a", "b")]

    assert first == again != other
    assert await publisher.submit(order | {"request_id": "mine"}, key="a") == "mine"


@pytest.mark.parametrize(
    ("returned_id", "expected"), [("earlier", "earlier"), (None, "mine"), ("", "mine"), (7, "mine"), ("a\x00", "mine")]
)
async def test_a_repeated_upload_returns_the_earlier_id(
    file_store: Any, order: dict[str, Any], returned_id: Any, expected: str
) -> None:
    """If the response contains another valid id, the status is reported under that id."""
    publisher, _ = create_publisher(respond_with(200, {"success": True, "request_id": returned_id}), file_store)

    assert await publisher.submit(order | {"request_id": "mine"}, key="a") == expected


@pytest.mark.parametrize(
    ("respond", "error", "code"),
    [
        (fail_with(httpx.ConnectError), NotSent, "unreachable"),
        (fail_with(httpx.ReadTimeout), OutcomeUnknown, "outcome_unknown"),
        (fail_with(httpx.WriteError), OutcomeUnknown, "outcome_unknown"),
        (respond_with(429, {"violations": []}), NotSent, "rate_limited"),
        (respond_with(409), OutcomeUnknown, "outcome_unknown"),
        (respond_with(500), OutcomeUnknown, "outcome_unknown"),
        (respond_with(200, b"<html>"), OutcomeUnknown, "outcome_unknown"),
        (respond_with(400, {"success": False, "message": "No such profile"}), Refused, "publication_refused"),
        (respond_with(401, {"message": f"bad {KEY}"}), NotSent, "api_key_rejected"),
        (respond_with(200, {"success": False, "message": f"No plan for {KEY}"}), Refused, "publication_refused"),
    ],
)
async def test_submit_maps_each_failure_to_an_error(
    file_store: Any, order: dict[str, Any], respond: Respond, error: type[ProviderError], code: str
) -> None:
    """Each outcome of an upload has its own error, after one call and without the key in the message."""
    publisher, requests = create_publisher(respond, file_store)
    with pytest.raises(ProviderError) as caught:
        await publisher.submit(order, key="k")

    assert (type(caught.value), caught.value.code, len(requests)) == (error, code, 1)
    assert KEY not in caught.value.message


async def test_a_response_with_results_is_accepted(file_store: Any, order: dict[str, Any]) -> None:
    """A response with results is an accepted upload, whatever its `success` is."""
    publisher, _ = create_publisher(
        respond_with(200, {"success": False, "results": {"tiktok": {"success": False}}}), file_store
    )

    assert await publisher.submit(order | {"request_id": "mine"}, key="k") == "mine"


class BrokenFileStore:
    """A store whose files all raise an error, or do not exist."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def local_path(self, digest: str) -> Path:
        if self.error:
            raise self.error
        return Path("/nowhere/film")


@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [(ArtifactChanged("ab" * 32), ArtifactChanged, "artifact_changed"), (None, NotSent, "artifact_unreadable")],
)
async def test_a_changed_or_unreadable_film_is_not_uploaded(
    error: Exception | None, expected: type[ProviderError], code: str
) -> None:
    """A film that was changed or cannot be read is never sent."""
    publisher, requests = create_publisher(respond_with(200, {"success": True}), BrokenFileStore(error))
    with pytest.raises(ProviderError) as caught:
        await publisher.submit(build_order("ab" * 32), key="k")

    assert (type(caught.value), caught.value.code, requests) == (expected, code, [])


async def test_a_missing_film_is_refused(file_store: Any) -> None:
    """A film that does not exist cannot be published by either publisher."""
    publisher, _ = create_publisher(respond_with(200, {"success": True}), file_store)
    for each in (publisher, Folder(file_store.folder / "out", file_store)):
        with pytest.raises(Refused) as caught:
            await each.submit(build_order("ab" * 32), key="k")
        assert caught.value.code == "artifact_missing"


# ---- Upload-Post: lookup and poll


@pytest.mark.parametrize(
    ("respond", "found"),
    [
        (respond_with(200, {"status": "pending"}), True),
        (respond_with(200, {"status": "completed", "results": []}), True),
        (respond_with(200, {"status": "not_found"}), False),
        (respond_with(404, {"status": "not_found"}), False),
    ],
)
async def test_lookup_finds_an_upload_by_its_request_id(
    file_store: Any, order: dict[str, Any], respond: Respond, found: bool
) -> None:
    """An upload is found by its request id, or is unknown."""
    publisher, requests = create_publisher(respond, file_store)
    mine = order | {"request_id": "mine"}

    assert await publisher.lookup(mine, key="k", since=NOW) == (["mine"] if found else [])
    assert str(requests[0].url) == "http://up/api/uploadposts/status?request_id=mine"


UNUSABLE_RESPONSES = [
    fail_with(httpx.ConnectError),
    fail_with(httpx.ReadTimeout),
    respond_with(429),
    respond_with(500),
    respond_with(401),
    respond_with(200),
]


@pytest.mark.parametrize("respond", UNUSABLE_RESPONSES)
async def test_a_response_without_status_is_unavailable(
    file_store: Any, order: dict[str, Any], tmp_path: Path, respond: Respond
) -> None:
    """A response without a status is an error for a lookup and a poll."""
    publisher, _ = create_publisher(respond, file_store)
    with pytest.raises(Unavailable):
        await publisher.lookup(order, key="k", since=NOW)
    with pytest.raises(Unavailable):
        await publisher.poll("mine", order, into=tmp_path, progress=ignore_progress)


def respond_with_status(status: dict[str, Any], history: Respond | None = None) -> Respond:
    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/history"):
            return history(request) if history else httpx.Response(200, json={"history": []})
        return httpx.Response(200, json=status)

    return respond


async def poll(file_store: Any, order: dict[str, Any], tmp_path: Path, respond: Respond) -> Any:
    return await create_publisher(respond, file_store)[0].poll("mine", order, into=tmp_path, progress=ignore_progress)


@pytest.mark.parametrize(
    ("status", "share"),
    [
        ({"status": "pending"}, None),
        ({"status": "in_progress", "completed": 1, "total": 2}, 0.5),
        ({"status": "queued", "completed": 0, "total": 0}, None),
        ({"status": "anything else", "completed": "x", "total": 3}, None),
    ],
)
async def test_an_unfinished_publication_is_pending(
    file_store: Any, order: dict[str, Any], tmp_path: Path, status: dict[str, Any], share: float | None
) -> None:
    """Any status except completed and failed means pending."""
    assert await poll(file_store, order, tmp_path, respond_with_status(status)) == Pending(share)


def platform_result(platform: str, success: Any, **fields: Any) -> dict[str, Any]:
    return {"platform": platform, "success": success, **fields}


async def test_a_publication_succeeds_with_links(file_store: Any, order: dict[str, Any], tmp_path: Path) -> None:
    """Links come from the history of this upload only; a film that was only saved as a draft is marked."""
    status = {
        "status": "completed",
        "results": [
            platform_result("tiktok", True, fallback_to_inbox=True),
            platform_result("youtube", True, url="http://yt/old"),
        ],
    }
    history = [
        {"platform": "tiktok", "request_id": "other", "post_url": "http://tt/other"},
        {"platform": "youtube", "request_id": "mine", "post_url": "http://yt/1", "platform_post_id": "1"},
        "noise",
    ]
    result = await poll(
        file_store, order, tmp_path, respond_with_status(status, respond_with(200, {"history": history}))
    )

    assert result == Succeeded(
        facts={
            "platforms": {
                "tiktok": {"url": None, "post_id": None, "fallback_to_inbox": True},
                "youtube": {"url": "http://yt/1", "post_id": "1"},
            }
        }
    )


@pytest.mark.parametrize("final_status", ["completed", "failed"])
@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (
            [platform_result("tiktok", True), platform_result("youtube", False, message=f"Quota of {KEY}")],
            "Quota of [key]",
        ),
        ([platform_result("tiktok", True), platform_result("youtube", False)], "no reason given"),
        (
            [platform_result("tiktok", True), platform_result("youtube", None, status="failed", error_code="no_quota")],
            "no reason given (no_quota)",
        ),
        (
            {"tiktok": {"success": True}, "youtube": {"success": False, "error": "Refused.", "error_code": "no_quota"}},
            "Refused (no_quota)",
        ),
    ],
)
async def test_a_partial_publication_succeeds(
    file_store: Any, order: dict[str, Any], tmp_path: Path, final_status: str, results: Any, reason: str
) -> None:
    """One platform is enough for a publication; the others are listed with their reasons."""
    result = await poll(file_store, order, tmp_path, respond_with_status({"status": final_status, "results": results}))

    assert isinstance(result, Succeeded)
    assert list(result.facts["platforms"]) == ["tiktok"]
    assert result.facts["failed"] == {"youtube": reason}


@pytest.mark.parametrize(
    "status",
    [
        {"status": status, "results": [platform_result("tiktok", False), platform_result("youtube", False)]}
        for status in ("completed", "failed")
    ],
)
async def test_a_publication_without_any_platform_fails(
    file_store: Any, order: dict[str, Any], tmp_path: Path, status: dict[str, Any]
) -> None:
    """Every platform says so itself, and the message names all of them."""
    assert await poll(file_store, order, tmp_path, respond_with_status(status)) == Failed(
        "publication_failed", "Upload-Post could not publish: tiktok: no reason given; youtube: no reason given."
    )


async def test_an_error_code_of_a_platform_is_that_of_the_failure(
    file_store: Any, order: dict[str, Any], tmp_path: Path
) -> None:
    """The code names the reason, the message says it in the platform's words."""
    refused = platform_result(
        "tiktok", False, error_code="tiktok_privacy_unavailable", error_message="Private account."
    )
    status = {"status": "failed", "results": [refused]}
    result = await poll(file_store, order | {"platforms": ["tiktok"]}, tmp_path, respond_with_status(status))

    assert result == Failed(
        "tiktok_privacy_unavailable",
        "Upload-Post could not publish: tiktok: Private account (tiktok_privacy_unavailable).",
    )


PUBLISHED = {"platform": "tiktok", "request_id": "mine", "success": True, "post_url": "http://tt/1"}


@pytest.mark.parametrize("name", ["history", "uploads"])
@pytest.mark.parametrize("results", [[], [platform_result("tiktok", False, status="processing")]])
async def test_the_history_confirms_what_the_status_does_not_say(
    file_store: Any, order: dict[str, Any], tmp_path: Path, name: str, results: list[Any]
) -> None:
    """A post of this upload in the history, under either of its names, is published, whatever the status says."""
    status = {"status": "failed", "completed": 0, "total": 1, "results": results}
    failure = {"platform": "tiktok", "request_id": "mine", "success": False}
    history = respond_with(200, {name: [PUBLISHED, failure]})
    request = order | {"platforms": ["tiktok"]}

    assert await poll(file_store, request, tmp_path, respond_with_status(status, history)) == Succeeded(
        facts={"platforms": {"tiktok": {"url": "http://tt/1", "post_id": None}}}
    )


@pytest.mark.parametrize("status", ["failed", "completed"])
@pytest.mark.parametrize(
    "result",
    [
        [],
        [platform_result("youtube", None)],
        [platform_result("youtube", "true")],
        [platform_result("youtube", False, status="processing")],
        [platform_result("youtube", False, status="queued", message="Waiting for a worker")],
        [platform_result("youtube", False, message="Processing...")],
        [platform_result("youtube", True, status="processing")],
    ],
)
async def test_only_a_platform_says_that_it_failed(
    file_store: Any, order: dict[str, Any], tmp_path: Path, status: str, result: list[Any]
) -> None:
    """Without a platform's own word a post is unconfirmed there; the post of another upload proves nothing."""
    tiktok = platform_result("tiktok", False, message="Banned")
    others = [{**PUBLISHED, "platform": "youtube", "request_id": other} for other in ("other", None)]
    anonymous = {"platform": "youtube", "success": True, "post_url": "http://yt/other"}
    history = respond_with(200, {"uploads": [*others, anonymous]})
    respond = respond_with_status({"status": status, "results": [tiktok, *result]}, history)
    with pytest.raises(Unconfirmed) as caught:
        await poll(file_store, order, tmp_path, respond)

    assert caught.value.facts == {"platforms": {}, "failed": {"tiktok": "Banned"}, "unconfirmed": ["youtube"]}


@pytest.mark.parametrize(
    ("warnings", "sentence"),
    [
        (["tiktok_is_ai_generated was ignored"], "The AI label was not applied: tiktok_is_ai_generated was ignored"),
        ([{"field": "is_aigc", "message": "Ignored."}], "The AI label was not applied: is_aigc: Ignored."),
        ({"is_aigc": "Ignored."}, "The AI label was not applied: is_aigc: Ignored."),
        ("The cover was ignored.", "The cover was ignored."),
    ],
)
@pytest.mark.parametrize("place", ["upload", "status", "result", "history"])
async def test_warnings_are_told(
    file_store: Any, order: dict[str, Any], tmp_path: Path, place: str, warnings: Any, sentence: str
) -> None:
    """A published film without its AI label is reported, wherever Upload-Post says so."""

    def within(here: str, body: dict[str, Any]) -> dict[str, Any]:
        return body | ({"warnings": warnings} if place == here else {})

    results = [within("result", platform_result("tiktok", True))]
    status = within("status", {"status": "completed", "results": results})
    history = respond_with(200, {"history": [within("history", PUBLISHED)]})

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json=within("upload", {"success": True, "request_id": "mine"}))
        return respond_with_status(status, history)(request)

    publisher, _ = create_publisher(respond, file_store)
    mine = order | {"platforms": ["tiktok"], "request_id": "mine"}
    await publisher.submit(mine, key="k")
    result = await publisher.poll("mine", mine, into=tmp_path, progress=ignore_progress)

    assert isinstance(result, Succeeded)
    assert result.facts["warnings"] == [sentence]


async def test_a_platform_gets_its_title_and_place(file_store: Any, order: dict[str, Any]) -> None:
    """A title is sent as the platform takes it, and a page, board or subreddit in the field of the platform."""
    publisher, requests = create_publisher(respond_with(200, {"success": True}), file_store)
    places = {"facebook": "1", "pinterest": "2", "reddit": "rain"}
    request = order | {"title": "I <3 rain -> sun", "platforms": ["youtube", *places], "destinations": places}
    await publisher.submit(request, key="k")
    sent = dict(parse_form(requests[0]))

    assert sent["youtube_title"].decode() == "I ‹3 rain -› sun"
    assert sent["pinterest_title"].decode() == "I <3 rain -> sun"
    assert (sent["facebook_page_id"], sent["pinterest_board_id"], sent["subreddit"]) == (b"1", b"2", b"rain")


@pytest.mark.parametrize(
    "respond",
    [
        respond_with(404, {"status": "not_found"}),
        respond_with_status({"status": "completed"}),
        respond_with_status({"status": "failed"}),
        respond_with_status({"status": "failed", "completed": 0, "total": 2, "results": []}),
        respond_with_status({"status": "completed", "results": "all"}),
        respond_with_status({"status": "completed", "results": [platform_result("tiktok", True)]}, respond_with(500)),
        respond_with_status(
            {"status": "completed", "results": [platform_result("tiktok", True)]}, fail_with(httpx.ReadTimeout)
        ),
    ],
)
async def test_a_film_that_may_be_public_is_never_reported_as_failed(
    file_store: Any, order: dict[str, Any], tmp_path: Path, respond: Respond
) -> None:
    """An unclear status is retried: publishing the film again would be visible to the public."""
    with pytest.raises(Unavailable):
        await poll(file_store, order, tmp_path, respond)


# ---- Folder


async def test_folder_contains_film_texts_and_label(file_store: Any, order: dict[str, Any], tmp_path: Path) -> None:
    """Film, caption and label are written completely and once, however often the order is polled."""
    folder = Folder(tmp_path / "out", file_store)
    request_id = await folder.submit(order, key="k")
    assert [request_id] == await folder.lookup(order, key="k", since=NOW)
    assert not (tmp_path / "out").exists()
    first, second = [await folder.poll(request_id, order, into=tmp_path, progress=ignore_progress) for _ in range(2)]
    publication = tmp_path / "out" / request_id

    assert (
        first
        == second
        == Succeeded(facts={"platforms": {"folder": {"url": f"{request_id}/film.mp4", "post_id": request_id}}})
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [request_id]
    assert (publication / "film.mp4").read_bytes() == FILM
    assert (publication / "caption.txt").read_text() == (
        "A fox in the snow\n\n#fox #snow\n\nThis video was made with AI.\n"
    )
    description = json.loads((publication / "post.json").read_text())
    assert description == {
        **order,
        "hashtags": ["fox", "#snow"],
        "ai_generated": True,
        "disclosure": "This video was made with AI.",
    }


async def test_folder_contains_the_subtitles(file_store: Any, order: dict[str, Any], tmp_path: Path) -> None:
    """They have the name of the film; an order of an earlier version has none."""
    subtitles = b"1\n00:00:00,000 --> 00:00:02,000\nStay\n"
    request = {**order, "subtitles": file_store.add(subtitles)}

    await Folder(tmp_path / "out", file_store).poll("abc", request, into=tmp_path, progress=ignore_progress)

    assert (tmp_path / "out/abc/film.srt").read_bytes() == subtitles


async def test_publication_is_for_others_to_read(file_store: Any, order: dict[str, Any], tmp_path: Path) -> None:
    """The program writes everything else for its own user only."""
    before = os.umask(0o077)
    try:
        await Folder(tmp_path / "out", file_store).poll("abc", order, into=tmp_path, progress=ignore_progress)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*")}

    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    assert modes == {"abc": 0o755, "film.mp4": 0o644, "caption.txt": 0o644, "post.json": 0o644}


async def test_folder_does_not_need_the_stored_film_later(
    file_store: Any, order: dict[str, Any], tmp_path: Path
) -> None:
    """A publication remains when the stored film is deleted."""
    folder = Folder(tmp_path / "out", file_store)
    before = await folder.poll("abc", order, into=tmp_path, progress=ignore_progress)
    (file_store.folder / order["digest"]).unlink()

    assert isinstance(before, Succeeded)
    assert await folder.poll("abc", order, into=tmp_path, progress=ignore_progress) == before


async def test_folder_written_concurrently(file_store: Any, order: dict[str, Any], tmp_path: Path) -> None:
    """Of two concurrent writers of the same publication one wins, and both succeed."""

    class SlowFileStore:
        """A store that returns the film after another poll has written the publication."""

        async def local_path(self, digest: str) -> Path:
            await Folder(tmp_path / "out", file_store).poll("abc", order, into=tmp_path, progress=ignore_progress)
            return await file_store.local_path(digest)

    result = await Folder(tmp_path / "out", SlowFileStore()).poll("abc", order, into=tmp_path, progress=ignore_progress)

    assert isinstance(result, Succeeded)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["abc"]


async def test_an_unwritable_folder_is_unavailable(file_store: Any, order: dict[str, Any], tmp_path: Path) -> None:
    """The order can be retried, and no partial publication is left behind."""
    (tmp_path / "out").write_text("a file instead of a folder")
    folder = Folder(tmp_path / "out", file_store)
    with pytest.raises(Unavailable, match="cannot be written"):
        await folder.poll("abc", order, into=tmp_path, progress=ignore_progress)


async def test_an_interrupted_copy_leaves_nothing_behind(order: dict[str, Any], tmp_path: Path) -> None:
    """A copy that fails leaves no files."""
    with pytest.raises(Unavailable):
        await Folder(tmp_path / "out", BrokenFileStore(None)).poll(
            "abc", order, into=tmp_path, progress=ignore_progress
        )

    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("request_id", "digest", "code"),
    [
        ("../etc", None, "publication_lost"),
        (".draft-x", None, "publication_lost"),
        ("", None, "publication_lost"),
        ("abc", "ab" * 32, "artifact_missing"),
    ],
)
async def test_an_invalid_id_or_missing_film_fails(
    file_store: Any, order: dict[str, Any], tmp_path: Path, request_id: str, digest: str | None, code: str
) -> None:
    """An invalid task id or a missing film ends the order, and nothing is written."""
    changed = order | ({"digest": digest} if digest else {})
    result = await Folder(tmp_path / "out", file_store).poll(
        request_id, changed, into=tmp_path, progress=ignore_progress
    )

    assert isinstance(result, Failed)
    assert (result.code, (tmp_path / "out").exists()) == (code, False)


@pytest.mark.parametrize(
    ("caption", "hashtags", "text"),
    [("", [], ""), ("Fox", None, "Fox"), ("", ["a"], "#a"), ("Fox", ["a"], "Fox\n\n#a")],
)
async def test_caption_and_hashtags_form_one_text(
    file_store: Any, caption: str, hashtags: list[str] | None, text: str
) -> None:
    """There is no empty line where one of them is missing; the title is optional."""
    publisher, requests = create_publisher(respond_with(200, {"success": True}), file_store)
    order = {"digest": file_store.add(FILM), "caption": caption, "hashtags": hashtags, "platforms": ["tiktok"]}
    await publisher.submit(order, key="k")
    sent = dict(parse_form(requests[0]))

    assert sent["title"].decode() == text
    assert "youtube_title" not in sent
