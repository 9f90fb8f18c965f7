"""The Remotion adapter honours the provider contract for every behaviour of the service."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from render_service import ignore_progress, write_clip

from providers.base import ArtifactMissing, NotSent, OutcomeUnknown, Refused, Unavailable
from providers.renders.manifest import Manifest
from providers.renders.remotion import RemotionRenders
from providers.results import Failed, Pending, Succeeded

RUN = "0d0e3f60-6a58-4b57-9d1d-2f3c8a8f3a11"
KEY = f"{RUN}:render:1:1"


class NoFiles:
    """A store without sounds."""

    async def local_path(self, digest: str) -> Path:
        raise ArtifactMissing(digest)


NO_FILES = NoFiles()


def request(**changes: Any) -> dict[str, Any]:
    clips = [{"digest": "ab" * 32, "seconds": 3.5, "overlay": "Aries — Compass 🔥"}]
    return Manifest.model_validate({"width": 180, "height": 320, "clips": clips, **changes}).model_dump()


class StubService:
    """The service as an HTTP transport: it returns the given responses in order and records the requests."""

    def __init__(self, *responses: Any) -> None:
        self.responses = list(responses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self.responses.pop(0)
        if isinstance(response, Exception):
            raise response
        if isinstance(response, httpx.Response):
            return response
        status, body = response
        return httpx.Response(status, json=body)

    def renders(self, **options: Any) -> RemotionRenders:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return RemotionRenders("http://renders", client, NO_FILES, **options)


def render_state(name: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"render_id": "rnd_1", "state": name, "progress": 0.25, "error": None, "output": None, **fields}


async def poll(service: StubService, into: Path, task_id: str = "rnd_1", **changes: Any) -> Any:
    return await service.renders().poll(task_id, request(**changes), into=into, progress=ignore_progress)


async def test_submit_sends_data_under_an_id_derived_from_the_key():
    """The id is derived from the key and the manifest and contains the run id; the request contains only data."""
    service = StubService((202, {}))
    manifest = request(composition="aismr", title="Signs", props={"accent": "#ffffff"})

    render_id = await service.renders(service_key="open sesame").submit(manifest, key=KEY)

    (sent,) = service.requests
    body = json.loads(sent.content)
    assert (sent.method, sent.url.path) == ("POST", "/renders")
    assert sent.headers["authorization"] == "Bearer open sesame"
    assert body["render_id"] == render_id
    assert render_id.startswith(f"rnd_{RUN}_")
    assert (body["run_id"], body["composition"]) == (RUN, "aismr")
    assert body["props"] == {"accent": "#ffffff", "title": "Signs"}
    assert set(body["manifest"]) == set(manifest) - {"composition", "title", "props"}
    assert body["manifest"]["clips"][0]["overlay"] == "Aries —\nCompass"
    assert render_id == await StubService((200, {})).renders().submit(manifest, key=KEY)
    assert render_id != await StubService((202, {})).renders().submit(manifest, key=f"{RUN}:render:1:2")
    UUID(body["run_id"])


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (httpx.ConnectError("no"), NotSent),
        ((429, {}), NotSent),
        (httpx.ReadTimeout("slow"), OutcomeUnknown),
        (httpx.RemoteProtocolError("cut"), OutcomeUnknown),
        ((500, {}), OutcomeUnknown),
        ((409, {"error": {"code": "render_id_taken", "message": "Taken."}}), OutcomeUnknown),
        ((422, {"error": {"code": "invalid_request", "message": "Wrong."}}), Refused),
        ((401, {}), NotSent),
    ],
    ids=["unreachable", "full", "timeout", "cut", "server error", "id taken", "invalid", "wrong key"],
)
async def test_submit_maps_each_failure_to_an_error(response, expected):
    """One call is sent, and its result determines the error."""
    service = StubService(response)

    with pytest.raises(expected):
        await service.renders().submit(request(), key=KEY)

    assert len(service.requests) == 1


async def test_an_unreachable_service_receives_nothing(client, tmp_path):
    """A closed port raises NotSent for a submit and Unavailable for a lookup or a poll."""
    unreachable = RemotionRenders("http://127.0.0.1:9", client, NO_FILES)

    with pytest.raises(NotSent):
        await unreachable.submit(request(), key=KEY)
    with pytest.raises(Unavailable):
        await unreachable.lookup(request(), key=KEY, since=datetime.now(UTC))
    with pytest.raises(Unavailable):
        await unreachable.poll("rnd_1", request(), into=tmp_path, progress=ignore_progress)


async def test_an_invalid_manifest_is_refused_without_a_request():
    """The manifest is validated before the service is called."""
    service = StubService()

    with pytest.raises(Refused):
        await service.renders().submit({**request(), "clips": []}, key=KEY)

    assert service.requests == []


async def test_a_render_is_found_by_its_key():
    """Lookup returns the id of a known render, nothing for an unknown one, and raises if the service fails."""
    known = StubService((202, {}), render_state("queued")).renders()
    unknown = StubService((404, {})).renders()
    failing = StubService((500, {})).renders()
    render_id = await known.submit(request(), key=KEY)

    assert await known.lookup(request(), key=KEY, since=datetime.now(UTC)) == [render_id]
    assert await unknown.lookup(request(), key=KEY, since=datetime.now(UTC)) == []
    with pytest.raises(Unavailable):
        await failing.lookup(request(), key=KEY, since=datetime.now(UTC))


@pytest.mark.parametrize("name", ["queued", "rendering", "encoding", "checking"])
async def test_an_unfinished_render_is_pending(name, tmp_path):
    """The result contains the progress."""
    assert await poll(StubService(render_state(name)), tmp_path) == Pending(0.25)


@pytest.mark.parametrize(
    ("response", "failed"),
    [
        (render_state("failed", error={"code": "clip_missing", "message": "Gone."}), Failed("clip_missing", "Gone.")),
        (render_state("cancelled"), Failed("render_cancelled", "The render service reports the render as cancelled.")),
    ],
    ids=["failed", "cancelled"],
)
async def test_a_render_that_ends_without_a_film_has_failed(response, failed, tmp_path):
    """The result contains the service's error code and message."""
    assert await poll(StubService(response), tmp_path) == failed


