"""A film is handed over once, labelled as made by AI, and what became of it is told platform by platform."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.base import (
    ArtifactChanged,
    Failed,
    NotSent,
    OutcomeUnknown,
    Pending,
    ProviderError,
    Refused,
    Succeeded,
    Unavailable,
)
from providers.publications.folder import Folder
from providers.publications.upload_post import AI_LABELS, UploadPost

KEY = "up-very-secret"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
FILM = b"\x00\x00\x00\x18ftypmp42 a film"

Respond = Callable[[httpx.Request], httpx.Response]


async def no_progress(share: float) -> None:
    """Nobody is told."""


def always(status: int, body: Any = None, **more: Any) -> Respond:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    return lambda request: httpx.Response(status, **content, **more)


def fails(error: type[httpx.TransportError]) -> Respond:
    def respond(request: httpx.Request) -> httpx.Response:
        raise error("no")

    return respond


def publisher(respond: Respond, shelf: Any) -> tuple[UploadPost, list[httpx.Request]]:
    """A publisher whose server is `respond`, and all that it asks of it."""
    asked: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        await request.aread()
        asked.append(request)
        return respond(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return UploadPost("http://up/api", KEY, "studio", shelf, client), asked


def ordered(digest: str, **more: Any) -> dict[str, Any]:
    return {
        "digest": digest,
        "caption": "A fox in the snow",
        "hashtags": ["fox", "#snow"],
        "title": "Fox",
        "platforms": ["tiktok", "youtube"],
        **more,
    }


@pytest.fixture
def request_(shelf: Any) -> dict[str, Any]:
    """An order for a film that is kept."""
    return ordered(shelf.keep(FILM))


def parts_of(post: httpx.Request) -> list[tuple[str, Any]]:
    head = b"content-type: " + post.headers["content-type"].encode() + b"\r\n\r\n"
    payload: list[Message] = BytesParser().parsebytes(head + post.content).get_payload()  # type: ignore[assignment]
    return [(part.get_param("name", header="content-disposition"), part.get_payload(decode=True)) for part in payload]


# ---- Upload-Post: submit


async def test_a_film_is_handed_over(shelf: Any, request_: dict[str, Any]) -> None:
    """One call: our own id three times over, every AI label, no silent drafts, and the very bytes that were kept."""
    maker, asked = publisher(always(200, {"success": True}), shelf)
    id_ = await maker.submit(request_, key="run-1/publication")
    [post] = asked
    sent = parts_of(post)

    assert str(post.url) == "http://up/api/upload"
    assert post.headers["authorization"] == f"Apikey {KEY}"
    assert post.headers["idempotency-key"] == id_
    assert [value for name, value in sent if name == "platform[]"] == [b"tiktok", b"youtube"]
    assert dict(sent) | {"platform[]": b""} == {
        "user": b"studio",
        "platform[]": b"",
        "title": b"A fox in the snow\n\n#fox #snow",
        "youtube_title": b"Fox",
        "async_upload": b"true",
        "request_id": id_.encode(),
        "disable_inbox_fallback": b"true",
        "video": FILM,
        **dict.fromkeys(AI_LABELS, b"true"),
    }


async def test_the_id_is_known_before(shelf: Any, request_: dict[str, Any]) -> None:
    """The same key is always the same upload, another key another; a request may bring its own id."""
    maker, _ = publisher(always(200, {"success": True}), shelf)
    first, again, other = [await maker.submit(request_, key=key) for key in ("a", "a", "b")]

    assert first == again != other
    assert await maker.submit(request_ | {"request_id": "mine"}, key="a") == "mine"


@pytest.mark.parametrize(
    ("told", "expected"), [("earlier", "earlier"), (None, "mine"), ("", "mine"), (7, "mine"), ("a\x00", "mine")]
)
async def test_an_upload_taken_for_an_earlier_one(
    shelf: Any, request_: dict[str, Any], told: Any, expected: str
) -> None:
    """When it answers with another id, that is where the fate is told."""
    maker, _ = publisher(always(200, {"success": True, "request_id": told}), shelf)

    assert await maker.submit(request_ | {"request_id": "mine"}, key="a") == expected


@pytest.mark.parametrize(
    ("respond", "error", "code"),
    [
        (fails(httpx.ConnectError), NotSent, "unreachable"),
        (fails(httpx.ReadTimeout), OutcomeUnknown, "outcome_unknown"),
        (fails(httpx.WriteError), OutcomeUnknown, "outcome_unknown"),
        (always(429, {"violations": []}), NotSent, "rate_limited"),
        (always(409), OutcomeUnknown, "outcome_unknown"),
        (always(500), OutcomeUnknown, "outcome_unknown"),
        (always(200, b"<html>"), OutcomeUnknown, "outcome_unknown"),
        (always(400, {"success": False, "message": "No such profile"}), Refused, "publication_refused"),
        (always(401, {"message": f"bad {KEY}"}), Refused, "publication_refused"),
        (always(200, {"success": False, "message": f"No plan for {KEY}"}), Refused, "publication_refused"),
    ],
)
async def test_what_became_of_a_handover(
    shelf: Any, request_: dict[str, Any], respond: Respond, error: type[ProviderError], code: str
) -> None:
    """Each way a handover can end is told apart, after one call and without telling the key."""
    maker, asked = publisher(respond, shelf)
    with pytest.raises(ProviderError) as caught:
        await maker.submit(request_, key="k")

    assert (type(caught.value), caught.value.code, len(asked)) == (error, code, 1)
    assert KEY not in caught.value.message


async def test_a_handover_that_reports_failures_is_still_an_upload(shelf: Any, request_: dict[str, Any]) -> None:
    """An answer with results is looked at like any other, whatever its `success` says."""
    maker, _ = publisher(always(200, {"success": False, "results": {"tiktok": {"success": False}}}), shelf)

    assert await maker.submit(request_ | {"request_id": "mine"}, key="k") == "mine"


class Broken:
    """A store whose every file is wrong in one way."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def local_path(self, digest: str) -> Path:
        if self.error:
            raise self.error
        return Path("/nowhere/film")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [(ArtifactChanged("ab" * 32), Refused, "artifact_changed"), (None, NotSent, "artifact_unreadable")],
)
async def test_only_the_kept_film_is_published(error: Exception | None, kind: type[ProviderError], code: str) -> None:
    """A film that was changed, or cannot be read, never leaves the house."""
    maker, asked = publisher(always(200, {"success": True}), Broken(error))
    with pytest.raises(ProviderError) as caught:
        await maker.submit(ordered("ab" * 32), key="k")

    assert (type(caught.value), caught.value.code, asked) == (kind, code, [])


