"""A video model that cannot generate the clips of a project refuses this project, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from api.checked_settings import check_settings
from api.settings import SettingsError
from chat.tools import ToolRequest, list_projects
from tests.api.test_requests import error_details
from tests.app import PROFILES, App, SandboxClient, open_app, settings_for

#: A model that generates the clips of the project `tiny`, but not those of `pair` and `shorts`.
NARROW = PROFILES.replace("[1, 2, 3, 4, 8]", "[3]").replace('"180x320", "720x1280"', '"180x320"')


@pytest.fixture(scope="module")
def narrow(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[App]:
    """The product with the narrow model and without the project `shorts`."""
    profiles: Path = tmp_path_factory.mktemp("profiles") / "narrow.toml"
    profiles.write_text(NARROW)
    changes: dict[str, Any] = {"video_profiles": profiles, "offered_projects": ["aismr", "pair", "tiny"]}
    with open_app(postgres_server, migrated_template, sandbox_process, with_worker=False, **changes) as opened:
        yield opened


def start(app: App, project: str, **options: int) -> Any:
    return app.client.post("/v1/runs/start", json={"project": project, "brief": "Rain", "options": options})


def test_only_the_project_is_refused(narrow: App) -> None:
    """A start of it is a 409 with the reason; a project whose clips can be generated starts."""
    details = error_details(start(narrow, "pair"), 409, "project_refused")

    assert details == {"project": "pair", "reason": "video_seconds_unsupported"}
    assert error_details(start(narrow, "aismr"), 409, "project_refused")["reason"] == "video_seconds_unsupported"
    assert start(narrow, "tiny").status_code == 200


def test_the_list_of_projects_gives_the_reason(narrow: App) -> None:
    """Each refused project has a code and a sentence that names the model; projects that are not offered are absent."""
    listed = narrow.in_loop(list_projects(ToolRequest(narrow.state.services, cast("Any", None)))).value
    refused = {row["project"]: row.get("refused") for row in cast("list[dict[str, Any]]", listed)}

    assert refused["tiny"] is None
    assert refused["pair"] == {
        "code": "video_seconds_unsupported",
        "message": "sandbox-video generates clips of 3 seconds, not 2.",
    }
    assert sorted(refused) == ["aismr", "pair", "tiny"]


def test_a_project_that_is_not_offered_is_unknown(narrow: App) -> None:
    """Neither a start nor the list of known projects shows it."""
    details = error_details(start(narrow, "shorts"), 404, "project_not_found")

    assert details == {"projects": ["aismr", "pair", "tiny"]}


def test_an_offered_project_must_exist(tmp_path: Path, sandbox_process: SandboxClient) -> None:
    """A misspelt name in MYLOWARE_PROJECTS is reported at start, with the known names."""
    settings = settings_for("postgresql://unused", tmp_path, sandbox_process, offered_projects=["tinny"])

    with pytest.raises(SettingsError, match="MYLOWARE_PROJECTS: 'tinny' is unknown; choose from aismr, four"):
        check_settings(settings)
