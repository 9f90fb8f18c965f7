"""The real Remotion service, with Node and a browser: real films, and no film lost. Skipped, by name, without them."""

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
from remotion_rooms import ignore, order

from providers.base import Done
from providers.media.conform import errors, final_video_conforms
from providers.media.overlay import BOTTOM, SIDE, TOP
from providers.renders.manifest import Manifest
from providers.renders.remotion import RemotionRenders
from providers.webhooks import parse_secret, read_render_event, verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RUN = "0d0e3f60-6a58-4b57-9d1d-2f3c8a8f3a11"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


async def rendered(renders: RemotionRenders, request: dict[str, Any], into: Path) -> Any:
    """What becomes of an order in the end."""
    task = await renders.submit(request, key=f"{RUN}:render:1:1")
    for _ in range(1200):
        seen = await renders.look(task, request, into=into, progress=ignore)
        if not hasattr(seen, "progress"):
            return seen
        await asyncio.sleep(0.25)
    raise AssertionError(f"Still {seen}")


def lumas(film: Path, *numbers: int) -> list[np.ndarray]:
    """The luma planes of these pictures of the film."""
    with av.open(str(film)) as container:
        return [
            frame.to_ndarray(format="gray")
            for number, frame in enumerate(container.decode(video=0))
            if number in numbers
        ]


@pytest.fixture(scope="module")
def films() -> dict[str, Done]:
    """The films made so far, by composition: they take long, so they are looked at more than once."""
    return {}


@pytest.fixture(params=["shorts", "aismr"])
async def film(request, films, service, two_clips, client, tmp_path_factory) -> Done:
    """A film of full size by each composition, through the adapter and the real service."""
    look = request.param
    if look not in films:
        clips = [{"digest": two_clips[0], "seconds": 2.0, "overlay": "Hello"}]
        clips += [{"digest": two_clips[1], "seconds": 2.0, "overlay": "Read what stands here in two whole lines"}]
        manifest = Manifest(clips=clips, composition=look, title="Two grey squares").model_dump()
        there = await service()
        into = tmp_path_factory.mktemp(look)
        films[look] = await rendered(RemotionRenders(there.url, client), manifest, into)
    return films[look]


async def test_a_film_through_the_service_keeps_every_rule(film):
    """Size, codecs, length and loudness are those of an embedded film; so is the name of the file's maker."""
    assert isinstance(film, Done)
    findings = final_video_conforms(film.file, seconds=3.5)

    assert errors(findings) == []
    assert {finding.rule for finding in findings if not finding.ok} <= {"bitrate"}
    assert abs(film.facts["seconds"] - 3.5) <= 0.1
    assert abs(film.facts["lufs"] + 14) <= 1
    assert film.facts["renderer"] == "remotion"


async def test_text_stands_inside_the_safe_zone_and_is_large_enough(film):
    """Of a caption at rest, no letter, outline or shadow leaves the zone, and it has the height of a caption."""
    (picture,) = lumas(film.file, 45 + 18 + 5)
    text = picture > 190

    rows, columns = np.flatnonzero(text.any(axis=1)), np.flatnonzero(text.any(axis=0))
    outline = np.argwhere(picture < 25)

    assert rows.size
    assert TOP <= rows[0] <= rows[-1] < 1920 - BOTTOM
    assert SIDE <= columns[0] <= columns[-1] < 1080 - SIDE
    assert TOP <= outline[:, 0].min() <= outline[:, 0].max() < 1920 - BOTTOM
    assert SIDE <= outline[:, 1].min() <= outline[:, 1].max() < 1080 - SIDE
    # Two lines of letters between 44 and 76 pixels.
    assert 44 * 1.5 <= rows[-1] - rows[0] <= 76 * 2.5
    assert abs((columns[0] + columns[-1]) / 2 - 540) <= 12


async def test_clips_dissolve_into_each_other(film):
    """In the middle of a transition the picture is half of each, and no text is left on it."""
    before, middle, after = (picture[1300:1480].mean() for picture in lumas(film.file, 44, 52, 61))

    assert min(before, after) < middle < max(before, after)
    (picture,) = lumas(film.file, 52)
    assert picture[TOP : 1920 - BOTTOM].max() < 190


@pytest.fixture(params=["kept apart", "beside us"])
def walls(request, tmp_path) -> dict[str, str]:
    """Settings with which a render has a network and processes of its own, where the machine can, or has not."""
    if request.param == "kept apart":
        return {}
    (broken := tmp_path / "bin" / "unshare").parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    return {"PATH": f"{broken.parent}:{os.environ['PATH']}"}


