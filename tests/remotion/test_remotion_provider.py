"""The adapter of the Remotion service keeps the promises of a provider, whatever the service does."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from remotion_rooms import ignore, paint

from providers.base import Done, Failed, NotSent, OutcomeUnknown, Pending, Refused, Unavailable
from providers.renders.manifest import Manifest
from providers.renders.remotion import RemotionRenders

RUN = "0d0e3f60-6a58-4b57-9d1d-2f3c8a8f3a11"
KEY = f"{RUN}:render:1:1"


def request(**changes: Any) -> dict[str, Any]:
    clips = [{"digest": "ab" * 32, "seconds": 3.5, "overlay": "Aries — Compass 🔥"}]
    return Manifest.model_validate({"width": 180, "height": 320, "clips": clips, **changes}).model_dump()


class Played:
    """The service as a transport: it answers as told, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        status, body = answer
        return httpx.Response(status, json=body)

    def renders(self, **options: Any) -> RemotionRenders:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return RemotionRenders("http://renders", client, **options)


def state(name: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"render_id": "rnd_1", "state": name, "progress": 0.25, "error": None, "output": None, **more}


async def test_an_order_is_placed_once_under_an_id_known_before():
    """The id follows from the key and the manifest, names the run, and what is sent is data alone."""
    played = Played((202, {}))
    asked = request(composition="aismr", title="Signs", props={"accent": "#ffffff"})

    placed = await played.renders(service_key="open sesame").submit(asked, key=KEY)

    (sent,) = played.asked
    body = json.loads(sent.content)
    assert (sent.method, sent.url.path) == ("POST", "/renders")
    assert sent.headers["authorization"] == "Bearer open sesame"
    assert body["render_id"] == placed
    assert placed.startswith(f"rnd_{RUN}_")
    assert (body["run_id"], body["composition"]) == (RUN, "aismr")
    assert body["props"] == {"accent": "#ffffff", "title": "Signs"}
    assert set(body["manifest"]) == set(asked) - {"composition", "title", "props"}
    assert body["manifest"]["clips"][0]["overlay"] == "Aries — Compass "
    assert placed == await Played((200, {})).renders().submit(asked, key=KEY)
    assert placed != await Played((202, {})).renders().submit(asked, key=f"{RUN}:render:1:2")
    UUID(body["run_id"])


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (httpx.ConnectError("no"), NotSent),
        ((429, {}), NotSent),
        (httpx.ReadTimeout("slow"), OutcomeUnknown),
        (httpx.RemoteProtocolError("cut"), OutcomeUnknown),
        ((500, {}), OutcomeUnknown),
        ((409, {"error": {"code": "render_id_taken", "message": "Taken."}}), OutcomeUnknown),
        ((422, {"error": {"code": "invalid_request", "message": "Wrong."}}), Refused),
        ((401, {}), Refused),
    ],
    ids=["away", "full", "slow", "cut", "broken", "taken", "wrong", "wrong key"],
)
async def test_placing_tells_what_became_of_the_order(answer, wanted):
    """Only one call is made, and its end is told apart."""
    played = Played(answer)

    with pytest.raises(wanted):
        await played.renders().submit(request(), key=KEY)

    assert len(played.asked) == 1


async def test_a_service_that_is_really_away_was_sent_nothing(client, tmp_path):
    """A closed port is NotSent for an order and Unavailable for a question."""
    away = RemotionRenders("http://127.0.0.1:9", client)

    with pytest.raises(NotSent):
        await away.submit(request(), key=KEY)
    with pytest.raises(Unavailable):
        await away.find(request(), key=KEY, since=datetime.now(UTC))
    with pytest.raises(Unavailable):
        await away.look("rnd_1", request(), into=tmp_path, progress=ignore)


async def test_a_manifest_that_makes_no_film_is_refused_unasked():
    """It is told before the service is bothered."""
    played = Played()

    with pytest.raises(Refused):
        await played.renders().submit({**request(), "clips": []}, key=KEY)

    assert played.asked == []


async def test_an_order_is_found_by_its_key():
    """An id where the service knows it, nothing where it does not, and no guess where it cannot be asked."""
    known, unknown, broken = Played((202, {}), state("queued")), Played((404, {})), Played((500, {}))
    placed = await (renders := known.renders()).submit(request(), key=KEY)

    assert await renders.find(request(), key=KEY, since=datetime.now(UTC)) == [placed]
    assert await unknown.renders().find(request(), key=KEY, since=datetime.now(UTC)) == []
    with pytest.raises(Unavailable):
        await broken.renders().find(request(), key=KEY, since=datetime.now(UTC))