async def test_a_missing_film_is_refused(shelf: Any) -> None:
    """A film that is not there cannot be published, by either publisher."""
    maker, _ = publisher(always(200, {"success": True}), shelf)
    for each in (maker, Folder(shelf.folder / "out", shelf)):
        with pytest.raises(Refused) as caught:
            await each.submit(ordered("ab" * 32), key="k")
        assert caught.value.code == "artifact_missing"


# ---- Upload-Post: find and look


@pytest.mark.parametrize(
    ("respond", "found"),
    [
        (always(200, {"status": "pending"}), True),
        (always(200, {"status": "completed", "results": []}), True),
        (always(200, {"status": "not_found"}), False),
        (always(404, {"status": "not_found"}), False),
    ],
)
async def test_find(shelf: Any, request_: dict[str, Any], respond: Respond, found: bool) -> None:
    """An upload is found by our own id, or is not known there."""
    maker, asked = publisher(respond, shelf)
    mine = request_ | {"request_id": "mine"}

    assert await maker.lookup(mine, key="k", since=NOW) == (["mine"] if found else [])
    assert str(asked[0].url) == "http://up/api/uploadposts/status?request_id=mine"


NO_ANSWER = [fails(httpx.ConnectError), fails(httpx.ReadTimeout), always(429), always(500), always(401), always(200)]


@pytest.mark.parametrize("respond", NO_ANSWER)
async def test_no_answer_is_unavailable(shelf: Any, request_: dict[str, Any], tmp_path: Path, respond: Respond) -> None:
    """What is no status is no answer, for finding as for looking."""
    maker, _ = publisher(respond, shelf)
    with pytest.raises(Unavailable):
        await maker.lookup(request_, key="k", since=NOW)
    with pytest.raises(Unavailable):
        await maker.poll("mine", request_, into=tmp_path, progress=no_progress)


def told(status: dict[str, Any], history: Respond | None = None) -> Respond:
    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/history"):
            return history(request) if history else httpx.Response(200, json={"history": []})
        return httpx.Response(200, json=status)

    return respond