@pytest.mark.parametrize("gone", [(404, {}), render_state("lost")], ids=["unknown", "lost"])
async def test_a_lost_render_is_placed_again_under_its_id(gone, tmp_path):
    """A render costs nothing and its id is unique, so a lost one is pending, not failed."""
    service = StubService(gone, (202, {}))
    task_id = f"rnd_{RUN}_0123"

    assert await poll(service, tmp_path, task_id) == Pending(0.0)

    body = json.loads(service.requests[1].content)
    assert (body["render_id"], body["run_id"]) == (task_id, RUN)


@pytest.mark.parametrize(
    ("response", "expected"),
    [((500, {}), Unavailable), ((422, {}), Failed), (httpx.ConnectError("no"), Unavailable)],
    ids=["server error", "refused", "unreachable"],
)
async def test_placing_a_lost_render_again_can_fail(response, expected, tmp_path):
    """A temporary error is retried later; a refusal is final."""
    polling = poll(StubService((404, {}), response), tmp_path)

    if expected is Failed:
        assert isinstance(await polling, Failed)
    else:
        with pytest.raises(expected):
            await polling


@pytest.mark.parametrize(
    "response",
    [(500, {}), (200, {"state": "strange"}), (401, {}), (429, {}), httpx.ReadTimeout("slow")],
    ids=["server error", "unknown state", "wrong key", "rate limited", "timeout"],
)
async def test_an_unusable_response_raises_unavailable(response, tmp_path):
    """The render is neither failed nor done."""
    with pytest.raises(Unavailable):
        await poll(StubService(response), tmp_path)


@pytest.fixture(scope="module")
def quiet_film(tmp_path_factory) -> bytes:
    """Return a film whose loudness is not mastered."""
    return write_clip(tmp_path_factory.mktemp("film") / "quiet.mp4", luma=90, seconds=3.5).read_bytes()


def finished_service(film: bytes, downloaded: bytes) -> StubService:
    output = {"sha256": hashlib.sha256(film).hexdigest(), "bytes": len(film), "seconds": 3.5, "url": "/renders/x/file"}
    return StubService(
        render_state("done", output=output),
        httpx.Response(200, content=downloaded, headers={"content-type": "video/mp4"}),
    )


async def test_a_finished_film_is_downloaded_mastered_and_checked(quiet_film, tmp_path):
    """The film conforms to the rules for embedded films; the folder contains nothing else."""
    result = await poll(finished_service(quiet_film, quiet_film), tmp_path)

    assert isinstance(result, Succeeded)
    assert list(tmp_path.iterdir()) == [result.file]
    assert {**result.facts, "lufs": round(result.facts["lufs"]), "warnings": [], "checks": {}} == {
        "seconds": 3.5,
        "width": 180,
        "height": 320,
        "fps": 30,
        "codec": "h264",
        "lufs": -14,
        "size_bytes": result.file.stat().st_size,
        "renderer": "remotion",
        "checks": {},
        "warnings": [],
        "notices": [],
    }
    assert "overlay (left out 🔥)" in result.facts["warnings"]


async def test_a_truncated_download_is_retried(quiet_film, tmp_path):
    """A film that does not match its digest raises Unavailable, and no file is left behind."""
    with pytest.raises(Unavailable):
        await poll(finished_service(quiet_film, quiet_film[:-1]), tmp_path)

    assert list(tmp_path.iterdir()) == []


async def test_a_film_that_violates_a_rule_fails(quiet_film, tmp_path):
    """The failure of a film with the wrong length names the rule."""
    clips = [{"digest": "ab" * 32, "seconds": 5.0}]

    result = await poll(finished_service(quiet_film, quiet_film), tmp_path, clips=clips)

    assert isinstance(result, Failed)
    assert result.code == "film_not_conformant"
    assert "length_as_asked" in result.message
