"""Every film is signed before its publish gate, which shows it, and none is published unsigned."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import c2pa
import psycopg
import pytest
from rich.console import Console

from api.settings import Settings
from cli.display import print_review
from graph.review_content import parse_content
from providers.base import Json, Progress
from providers.media.certificates import DEVELOPMENT_NAME
from providers.renders.embedded import EmbeddedRenders
from providers.results import PollResult, Succeeded
from tests.app import TINY_PROJECT, App, SandboxClient, settings_for
from tests.databases import fresh_database


@pytest.fixture
def settings(
    postgres_server: str, migrated_template: str, sandbox: SandboxClient, tmp_path: Path
) -> Iterator[Settings]:
    """Settings of a database of their own, with projects that publish to a folder, with and without a mark."""
    with contextmanager(fresh_database)(postgres_server, migrated_template) as dsn:
        found = settings_for(dsn, tmp_path, sandbox, publish_folder=tmp_path / "published")
        assert found.projects_dir is not None
        text = TINY_PROJECT.replace("platforms:", "publisher: folder\nplatforms:")
        (found.projects_dir / "kept.md").write_text(text)
        yield found


def to_gate(app: App, project: str = "tiny", *, revision: int = 1) -> tuple[str, dict[str, Any]]:
    """Bring a run to its publish gate, and return its id and the content of the review."""
    run_id = app.start(project=project)
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    review = app.until(run_id, "awaiting_publish_approval", seconds=100, revision=revision)["review"]
    return run_id, review["content"]


def state_of(film: bytes) -> str:
    """Return what the library's own reader says of a film."""
    with c2pa.Reader("video/mp4", io.BytesIO(film)) as reader:
        return str(reader.get_validation_state())


def stored(app: App, digest: str) -> Path:
    return app.settings.data_dir / "artifacts" / "sha256" / digest[:2] / digest


@pytest.mark.slow
def test_the_gate_shows_the_mark_and_the_labels(app: App, sandbox: SandboxClient) -> None:
    """The film that is approved is the signed one: the store, the download and the post have the same bytes."""
    run_id, content = to_gate(app)
    digest = content["film"]["digest"]
    downloaded = app.client.get(f"/v1/artifacts/{digest}").content
    app.decide(run_id, "publish")
    app.until(run_id, "completed")

    assert content["film"]["c2pa"] == {
        "signed_by": DEVELOPMENT_NAME,
        "development": True,
        "source_type": "algorithmicMedia",
    }
    assert (content["labels"], content["disclosure"]) == (
        {"tiktok": "is_aigc", "youtube": "containsSyntheticMedia"},
        "required",
    )
    assert state_of(downloaded) == "Valid"
    assert stored(app, digest).read_bytes() == downloaded
    assert len(sandbox.posts(digest)) == 1
    with c2pa.Reader("video/mp4", io.BytesIO(downloaded)) as reader:
        found = json.loads(reader.json())
    [ingredient] = found["manifests"][found["active_manifest"]]["ingredients"]
    assert ingredient["metadata"]["myloware.provider"] == "videos"
    assert ingredient["metadata"]["myloware.model"] == "sandbox-video"
    assert stored(app, ingredient["metadata"]["myloware.sha256"]).exists()


@pytest.mark.slow
def test_a_platform_without_a_label_is_named(settings: Settings, sandbox: SandboxClient) -> None:
    """The reviewer reads of each platform which flag it gets, or that it takes none, and that the film is marked."""
    assert settings.projects_dir is not None
    text = TINY_PROJECT.replace("[tiktok, youtube]", "[youtube, linkedin]")
    (settings.projects_dir / "spread.md").write_text(text)
    settings = settings.model_copy(update={"publish_folder": None})
    with App(settings, sandbox) as app:
        run_id, content = to_gate(app, "spread")
        printed = io.StringIO()
        print_review(Console(file=printed, width=200), parse_content(content))

        assert content["labels"] == {
            "youtube": "containsSyntheticMedia",
            "linkedin": "no label: this platform takes none",
        }
        assert "linkedin: no label: this platform takes none" in printed.getvalue()
        assert "Marked as algorithmicMedia by a C2PA manifest, signed by MyloWare dev" in printed.getvalue()
        assert app.run(run_id)["review"]["content"] == content


@pytest.mark.slow
def test_the_published_copy_of_the_folder_is_signed(settings: Settings, sandbox: SandboxClient) -> None:
    """It has the digest that was approved."""
    with App(settings, sandbox) as app:
        run_id, content = to_gate(app, "kept")
        app.decide(run_id, "publish")
        app.until(run_id, "completed")
    [film] = (settings.publish_folder or Path()).glob("*/film.mp4")

    assert state_of(film.read_bytes()) == "Valid"
    assert json.loads(film.with_name("post.json").read_text())["digest"] == content["film"]["digest"]


@pytest.mark.slow
def test_a_film_with_a_changed_byte_is_not_published(app: App, sandbox: SandboxClient) -> None:
    """The signature does not hold, the run fails with a reason, and nothing is posted."""
    run_id, content = to_gate(app)
    path = stored(app, content["film"]["digest"])
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    app.decide(run_id, "publish")
    error = app.until(run_id, "failed")["error"]

    assert state_of(bytes(changed)) == "Invalid"
    assert error["code"] == "artifact_changed"
    assert sandbox.posts(content["film"]["digest"]) == []


