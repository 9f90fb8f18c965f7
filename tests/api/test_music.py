"""Music: uploaded, set at the publish gate with a note on its licence, shown, approved and removed."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import av
import httpx
import numpy as np
import pytest

from tests.app import App, SandboxClient

PUBLISH = "awaiting_publish_approval"
LICENCE = "CC BY 4.0, Artist"


def wav(seconds: float = 2.0, hertz: float = 1_500) -> bytes:
    samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 48_000)) / 48_000)
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", 48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32_767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def upload(app: App, content: bytes, media_type: str = "audio/wav") -> httpx.Response:
    return app.client.post("/v1/artifacts", content=content, headers={"content-type": media_type})


def revise(app: App, run_id: str, music: Any, **fields: Any) -> httpx.Response:
    body = {"gate": "publish", "approved": False, "decision": "revise", "edits": {"music": music}, **fields}
    return app.client.post(f"/v1/runs/{run_id}/approve", json=body)


def clip_orders(app: App, run_id: str) -> list[Any]:
    return app.rows("select key, spent_usd from orders where run_id = %s and kind = 'clip' order by key", run_id)


@pytest.mark.slow
def test_a_sound_is_stored_as_flac(app: App) -> None:
    """The response describes the file that is stored; a form and a wrong audio type give the same one."""
    stored = upload(app, wav()).json()
    form = app.client.post("/v1/artifacts", files={"file": ("song.wav", wav(), "application/octet-stream")})
    file = app.client.get(stored["url"])

    assert stored["digest"] == hashlib.sha256(file.content).hexdigest()
    assert (stored["seconds"], stored["bytes"], file.headers["content-type"]) == (2.0, len(file.content), "audio/flac")
    assert stored["lufs"] == pytest.approx(-10, abs=6)
    assert form.json() == upload(app, wav(), "audio/mpeg").json() == stored


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"ID3" + bytes(5000), "audio_invalid"),
        (wav(0.05), "audio_too_short"),
        (b"RIFF" + bytes(32 << 20), "body_too_large"),
    ],
)
def test_an_unsuitable_sound_is_refused(app: App, content: bytes, code: str) -> None:
    before = app.rows("select count(*) from artifacts")
    answer = upload(app, content)

    assert (answer.status_code in (413, 422), answer.json()["error"]["code"]) == (True, code)
    assert app.rows("select count(*) from artifacts") == before


@pytest.fixture(scope="module")
def scored(app: App) -> tuple[App, dict[str, Any], dict[str, Any], str]:
    """A run before and after music was set, and the digest of the music."""
    digest = upload(app, wav()).json()["digest"]
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    before = app.until(run_id, PUBLISH)
    answer = revise(app, run_id, {"digest": digest, "licence": f" {LICENCE} "})
    assert answer.status_code == 200, answer.text
    return app, before, app.until(run_id, PUBLISH, revision=2), digest


def test_music_is_rendered_shown_and_approved(
    scored: tuple[App, dict[str, Any], dict[str, Any], str], sandbox: SandboxClient
) -> None:
    """The film is rendered again without a charge; gate, page, digest, manifest and publication have the music."""
    app, before, after, digest = scored
    run_id = before["run_id"]
    music = {"digest": digest, "licence": LICENCE}
    charged = sandbox.charges(run_id), clip_orders(app, run_id)

    assert "music" not in before["review"]["content"]
    assert after["review"]["content"]["music"] == music
    assert after["review"]["digest"] != before["review"]["digest"]
    assert after["review"]["content"]["film"]["digest"] != before["review"]["content"]["film"]["digest"]
    assert after["cost"]["spent_usd"] == before["cost"]["spent_usd"]
    assert len(charged[1]) == 1
    requests = app.rows("select request from orders where run_id = %s and kind = 'render' order by key", run_id)
    assert [each["request"].get("music") for each in requests] == [None, music]
    url = app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "publish"}).json()["url"]
    page = httpx.get(url, headers={"accept": "text/html"}).text
    assert f'Licence of the music</span> <span class="quiet" dir="auto">{LICENCE}</span>' in page

    app.decide(run_id, "publish")
    app.until(run_id, "completed")
    [decision] = app.rows(
        "select approved_digest from decisions where run_id = %s and verdict = 'approve' and gate = 'publish'", run_id
    )
    assert decision["approved_digest"] == after["review"]["digest"]
    assert (sandbox.charges(run_id), clip_orders(app, run_id)) == charged


@pytest.mark.slow
def test_music_needs_a_licence_and_an_uploaded_sound(app: App) -> None:
    """Each refusal names the field, changes nothing, and the gate stays open."""
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    app.until(run_id, PUBLISH)
    digest = upload(app, wav()).json()["digest"]
    film = app.run(run_id)["review"]["content"]["film"]["digest"]
    approval = {"approved": True, "decision": "approve"}
    answers = [
        revise(app, run_id, {"digest": digest}),
        revise(app, run_id, {"digest": digest, "licence": "  "}),
        revise(app, run_id, {"digest": digest, "licence": "x" * 201}),
        revise(app, run_id, {"digest": "song.mp3", "licence": LICENCE}),
        revise(app, run_id, digest),
        revise(app, run_id, {"digest": "f" * 64, "licence": LICENCE}),
        revise(app, run_id, {"digest": film, "licence": LICENCE}),
        revise(app, run_id, {"digest": digest, "licence": LICENCE}, **approval),
    ]

    assert [(each.status_code, each.json()["error"]["code"]) for each in answers] == [(422, "invalid_request")] * 8
    messages = [each.json()["error"]["message"] for each in answers]
    assert all("edits.music" in message for message in messages[:5]), messages
    assert messages[5] == f"Music: no uploaded audio has the digest {'f' * 12}…; upload it first."
    assert messages[7] == "Other music requires a new render: request changes instead."
    assert app.run(run_id)["revision"] == 1
