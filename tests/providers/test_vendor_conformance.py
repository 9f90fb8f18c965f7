"""What every adapter of a vendor keeps to, whatever the vendor answers. A new adapter is a line in `VENDORS`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.base import NotSent, OutcomeUnknown, Refused, Unavailable
from providers.higgsfield import Higgsfield
from providers.kling import Kling
from providers.native_videos import NativeVideos
from providers.replicate import Replicate
from providers.results import Failed
from providers.video_profiles import Profile, load_profiles
from providers.webhooks import InvalidEvent, InvalidSignature, VideoEvent, parse_secret, verify_signature
from tests.providers import toy_vendor
from tests.providers.stub_server import Respond, fail_with, ignore_progress, respond_with, stub_client
from tests.providers.toy_vendor import Toy
from tests.providers.vendor_vectors import VECTORS

KEY = "0c4a9e17-5b82-4d66-9a3f-7c1e08b45d29:clip:1:1"
CALLBACK = "https://films.example/v1/webhooks/video/any"
#: Each vendor with a model.
VENDORS: list[tuple[type[NativeVideos], str]] = [
    (Replicate, "google/veo-3.1"),
    (Higgsfield, "kling-video/v3.0/std/text-to-video"),
    (Kling, "kling-3.0"),
    (Toy, "toy-1"),
]
STATUSES = (
    200,
    201,
    202,
    204,
    301,
    302,
    308,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    410,
    422,
    423,
    425,
    429,
    500,
    502,
    503,
)
BODIES: tuple[Any, ...] = (
    b"",
    b"<html>",
    b"[" * 10_000,
    [],
    {},
    {"id": None, "request_id": {}, "status": []},
    {"id": "\x00", "status": "failed", "error": {"message": []}},
    {"code": [], "data": [], "message": 7},
    {"code": 0, "data": {"id": []}},
    {
        "code": 0,
        "data": [None, {"id": "1", "status": "succeeded", "outputs": [None], "billing": [None, {"amount": []}]}],
    },
    {"detail": [{"loc": ["prompt"]}], "error": "?"},
    {"results": [None, {"id": "1", "created_at": 5, "input": 3, "model": "google/veo-3.1"}], "next": 7},
    {"status": "succeeded", "output": {"a": 1}},
    {"status": "completed", "video": []},
    {"status": "ready", "file": 5},
    {"status": "sparkling"},
)
KNOWN = [*load_profiles(), Profile.model_validate(toy_vendor.PROFILE)]
ANSWERS = [(status, body) for status in STATUSES for body in BODIES]


def open_adapter(kind: type[NativeVideos], respond: Respond) -> tuple[NativeVideos, list[httpx.Request]]:
    """Return an adapter of a server, and the list of the requests that the server receives."""
    client, requests = stub_client(respond)
    profiles = [each for each in KNOWN if each.kind == kind.short_name]
    return kind("https://vendor.example/v1", "id:secret", profiles, client, accept, client), requests


async def accept(*_: object, **__: object) -> Any:
    raise AssertionError("No file is served.")


def request_for(model: str, **changes: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "A fox", "seconds": 5, "size": "720x1280", "sound": True, **changes}


@pytest.mark.parametrize(("kind", "model"), VENDORS)
async def test_every_answer_to_a_create_has_a_meaning(kind: type[NativeVideos], model: str) -> None:
    """One create is sent; nothing but an id, not sent, refused or unknown comes of it, and no 5xx is a refusal."""
    for status, body in ANSWERS:
        adapter, requests = open_adapter(kind, respond_with(status, body))
        error = None
        try:
            await adapter.submit(request_for(model), key=KEY)
        except (NotSent, Refused, OutcomeUnknown) as raised:
            error = raised
        assert status < 500 or isinstance(error, OutcomeUnknown), (status, body, error)
        assert [request.method for request in requests].count("POST") == 1


@pytest.mark.parametrize(("kind", "model"), VENDORS)
async def test_a_create_without_an_answer(kind: type[NativeVideos], model: str) -> None:
    """Without a connection nothing was sent; a connection that was cut leaves the outcome unknown."""
    for error, expected in ((httpx.ConnectError, NotSent), (httpx.ReadError, OutcomeUnknown)):
        adapter, requests = open_adapter(kind, fail_with(error))
        with pytest.raises(expected):
            await adapter.submit(request_for(model), key=KEY)
        assert len(requests) == 1


@pytest.mark.parametrize(("kind", "model"), VENDORS)
async def test_queries_end_or_are_unavailable(kind: type[NativeVideos], model: str, tmp_path: Path) -> None:
    """No answer to a question is an error of another kind, and no clip comes of an answer without a file."""
    for status, body in ANSWERS:
        adapter, _ = open_adapter(kind, respond_with(status, body))
        since = datetime.now(UTC)
        for question in (
            adapter.poll("1", request_for(model), into=tmp_path, progress=ignore_progress),
            adapter.lookup(request_for(model), key=KEY, since=since),
            adapter.candidates(request_for(model), since=since),
            adapter.quote(request_for(model)),
            adapter.check(),
        ):
            try:
                result = await question
            except Unavailable:
                continue
            assert not isinstance(result, Failed) or body["status"] == "failed"


@pytest.mark.parametrize(("kind", "model"), VENDORS)
async def test_an_order_is_sent_whole_and_the_same_each_time(kind: type[NativeVideos], model: str) -> None:
    """Length, resolution and sound are sent, every webhook names the order, and a repeated call is the same call."""
    adapter, requests = open_adapter(kind, respond_with(500))
    for request in (request_for(model, callback=CALLBACK), request_for(model, callback=CALLBACK), request_for(model)):
        with pytest.raises(OutcomeUnknown):
            await adapter.submit(request, key=KEY)
    first, second, silent = [(str(each.url), dict(each.headers), each.content) for each in requests]

    assert first == second
    assert KEY.replace(":", "%3A") in f"{first[0]}{first[2]!r}".replace("%253A", "%3A")
    assert "films.example" not in f"{silent[0]}{silent[2]!r}"
    assert b"A fox" in first[2]
    assert adapter.name == f"{kind.short_name}:vendor.example/v1"
    assert adapter.lookup_proof
    assert adapter.lookup_url(request_for(model), key=KEY)


@pytest.mark.parametrize("kind", [Replicate, Higgsfield, Kling])
async def test_a_published_vector(kind: type[NativeVideos]) -> None:
    """It verifies at its own time only, and is an event of its task."""
    vector, (adapter, _) = VECTORS[kind.short_name], open_adapter(kind, respond_with(500))
    secrets = [parse_secret(vector.secret)]

    assert verify_signature(vector.headers, vector.body, secrets, now=vector.at) == vector.id
    assert adapter.read_event(vector.body) == VideoEvent(vector.status, vector.task_id)
    for body, late in ((vector.body, timedelta(minutes=6)), (vector.body + b" ", timedelta(0))):
        with pytest.raises(InvalidSignature):
            verify_signature(vector.headers, body, secrets, now=vector.at + late)


@pytest.mark.parametrize(("kind", "model"), VENDORS)
async def test_only_a_task_is_an_event(kind: type[NativeVideos], model: str) -> None:
    """A verified body that is not a task of the vendor is an invalid event."""
    adapter, _ = open_adapter(kind, respond_with(500))
    for body in (b"", b"[]", b"{}", b"\xff", b'{"id":"1"}', b'{"status":"failed"}', b'{"id":7,"status":"failed"}'):
        with pytest.raises(InvalidEvent):
            adapter.read_event(body)
    id_name = adapter.id_names[0]
    event = adapter.read_event(b'{"%s":"1","status":"failed"}' % id_name.encode())

    assert (event.video_id, event.type) == ("1", "failed")


def test_a_new_vendor_is_one_short_module() -> None:
    """An adapter with its profile has at most 120 lines."""
    assert len(Path(toy_vendor.__file__).read_text().splitlines()) <= 120