@pytest.mark.parametrize("name", ["queued", "rendering", "encoding", "checking"])
async def test_a_render_under_way_is_pending(name, tmp_path):
    """Its progress is told."""
    assert await Played(state(name)).renders().look("rnd_1", request(), into=tmp_path, progress=ignore) == Pending(0.25)


@pytest.mark.parametrize(
    ("told", "failed"),
    [
        (state("failed", error={"code": "clip_missing", "message": "Gone."}), Failed("clip_missing", "Gone.")),
        (state("cancelled"), Failed("render_cancelled", "The render service says that the render cancelled.")),
    ],
    ids=["failed", "cancelled"],
)
async def test_a_render_that_ended_without_a_film_failed(told, failed, tmp_path):
    """The service's code and sentence are handed on."""
    assert await Played(told).renders().look("rnd_1", request(), into=tmp_path, progress=ignore) == failed


@pytest.mark.parametrize("gone", [(404, {}), state("lost")], ids=["unknown", "lost"])
async def test_a_lost_render_is_placed_again_under_its_id(gone, tmp_path):
    """It costs nothing and the id keeps it one render, so a lost one is pending, not failed."""
    played = Played(gone, (202, {}))
    task = f"rnd_{RUN}_0123"

    assert await played.renders().look(task, request(), into=tmp_path, progress=ignore) == Pending(0.0)

    body = json.loads(played.asked[1].content)
    assert (body["render_id"], body["run_id"]) == (task, RUN)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [((500, {}), Unavailable), ((422, {}), Failed), (httpx.ConnectError("no"), Unavailable)],
    ids=["broken", "refused", "away"],
)
async def test_placing_again_may_fail_too(answer, wanted, tmp_path):
    """What passes is asked again later; a refusal is the end."""
    looking = Played((404, {}), answer).renders().look("rnd_1", request(), into=tmp_path, progress=ignore)

    if wanted is Failed:
        assert isinstance(await looking, Failed)
    else:
        with pytest.raises(wanted):
            await looking


@pytest.mark.parametrize(
    "answer",
    [(500, {}), (200, {"state": "strange"}), (401, {}), (429, {}), httpx.ReadTimeout("slow")],
    ids=["broken", "strange", "wrong key", "busy", "slow"],
)
async def test_what_cannot_be_told_now_is_unavailable(answer, tmp_path):
    """The render is neither failed nor done for it."""
    with pytest.raises(Unavailable):
        await Played(answer).renders().look("rnd_1", request(), into=tmp_path, progress=ignore)


@pytest.fixture(scope="module")
def quiet_film(tmp_path_factory) -> bytes:
    """A film as a renderer makes it that leaves the loudness alone."""
    return paint(tmp_path_factory.mktemp("film") / "quiet.mp4", luma=90, seconds=3.5).read_bytes()


def done(film: bytes, sent: bytes) -> Played:
    output = {"sha256": hashlib.sha256(film).hexdigest(), "bytes": len(film), "seconds": 3.5, "url": "/renders/x/file"}
    return Played(
        state("done", output=output), httpx.Response(200, content=sent, headers={"content-type": "video/mp4"})
    )


async def test_a_finished_film_is_fetched_mastered_and_judged(quiet_film, tmp_path):
    """It keeps every rule that an embedded film keeps; nothing else is left in the folder."""
    found = await done(quiet_film, quiet_film).renders().look("rnd_1", request(), into=tmp_path, progress=ignore)

    assert isinstance(found, Done)
    assert list(tmp_path.iterdir()) == [found.file]
    assert {**found.facts, "lufs": round(found.facts["lufs"]), "warnings": []} == {
        "seconds": 3.5,
        "width": 180,
        "height": 320,
        "fps": 30,
        "codec": "h264",
        "lufs": -14,
        "size_bytes": found.file.stat().st_size,
        "renderer": "remotion",
        "warnings": [],
    }
    assert "overlay (left out 🔥)" in found.facts["warnings"]


async def test_a_film_that_was_cut_on_the_way_is_asked_for_again(quiet_film, tmp_path):
    """The digest decides, and nothing is left behind."""
    with pytest.raises(Unavailable):
        await done(quiet_film, quiet_film[:-1]).renders().look("rnd_1", request(), into=tmp_path, progress=ignore)

    assert list(tmp_path.iterdir()) == []


async def test_a_film_that_breaks_the_rules_is_none(quiet_film, tmp_path):
    """A film of the wrong length is a failure that names the rule."""
    asked = request(clips=[{"digest": "ab" * 32, "seconds": 5.0}])

    found = await done(quiet_film, quiet_film).renders().look("rnd_1", asked, into=tmp_path, progress=ignore)

    assert isinstance(found, Failed)
    assert found.code == "film_not_conformant"
    assert "length_as_asked" in found.message