async def look(shelf: Any, request_: dict[str, Any], tmp_path: Path, respond: Respond) -> Any:
    return await publisher(respond, shelf)[0].poll("mine", request_, into=tmp_path, progress=no_progress)


@pytest.mark.parametrize(
    ("status", "share"),
    [
        ({"status": "pending"}, None),
        ({"status": "in_progress", "completed": 1, "total": 2}, 0.5),
        ({"status": "queued", "completed": 0, "total": 0}, None),
        ({"status": "anything else", "completed": "x", "total": 3}, None),
    ],
)
async def test_not_published_yet(
    shelf: Any, request_: dict[str, Any], tmp_path: Path, status: dict[str, Any], share: float | None
) -> None:
    """Until it says completed or failed, it is not over."""
    assert await look(shelf, request_, tmp_path, told(status)) == Pending(share)


def result(platform: str, success: Any, **more: Any) -> dict[str, Any]:
    return {"platform": platform, "success": success, **more}


async def test_published(shelf: Any, request_: dict[str, Any], tmp_path: Path) -> None:
    """Links come from the history, of this upload only; a film that only reached the drafts is told as such."""
    status = {
        "status": "completed",
        "results": [result("tiktok", True, fallback_to_inbox=True), result("youtube", True, url="http://yt/old")],
    }
    history = [
        {"platform": "tiktok", "request_id": "other", "post_url": "http://tt/other"},
        {"platform": "youtube", "request_id": "mine", "post_url": "http://yt/1", "platform_post_id": "1"},
        "noise",
    ]
    done = await look(shelf, request_, tmp_path, told(status, always(200, {"history": history})))

    assert done == Succeeded(
        facts={
            "platforms": {
                "tiktok": {"url": None, "post_id": None, "fallback_to_inbox": True},
                "youtube": {"url": "http://yt/1", "post_id": "1"},
            }
        }
    )


@pytest.mark.parametrize("word", ["completed", "failed"])
@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([result("tiktok", True), result("youtube", False, message=f"Quota of {KEY}")], "Quota of [key]"),
        ([result("tiktok", True), result("youtube", "true")], "no reason given"),
        ([result("tiktok", True)], "no reason given"),
    ],
)
async def test_partly_published(
    shelf: Any, request_: dict[str, Any], tmp_path: Path, word: str, results: list[Any], reason: str
) -> None:
    """One platform is enough for a publication; the others are named with their reasons."""
    done = await look(shelf, request_, tmp_path, told({"status": word, "results": results}))

    assert isinstance(done, Succeeded)
    assert list(done.facts["platforms"]) == ["tiktok"]
    assert done.facts["failed"] == {"youtube": reason}


@pytest.mark.parametrize(
    "status",
    [
        {"status": "failed"},
        {"status": "failed", "results": [result("tiktok", False, message="no reason given")]},
        {"status": "completed", "results": [result("tiktok", False), result("youtube", None)]},
    ],
)
async def test_published_nowhere(shelf: Any, request_: dict[str, Any], tmp_path: Path, status: dict[str, Any]) -> None:
    """Without any platform the publication failed, and all are named."""
    assert await look(shelf, request_, tmp_path, told(status)) == Failed(
        "publication_failed", "Upload-Post could not publish: tiktok: no reason given; youtube: no reason given."
    )


@pytest.mark.parametrize(
    "respond",
    [
        always(404, {"status": "not_found"}),
        told({"status": "completed"}),
        told({"status": "completed", "results": "all"}),
        told({"status": "completed", "results": [result("tiktok", True)]}, always(500)),
        told({"status": "completed", "results": [result("tiktok", True)]}, fails(httpx.ReadTimeout)),
    ],
)
async def test_a_film_that_may_be_public_is_never_called_failed(
    shelf: Any, request_: dict[str, Any], tmp_path: Path, respond: Respond
) -> None:
    """What is not told plainly is asked again: a second publication would be seen by everybody."""
    with pytest.raises(Unavailable):
        await look(shelf, request_, tmp_path, respond)


# ---- Folder