async def test_a_render_survives_the_death_of_the_service(walls, service, two_clips):
    """Killed in the middle and started again, it completes, as one film, and leaves nothing behind."""
    there = await service(**walls)
    if walls:
        assert (await there.asked("GET", "/health")).json()["isolated"] is False
    asked = order(two_clips)
    assert (await there.asked("POST", "/renders", json=asked)).status_code == 202
    await there.until("rnd_1", "rendering")
    for _ in range(600):
        if any("chrom" in process.name() for process in there.children()):
            break
        await asyncio.sleep(0.05)
    assert len(there.children()) > 1

    there.kill(signal.SIGKILL)
    for _ in range(100):
        if not there.children():
            break
        await asyncio.sleep(0.05)
    assert there.children() == []
    await there.start()

    assert (await there.asked("POST", "/renders", json=asked)).status_code == 200
    told = await there.until("rnd_1", "done", "failed", "lost")
    assert (told["state"], told["attempts"]) == ("done", 2)
    assert [path.name for path in (there.folder / "films").iterdir()] == ["rnd_1.mp4"]
    assert list((there.folder / "jobs").iterdir()) == []
    assert there.children() == []
    film = (await there.asked("GET", "/renders/rnd_1/file")).content
    assert hashlib.sha256(film).hexdigest() == told["output"]["sha256"]


async def test_the_end_is_told_signed_and_until_it_is_heard(service, two_clips, kept, outside):
    """The clips come from the API with its key; the end is told to the run, again after a 409, as one event."""
    heard: list[str] = []

    def rule(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if method == "GET":
            assert headers["x-api-key"] == "key of the API"
            digest = path.rsplit("/", 1)[1]
            return 200, (kept.folder / "sha256" / digest[:2] / digest).read_bytes()
        heard.append(path)
        return (409 if len(heard) < 2 else 200), b"{}"

    api = await outside(rule)
    there = await service(
        ARTIFACTS=f"{api.url}/v1/artifacts/",
        ARTIFACTS_KEY="key of the API",
        CALLBACK_BASE=api.url,
        CALLBACK_SECRET=SECRET,
    )
    await there.asked("POST", "/renders", json=order(two_clips, run_id=RUN))
    await there.until("rnd_1", "done", "failed")
    for _ in range(200):
        if len(heard) == 2:
            break
        await asyncio.sleep(0.1)

    assert heard == [f"/v1/webhooks/remotion?run_id={RUN}"] * 2
    told = [(headers, body) for method, _, headers, body in api.asked if method == "POST"]
    ids = {verify(headers, body, [parse_secret(SECRET)], now=datetime.now(UTC)) for headers, body in told}
    event = read_render_event(told[1][1])
    assert len(ids) == 1
    assert (event.render_id, event.status) == ("rnd_1", "completed")
    assert event.output_url == f"{there.url}/renders/rnd_1/file"
    assert json.loads(told[1][1])["run_id"] == RUN


async def test_a_request_is_one_render_whoever_repeats_it(service, two_clips):
    """Known is 200, other is 409, too many is 429; a cancelled render stays so, and its place is free again."""
    there = await service(QUEUE="1")
    asked = order(two_clips)

    async def post(body: dict[str, Any]) -> int:
        return (await there.asked("POST", "/renders", json=body)).status_code

    assert await post(asked) == 202
    assert await post(dict(reversed(asked.items()))) == 200
    assert await post({**asked, "composition": "aismr"}) == 409
    await there.until("rnd_1", "rendering")
    assert await post(order(two_clips, "rnd_2")) == 202
    assert await post(order(two_clips, "rnd_3")) == 429

    assert (await there.asked("DELETE", "/renders/rnd_2")).json()["state"] == "cancelled"
    assert (await there.asked("DELETE", "/renders/rnd_1")).json()["state"] == "cancelled"
    assert (await there.asked("DELETE", "/renders/rnd_1")).json()["error"]["code"] == "cancelled"
    assert (await there.asked("GET", "/renders/rnd_1/file")).status_code == 409
    assert (await there.asked("DELETE", "/renders/rnd_9")).status_code == 404
    assert there.children() == []
    assert list((there.folder / "jobs").iterdir()) == []
    there.kill(signal.SIGKILL)
    await there.start()
    assert (await there.asked("GET", "/renders/rnd_1")).json()["state"] == "cancelled"


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
    ids=["no such look", "unknown prop", "no colour", "id with a path", "no run", "unknown field", "no clips"],
)
async def test_what_fits_no_schema_is_refused(change, service, two_clips):
    """It is 422 with the place that is wrong, and nothing is kept of it."""
    there = await service()

    answer = await there.asked("POST", "/renders", json={**order(two_clips), **change})

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"
    assert list((there.folder / "renders").iterdir()) == []