class CarelessRenders(EmbeddedRenders):
    """A renderer that changes a byte of each film after it was signed."""

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        result = await super().poll(task_id, request, into=into, progress=progress)
        if isinstance(result, Succeeded):
            content = bytearray(result.file.read_bytes())
            content[len(content) // 2] ^= 1
            result.file.write_bytes(content)
        return result


@pytest.mark.slow
def test_a_film_whose_signature_does_not_hold_is_not_published(
    settings: Settings, sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored as it came, and the run fails with the reason; nothing is posted."""
    monkeypatch.setattr("api.wiring.EmbeddedRenders", CarelessRenders)
    with App(settings.model_copy(update={"publish_folder": None}), sandbox) as app:
        run_id, content = to_gate(app)
        app.decide(run_id, "publish")
        error = app.until(run_id, "failed")["error"]

        assert (error["code"], "Nothing was posted" in error["message"]) == ("film_mark_invalid", True)
        assert app.rows("select from orders where run_id = %s and kind = 'publication'", run_id) == []
    assert sandbox.posts(content["film"]["digest"]) == []


@pytest.mark.slow
def test_a_renderer_that_does_not_sign_is_asked_once(
    settings: Settings, sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second film stays at the gate, and its publication is refused."""
    monkeypatch.setattr("api.wiring.FilmSigner", lambda *_: None)
    with App(settings.model_copy(update={"publish_folder": None}), sandbox) as app:
        run_id = app.start()
        app.until(run_id, "awaiting_ideation_approval")
        app.decide(run_id, "ideation")
        review = app.until(run_id, "awaiting_publish_approval", revision=2)["review"]
        app.decide(run_id, "publish", digest=review["digest"])
        error = app.until(run_id, "failed")["error"]

        assert error["code"] == "film_not_marked"
        verdicts = app.rows("select actor_id, verdict from decisions where run_id = %s and gate = 'publish'", run_id)
        assert [row["verdict"] for row in verdicts] == ["revise", "approve"]
        assert len(app.rows("select from orders where run_id = %s and kind = 'render'", run_id)) == 2
        assert app.rows("select from orders where run_id = %s and kind = 'publication'", run_id) == []


@contextmanager
def earlier_version(app_settings: Settings, sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Run the product as it was before it signed films, on the same database."""
    with monkeypatch.context() as patch:
        patch.setattr("api.wiring.FilmSigner", lambda *_: None)
        patch.setattr("runs.advance._request_signature", _no_request)
        patch.setattr("graph.nodes.film.with_disclosure", lambda post, *_: {**post, "labels": {}, "disclosure": None})
        with App(app_settings, sandbox) as app:
            yield app


async def _no_request(*_: object) -> bool:
    return False


def migrate_again(dsn: str) -> None:
    """Bring the database back to the version before the migration that marks what was approved before."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop table unsigned_approvals")
        connection.execute("delete from schema_history where name = 'myloware/0009_signed_films.sql'")


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_film_at_an_open_gate_is_signed_after_the_upgrade(
    settings: Settings, sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gate opens again with the signed film; what was approved before the upgrade is published as it was."""
    settings = settings.model_copy(update={"publish_folder": None})
    with earlier_version(settings, sandbox, monkeypatch) as app:
        waiting, old = to_gate(app)
        approved, film = to_gate(app)
        dsn = app.dsn
    # Approved, and nothing more: no worker has seen it.
    with App(settings, sandbox, with_worker=False) as app:
        app.decide(approved, "publish", digest=app.run(approved)["review"]["digest"])
    migrate_again(dsn)
    with App(settings, sandbox) as app:
        app.until(approved, "completed")
        review = app.until(waiting, "awaiting_publish_approval", revision=2)["review"]
        history = app.client.get(f"/v1/runs/{waiting}/history").json()["entries"]
        signed = app.client.get(f"/v1/artifacts/{review['content']['film']['digest']}").content
        app.decide(waiting, "publish", digest=review["digest"])
        app.until(waiting, "completed")

    assert "c2pa" not in old["film"]
    assert len(sandbox.posts(film["film"]["digest"])) == 1
    assert sandbox.posts(old["film"]["digest"]) == []
    assert len(sandbox.posts(review["content"]["film"]["digest"])) == 1
    assert review["content"]["labels"]
    assert state_of(signed) == "Valid"
    assert "upgrade" in json.dumps(history)


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_an_unsigned_film_that_is_approved_after_the_upgrade_is_signed_first(
    settings: Settings, sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision that was quicker than the upgrade publishes nothing unsigned, unless the project allows it."""
    settings = settings.model_copy(update={"publish_folder": None})
    assert settings.projects_dir is not None
    text = TINY_PROJECT.replace("platforms:", "disclosure: optional\nplatforms:")
    (settings.projects_dir / "free.md").write_text(text)
    with earlier_version(settings, sandbox, monkeypatch) as app:
        run_id, old = to_gate(app)
        free, film = to_gate(app, "free")
    with App(settings, sandbox, with_worker=False) as app:
        for each in (run_id, free):
            app.decide(each, "publish", digest=app.run(each)["review"]["digest"])
    with App(settings, sandbox) as app:
        app.until(free, "completed")
        review = app.until(run_id, "awaiting_publish_approval", revision=2)["review"]

    assert sandbox.posts(old["film"]["digest"]) == []
    assert len(sandbox.posts(film["film"]["digest"])) == 1
    assert review["content"]["film"]["c2pa"]["source_type"] == "algorithmicMedia"