async def test_folder(shelf: Any, request_: dict[str, Any], tmp_path: Path) -> None:
    """The film lies there whole with its words and its label, once, however often it is looked at."""
    folder = Folder(tmp_path / "out", shelf)
    id_ = await folder.submit(request_, key="k")
    assert [id_] == await folder.lookup(request_, key="k", since=NOW)
    assert not (tmp_path / "out").exists()
    first, second = [await folder.poll(id_, request_, into=tmp_path, progress=no_progress) for _ in range(2)]
    place = tmp_path / "out" / id_

    assert first == second == Succeeded(facts={"platforms": {"folder": {"url": f"{id_}/film.mp4", "post_id": id_}}})
    assert [path.name for path in (tmp_path / "out").iterdir()] == [id_]
    assert (place / "film.mp4").read_bytes() == FILM
    assert (place / "caption.txt").read_text() == ("A fox in the snow\n\n#fox #snow\n\nThis video was made with AI.\n")
    told_ = json.loads((place / "post.json").read_text())
    assert told_ == {
        **request_,
        "hashtags": ["fox", "#snow"],
        "ai_generated": True,
        "disclosure": "This video was made with AI.",
    }


async def test_folder_outlives_the_kept_film(shelf: Any, request_: dict[str, Any], tmp_path: Path) -> None:
    """What is published stays so when the kept film is gone."""
    folder = Folder(tmp_path / "out", shelf)
    before = await folder.poll("abc", request_, into=tmp_path, progress=no_progress)
    (shelf.folder / request_["digest"]).unlink()

    assert isinstance(before, Succeeded)
    assert await folder.poll("abc", request_, into=tmp_path, progress=no_progress) == before


async def test_folder_laid_down_by_two(shelf: Any, request_: dict[str, Any], tmp_path: Path) -> None:
    """Of two who lay down the same publication at once one wins, and both are done."""

    class Late:
        """Somebody else has laid it down by the time the film is found."""

        async def local_path(self, digest: str) -> Path:
            await Folder(tmp_path / "out", shelf).poll("abc", request_, into=tmp_path, progress=no_progress)
            return await shelf.local_path(digest)

    done = await Folder(tmp_path / "out", Late()).poll("abc", request_, into=tmp_path, progress=no_progress)

    assert isinstance(done, Succeeded)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["abc"]


async def test_folder_that_cannot_be_written(shelf: Any, request_: dict[str, Any], tmp_path: Path) -> None:
    """A folder that cannot be written is asked again later, and no half publication stays."""
    (tmp_path / "out").write_text("a file where a folder should be")
    folder = Folder(tmp_path / "out", shelf)
    with pytest.raises(Unavailable, match="cannot be written"):
        await folder.poll("abc", request_, into=tmp_path, progress=no_progress)


async def test_folder_whose_film_breaks_off(request_: dict[str, Any], tmp_path: Path) -> None:
    """A copy that does not come to its end leaves nothing behind."""
    with pytest.raises(Unavailable):
        await Folder(tmp_path / "out", Broken(None)).poll("abc", request_, into=tmp_path, progress=no_progress)

    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("id_", "digest", "code"),
    [
        ("../etc", None, "publication_lost"),
        (".draft-x", None, "publication_lost"),
        ("", None, "publication_lost"),
        ("abc", "ab" * 32, "artifact_missing"),
    ],
)
async def test_folder_of_nothing(
    shelf: Any, request_: dict[str, Any], tmp_path: Path, id_: str, digest: str | None, code: str
) -> None:
    """A name that is no publication's, or a film that is gone, ends it, and nothing is written."""
    asked = request_ | ({"digest": digest} if digest else {})
    ended = await Folder(tmp_path / "out", shelf).poll(id_, asked, into=tmp_path, progress=no_progress)

    assert isinstance(ended, Failed)
    assert (ended.code, (tmp_path / "out").exists()) == (code, False)


@pytest.mark.parametrize(
    ("caption", "hashtags", "text"),
    [("", [], ""), ("Fox", None, "Fox"), ("", ["a"], "#a"), ("Fox", ["a"], "Fox\n\n#a")],
)
async def test_words(shelf: Any, caption: str, hashtags: list[str] | None, text: str) -> None:
    """Caption and hashtags make one text, without empty lines where one is missing; a title is optional."""
    maker, asked = publisher(always(200, {"success": True}), shelf)
    request_ = {"digest": shelf.keep(FILM), "caption": caption, "hashtags": hashtags, "platforms": ["tiktok"]}
    await maker.submit(request_, key="k")
    sent = dict(parts_of(asked[0]))

    assert sent["title"].decode() == text
    assert "youtube_title" not in sent
