"""The real render service: films, recovery and access. Skipped, with the reason, without Node or a browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from render_service import ignore_progress, render_request

from providers.media.conformance import FilmSpec, check_film, failed_errors
from providers.media.overlay import SAFE_BOTTOM_PX, SAFE_SIDE_PX, SAFE_TOP_PX
from providers.renders.manifest import Manifest
from providers.renders.remotion import RemotionRenders
from providers.results import Succeeded
from providers.webhooks import parse_secret, read_render_event, verify_signature

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RUN = "0d0e3f60-6a58-4b57-9d1d-2f3c8a8f3a11"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


async def render_film(renders: RemotionRenders, request: dict[str, Any], into: Path) -> Any:
    """Submit the request and return its final result."""
    task = await renders.submit(request, key=f"{RUN}:render:1:1")
    for _ in range(1200):
        result = await renders.poll(task, request, into=into, progress=ignore_progress)
        if not hasattr(result, "progress"):
            return result
        await asyncio.sleep(0.25)
    raise AssertionError(f"The render has not ended: {result}")


def read_lumas(film: Path, *frame_numbers: int) -> list[np.ndarray]:
    """Return the luma planes of these frames of the film."""
    with av.open(str(film)) as container:
        return [
            frame.to_ndarray(format="gray")
            for number, frame in enumerate(container.decode(video=0))
            if number in frame_numbers
        ]


@pytest.fixture(scope="module")
def films() -> dict[str, Succeeded]:
    """Return a cache of rendered films by composition, because a render is slow."""
    return {}


@pytest.fixture(params=["shorts", "aismr"])
async def film(request, films, artifacts, start_service, two_clips, client, tmp_path_factory) -> Succeeded:
    """Return a full-size film of each composition, rendered through the adapter and the real service."""
    composition = request.param
    if composition not in films:
        clips = [{"digest": two_clips[0], "seconds": 2.0, "overlay": "Hello"}]
        clips += [{"digest": two_clips[1], "seconds": 2.0, "overlay": "Read what is set here in two whole lines"}]
        manifest = Manifest(clips=clips, composition=composition, title="Two grey squares").model_dump()
        service = await start_service()
        into = tmp_path_factory.mktemp(composition)
        films[composition] = await render_film(RemotionRenders(service.url, client, artifacts), manifest, into)
    return films[composition]


async def test_a_rendered_film_conforms_to_the_rules(film):
    """Size, codecs, length and loudness are those of an embedded film; the facts name the renderer."""
    assert isinstance(film, Succeeded)
    findings = check_film(film.file, FilmSpec(3.5))

    assert failed_errors(findings) == []
    assert {finding.rule for finding in findings if not finding.ok} <= {"bitrate"}
    assert abs(film.facts["seconds"] - 3.5) <= 0.1
    assert abs(film.facts["lufs"] + 14) <= 1
    assert film.facts["renderer"] == "remotion"


async def test_text_is_inside_the_safe_zone_and_large_enough(film):
    """No letter, outline or shadow of a settled caption leaves the safe zone, and the text has caption height."""
    (picture,) = read_lumas(film.file, 45 + 18 + 5)
    text = picture > 190

    rows, columns = np.flatnonzero(text.any(axis=1)), np.flatnonzero(text.any(axis=0))
    outline = np.argwhere(picture < 25)

    assert rows.size
    assert SAFE_TOP_PX <= rows[0] <= rows[-1] < 1920 - SAFE_BOTTOM_PX
    assert SAFE_SIDE_PX <= columns[0] <= columns[-1] < 1080 - SAFE_SIDE_PX
    assert SAFE_TOP_PX <= outline[:, 0].min() <= outline[:, 0].max() < 1920 - SAFE_BOTTOM_PX
    assert SAFE_SIDE_PX <= outline[:, 1].min() <= outline[:, 1].max() < 1080 - SAFE_SIDE_PX
    # Two lines of letters between 44 and 76 pixels.
    assert 44 * 1.5 <= rows[-1] - rows[0] <= 76 * 2.5
    assert abs((columns[0] + columns[-1]) / 2 - 540) <= 12


async def test_clips_dissolve_into_each_other(film):
    """In the middle of a transition the picture is half of each clip and contains no text."""
    before, middle, after = (picture[1300:1480].mean() for picture in read_lumas(film.file, 44, 52, 61))

    assert min(before, after) < middle < max(before, after)
    (picture,) = read_lumas(film.file, 52)
    assert picture[SAFE_TOP_PX : 1920 - SAFE_BOTTOM_PX].max() < 190


@pytest.fixture(params=["isolated", "not isolated"])
def isolation_settings(request, tmp_path) -> dict[str, str]:
    """Return settings with which renders are isolated, if the machine allows it, or are not."""
    if request.param == "isolated":
        return {}
    (failing_unshare := tmp_path / "bin" / "unshare").parent.mkdir()
    failing_unshare.write_text("#!/bin/sh\nexit 1\n")
    failing_unshare.chmod(0o755)
    return {"PATH": f"{failing_unshare.parent}:{os.environ['PATH']}"}


async def test_a_render_survives_a_killed_service(isolation_settings, start_service, two_clips):
    """After a kill and a restart, the render completes as one film and leaves no process or file behind."""
    service = await start_service(**isolation_settings)
    if isolation_settings:
        assert (await service.request("GET", "/health")).json()["isolated"] is False
    body = render_request(two_clips)
    assert (await service.request("POST", "/renders", json=body)).status_code == 202
    await service.wait_for_state("rnd_1", "rendering")
    for _ in range(600):
        if any("chrom" in process.name() for process in service.job_processes()):
            break
        await asyncio.sleep(0.05)
    assert len(service.job_processes()) > 1

    service.stop(signal.SIGKILL)
    for _ in range(100):
        if not service.job_processes():
            break
        await asyncio.sleep(0.05)
    assert service.job_processes() == []
    await service.start()

    assert (await service.request("POST", "/renders", json=body)).status_code == 200
    render = await service.wait_for_state("rnd_1", "done", "failed", "lost")
    assert (render["state"], render["attempts"]) == ("done", 2)
    assert [path.name for path in (service.folder / "films").iterdir()] == ["rnd_1.mp4"]
    assert list((service.folder / "jobs").iterdir()) == []
    assert service.job_processes() == []
    film = (await service.request("GET", "/renders/rnd_1/file")).content
    assert hashlib.sha256(film).hexdigest() == render["output"]["sha256"]


async def test_the_end_is_reported_by_a_signed_webhook_until_it_is_accepted(
    start_service, two_clips, artifacts, start_stub_server
):
    """Clips are downloaded with the API key; the webhook for the run is retried after a 409 as the same event."""
    received: list[str] = []

    def respond(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if method == "GET":
            assert headers["x-api-key"] == "key of the API"
            digest = path.rsplit("/", 1)[1]
            return 200, (artifacts.folder / "sha256" / digest[:2] / digest).read_bytes()
        received.append(path)
        return (409 if len(received) < 2 else 200), b"{}"

    api = await start_stub_server(respond)
    service = await start_service(
        ARTIFACTS=f"{api.url}/v1/artifacts/",
        ARTIFACTS_KEY="key of the API",
        CALLBACK_BASE=api.url,
        CALLBACK_SECRET=SECRET,
    )
    await service.request("POST", "/renders", json=render_request(two_clips, run_id=RUN))
    await service.wait_for_state("rnd_1", "done", "failed")
    for _ in range(200):
        if len(received) == 2:
            break
        await asyncio.sleep(0.1)

    assert received == [f"/v1/webhooks/remotion?run_id={RUN}"] * 2
    webhooks = [(headers, body) for method, _, headers, body in api.requests if method == "POST"]
    ids = {verify_signature(headers, body, [parse_secret(SECRET)], now=datetime.now(UTC)) for headers, body in webhooks}
    event = read_render_event(webhooks[1][1])
    assert len(ids) == 1
    assert (event.render_id, event.status) == ("rnd_1", "completed")
    content = json.loads(webhooks[1][1])
    assert (content["output_url"], content["run_id"]) == (f"{service.url}/renders/rnd_1/file", RUN)


async def test_a_repeated_request_is_one_render(start_service, two_clips):
    """A repeat is 200, a conflict 409, a full queue 429; a cancelled render stays cancelled and frees its slot."""
    service = await start_service(QUEUE="1")
    body = render_request(two_clips)

    async def post(content: dict[str, Any]) -> int:
        return (await service.request("POST", "/renders", json=content)).status_code

    assert await post(body) == 202
    assert await post(dict(reversed(body.items()))) == 200
    assert await post({**body, "composition": "aismr"}) == 409
    await service.wait_for_state("rnd_1", "rendering")
    assert await post(render_request(two_clips, "rnd_2")) == 202
    assert await post(render_request(two_clips, "rnd_3")) == 429

    assert (await service.request("DELETE", "/renders/rnd_2")).json()["state"] == "cancelled"
    assert (await service.request("DELETE", "/renders/rnd_1")).json()["state"] == "cancelled"
    assert (await service.request("DELETE", "/renders/rnd_1")).json()["error"]["code"] == "cancelled"
    assert (await service.request("GET", "/renders/rnd_1/file")).status_code == 409
    assert (await service.request("DELETE", "/renders/rnd_9")).status_code == 404
    assert service.job_processes() == []
    assert list((service.folder / "jobs").iterdir()) == []
    service.stop(signal.SIGKILL)
    await service.start()
    assert (await service.request("GET", "/renders/rnd_1")).json()["state"] == "cancelled"


@pytest.mark.parametrize(
    "change",
    [
        {"composition": "../../etc"},
        {"props": {"title": "A", "code": "process.exit()"}},
        {"props": {"accent": "red;background:url(http://example.com)"}},
        {"render_id": "../up"},
        {"run_id": "not a run"},
        {"extra": 1},
        {"manifest": {"version": 1, "clips": []}},
    ],
    ids=[
        "unknown composition",
        "unknown prop",
        "invalid colour",
        "id with a path",
        "invalid run id",
        "unknown field",
        "no clips",
    ],
)
async def test_an_invalid_request_is_refused(change, start_service, two_clips):
    """The response is 422 with the invalid fields, and nothing is stored."""
    service = await start_service()

    response = await service.request("POST", "/renders", json={**render_request(two_clips), **change})

    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_request"
    assert list((service.folder / "renders").iterdir()) == []


async def test_a_missing_clip_fails_the_render(start_service, two_clips):
    """The render fails at once; a request cannot supply another source for the clip."""
    service = await start_service()

    await service.request("POST", "/renders", json=render_request([two_clips[0], "00" * 32]))

    assert (await service.wait_for_state("rnd_1", "failed"))["error"]["code"] == "clip_missing"


async def test_a_short_clip_holds_its_last_frame(start_service, artifacts, client, tmp_path):
    """A clip can be a quarter of a second too short; the film keeps its length and does not turn black."""
    digests = [artifacts.add_clip(luma=90, seconds=1.8), artifacts.add_clip(luma=120, seconds=1.8)]
    clips = [{"digest": digest, "seconds": 2.0} for digest in digests]
    request = Manifest(width=270, height=480, clips=clips, composition="aismr").model_dump()
    service = await start_service()

    film = await render_film(RemotionRenders(service.url, client, artifacts), request, tmp_path)

    assert isinstance(film, Succeeded), film
    first, last = read_lumas(film.file, 40, 104)
    assert last[200:220].mean() > first[200:220].mean() > 50


async def test_an_unreadable_record_is_lost_and_can_be_placed_again(start_service, two_clips):
    """A render with an unreadable record does not stay pending forever."""
    service = await start_service()
    service.stop()
    (service.folder / "renders" / "rnd_1.json").write_text("{")
    await service.start()

    assert (await service.request("GET", "/renders/rnd_1")).json()["state"] == "lost"
    assert (await service.request("POST", "/renders", json=render_request(two_clips))).status_code == 202
    assert (await service.request("DELETE", "/renders/rnd_1")).json()["state"] == "cancelled"


async def test_a_render_that_is_interrupted_three_times_fails(start_service, two_clips):
    """A render that crashes the service is not retried forever."""
    service = await start_service()
    await service.request("POST", "/renders", json=render_request(two_clips))
    await service.wait_for_state("rnd_1", "rendering")
    service.stop()
    record = service.folder / "renders" / "rnd_1.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "attempts": 3}))
    await service.start()

    render = (await service.request("GET", "/renders/rnd_1")).json()
    assert (render["state"], render["error"]["code"]) == ("failed", "interrupted")


async def test_requests_need_the_service_key(start_service, two_clips):
    """Every endpoint except health needs the key, and a web page is refused even with it."""
    service = await start_service(SERVICE_KEY="open sesame")
    authorized = {"authorization": "Bearer open sesame"}

    assert (await service.request("GET", "/health")).status_code == 200
    assert (await service.request("POST", "/renders", json=render_request(two_clips))).status_code == 401
    assert (await service.request("GET", "/renders/rnd_1/file")).status_code == 401
    assert (await service.request("GET", "/renders/rnd_1", headers=authorized)).status_code == 404
    page = {**authorized, "origin": "http://example.com"}
    assert (await service.request("GET", "/renders/rnd_1", headers=page)).status_code == 403


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"ARTIFACTS": ""}, "ARTIFACTS"),
        ({"HOST": "0.0.0.0"}, "SERVICE_KEY"),
        ({"CALLBACK_BASE": "http://127.0.0.1:8000"}, "CALLBACK_SECRET"),
        ({"CALLBACK_BASE": "http://127.0.0.1:8000", "CALLBACK_SECRET": "whsec_c2hvcnQ="}, "CALLBACK_SECRET"),
        ({"CHROMIUM": "/no/such/browser"}, "CHROMIUM"),
        ({"PORT": "many"}, "PORT"),
    ],
    ids=["no artifacts", "public host without key", "no secret", "short secret", "no browser", "not a number"],
)
async def test_an_invalid_setting_is_named(settings, name, start_service):
    """The service does not start, and its message names the setting."""
    with pytest.raises(AssertionError, match=f"{name}: "):
        await start_service(**settings)


async def test_a_render_opens_no_port_to_other_processes(start_service, two_clips):
    """Remotion's internal server, which fetches any URL, is unreachable from outside the render."""
    service = await start_service()
    await service.request("POST", "/renders", json=render_request(two_clips))
    await service.wait_for_state("rnd_1", "encoding", "done", "rendering")
    for _ in range(1200):
        if (await service.request("GET", "/renders/rnd_1")).json()["progress"] > 0:
            break
        await asyncio.sleep(0.05)
    isolated = (await service.request("GET", "/health")).json()["isolated"]

    async with httpx.AsyncClient() as client:
        for host in ["127.0.0.1"] if isolated else []:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://{host}:3000/proxy?src={service.url}/health")
    await service.request("DELETE", "/renders/rnd_1")