async def test_a_clip_that_is_not_kept_ends_the_render(service, two_clips):
    """It is told as a failure at once; no address in a request can be read in its place."""
    there = await service()

    await there.asked("POST", "/renders", json=order([two_clips[0], "00" * 32]))

    assert (await there.until("rnd_1", "failed"))["error"]["code"] == "clip_missing"


async def test_a_clip_that_is_a_little_short_holds_its_last_picture(service, kept, client, tmp_path):
    """A maker of clips may be a quarter of a second off; the film keeps its length and does not go black."""
    digests = [kept.clip(luma=90, seconds=1.8), kept.clip(luma=120, seconds=1.8)]
    clips = [{"digest": digest, "seconds": 2.0} for digest in digests]
    request = Manifest(width=270, height=480, clips=clips, composition="aismr").model_dump()
    there = await service()

    film = await rendered(RemotionRenders(there.url, client), request, tmp_path)

    assert isinstance(film, Done), film
    first, last = lumas(film.file, 40, 104)
    assert last[200:220].mean() > first[200:220].mean() > 50


async def test_an_unreadable_record_is_lost_and_can_be_placed_again(service, two_clips):
    """It is never pending for ever."""
    there = await service()
    there.kill()
    (there.folder / "renders" / "rnd_1.json").write_text("{")
    await there.start()

    assert (await there.asked("GET", "/renders/rnd_1")).json()["state"] == "lost"
    assert (await there.asked("POST", "/renders", json=order(two_clips))).status_code == 202
    assert (await there.asked("DELETE", "/renders/rnd_1")).json()["state"] == "cancelled"


async def test_a_render_that_was_interrupted_three_times_failed(service, two_clips):
    """A render that takes the service with it does not do so for ever."""
    there = await service()
    await there.asked("POST", "/renders", json=order(two_clips))
    await there.until("rnd_1", "rendering")
    there.kill()
    record = there.folder / "renders" / "rnd_1.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "attempts": 3}))
    await there.start()

    told = (await there.asked("GET", "/renders/rnd_1")).json()
    assert (told["state"], told["error"]["code"]) == ("failed", "interrupted")


async def test_the_service_key_opens_the_doors(service, two_clips):
    """Everything but its health needs it, and a page in a browser gets nothing even so."""
    there = await service(SERVICE_KEY="open sesame")
    open_sesame = {"authorization": "Bearer open sesame"}

    assert (await there.asked("GET", "/health")).status_code == 200
    assert (await there.asked("POST", "/renders", json=order(two_clips))).status_code == 401
    assert (await there.asked("GET", "/renders/rnd_1/file")).status_code == 401
    assert (await there.asked("GET", "/renders/rnd_1", headers=open_sesame)).status_code == 404
    page = {**open_sesame, "origin": "http://example.com"}
    assert (await there.asked("GET", "/renders/rnd_1", headers=page)).status_code == 403


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ARTIFACTS": ""}, "ARTIFACTS"),
        ({"HOST": "0.0.0.0"}, "SERVICE_KEY"),
        ({"CALLBACK_BASE": "http://127.0.0.1:8000"}, "CALLBACK_SECRET"),
        ({"CALLBACK_BASE": "http://127.0.0.1:8000", "CALLBACK_SECRET": "whsec_c2hvcnQ="}, "CALLBACK_SECRET"),
        ({"CHROMIUM": "/no/such/browser"}, "CHROMIUM"),
        ({"PORT": "many"}, "PORT"),
    ],
    ids=["no clips", "open to all", "no secret", "short secret", "no browser", "no number"],
)
async def test_settings_that_cannot_work_are_named(settings, named, service):
    """It does not start, and says which setting is wrong."""
    with pytest.raises(AssertionError, match=f"{named}: "):
        await service(**settings)


async def test_while_it_renders_no_port_is_open_to_others(service, two_clips):
    """Remotion's own server, which fetches any address, is not reached from outside the render."""
    there = await service()
    await there.asked("POST", "/renders", json=order(two_clips))
    await there.until("rnd_1", "encoding", "done", "rendering")
    for _ in range(1200):
        if (await there.asked("GET", "/renders/rnd_1")).json()["progress"] > 0:
            break
        await asyncio.sleep(0.05)
    isolated = (await there.asked("GET", "/health")).json()["isolated"]

    async with httpx.AsyncClient() as outside:
        for host in ["127.0.0.1"] if isolated else []:
            with pytest.raises(httpx.ConnectError):
                await outside.get(f"http://{host}:3000/proxy?src={there.url}/health")
    await there.asked("DELETE", "/renders/rnd_1")
