"""Projects of one process that publish at different places, and whose publisher changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api.checked_settings import check_settings
from api.settings import Settings
from api.settings_types import SettingsError
from api.wiring import open_publishers
from providers.base import Files
from tests.app import TINY_PROJECT, App, SandboxClient, settings_for
from tests.databases import fresh_database

#: Projects with their publishers.
PUBLISHERS = {"branded": "upload_post:studio", "kept": "folder"}


class NoFiles(Files):
    """No film is opened."""


def write_project(settings: Settings, name: str, publisher: str) -> None:
    assert settings.projects_dir is not None
    text = TINY_PROJECT.replace("platforms:", f"publisher: {publisher}\nplatforms:")
    (settings.projects_dir / f"{name}.md").write_text(text)


@pytest.fixture
def settings(
    postgres_server: str, migrated_template: str, sandbox: SandboxClient, tmp_path: Path
) -> Iterator[Settings]:
    """Settings with Upload-Post as the publisher, and the projects."""
    with contextmanager(fresh_database)(postgres_server, migrated_template) as dsn:
        found = settings_for(dsn, tmp_path, sandbox)
        for name, publisher in PUBLISHERS.items():
            write_project(found, name, publisher)
        yield found


def review_of(app: App, run_id: str, revision: int = 1) -> tuple[str, str]:
    """Return the publisher that the publish gate shows, and the digest of the film."""
    review = app.until(run_id, "awaiting_publish_approval", seconds=100, revision=revision)["review"]
    return review["content"]["publisher"], review["content"]["film"]["digest"]


def users_of(sandbox: SandboxClient, digest: str) -> list[str]:
    return [post["user"] for post in sandbox.posts(digest)]


def kept_films(settings: Settings) -> int:
    return len(list((settings.data_dir / "published").glob("*/film.mp4")))


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_each_film_is_posted_once_where_its_project_says(settings: Settings, sandbox: SandboxClient) -> None:
    """A project that changes its publisher reopens the gate; what was posted before is followed where it is."""
    server = f"upload_post:{sandbox.url.removeprefix('http://')}/api"
    with App(settings, sandbox) as app:
        runs = {name: app.start(f"Rain on {name} windows", name) for name in PUBLISHERS}
        for run_id in runs.values():
            app.until(run_id, "awaiting_ideation_approval")
            app.decide(run_id, "ideation")
        reviews = {name: review_of(app, run_id) for name, run_id in runs.items()}
        publishers = [publisher for publisher, _ in reviews.values()]
        assert publishers == [f"{server}:studio", "folder"]

        sandbox.fault("upload_status_500", times=None)
        app.decide(runs["branded"], "publish")
        deadline = time.monotonic() + 30
        while not users_of(sandbox, reviews["branded"][1]):
            assert time.monotonic() < deadline, "branded was not posted"
            time.sleep(0.1)

    # The projects of the next processes do not name the account `studio` any more.
    write_project(settings, "branded", "folder")
    write_project(settings, "kept", "upload_post")
    with App(settings, sandbox) as app:
        app.decide(runs["kept"], "publish")
        publisher, digest = review_of(app, runs["kept"], revision=2)
        assert (publisher, sandbox.posts(digest)) == (f"{server}:myloware", [])
        sandbox.clear()
        app.until(runs["branded"], "completed")
    write_project(settings, "kept", "folder")
    with App(settings, sandbox) as app:
        app.decide(runs["kept"], "publish")
        assert review_of(app, runs["kept"], revision=3)[0] == "folder"
        app.decide(runs["kept"], "publish")
        app.until(runs["kept"], "completed")

    assert [users_of(sandbox, digest) for _, digest in reviews.values()] == [["studio"], []]
    assert kept_films(settings) == 1


async def test_a_project_needs_the_key_of_its_publisher(tmp_path: Path, sandbox: SandboxClient) -> None:
    """With folder and key, the folder is for projects that name no publisher."""
    both = settings_for("postgresql://unused", tmp_path, sandbox, publish_folder=tmp_path / "films")
    write_project(both, "branded", "upload_post:studio")
    async with httpx.AsyncClient() as client:
        opened = open_publishers(both, NoFiles(), client, ["upload_post:studio"])
    assert list(opened) == ["folder", "upload_post", "upload_post:studio"]
    assert check_settings(both).projects["branded"].publisher == "upload_post:studio"
    without_key = both.model_copy(update={"upload_post_url": None, "upload_post_api_key": None})
    with pytest.raises(SettingsError, match=r"^branded.md: publisher: upload_post:studio needs UPLOAD_POST_API_KEY"):
        check_settings(without_key)
