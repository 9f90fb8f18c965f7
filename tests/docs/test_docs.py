"""The documentation agrees with the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from api.settings import variables

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted(page.relative_to(ROOT) for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
STALE = "run `make docs`"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_is_described(build: ModuleType) -> None:
    """Every setting has a description, and every description has a setting."""
    assert sorted(name for name, _, _ in build.described() if name != "#") == sorted(variables())


def test_env_example(build: ModuleType) -> None:
    """`.env.example` contains every setting, commented out."""
    text = (ROOT / ".env.example").read_text()

    assert text == build.env_example(), STALE
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []
    assert set(re.findall(r"^#([A-Z0-9_]+)=", text, re.MULTILINE)) == set(variables())


@pytest.mark.parametrize("part", ["settings_table", "diagram", "commands_table", "targets_table"])
def test_readme_is_fresh(build: ModuleType, part: str) -> None:
    """Settings, diagram, commands and make targets in the README are those of the code."""
    assert getattr(build, part)() in README, STALE


def test_every_kind_of_video_server_is_described(build: ModuleType) -> None:
    """The table has a row for each kind of server, and is that of the profiles."""
    page = (ROOT / "docs/video-servers.md").read_text()

    assert set(build.CREATES) == set(build.video_kinds())
    assert build.video_servers_table() in page, STALE
    for kind, profile in build.video_kinds().items():
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{kind}` |")]
        assert profile.lookup_proof in row
        for name in (*profile.create_headers, *profile.create_fields):
            assert f"`{name}: " in row


def test_licences(build: ModuleType) -> None:
    """The list names every locked package, and each with a licence."""
    page = (ROOT / "docs/licences.md").read_text()

    assert page == build.licences(page), STALE
    assert [line for line in page.splitlines() if line.endswith(("| None |", "| UNKNOWN |", "|  |"))] == []


def test_every_command_is_in_the_readme(build: ModuleType) -> None:
    """The README lists every command of `myloware`."""
    assert [name for name in build.commands() if f"`{name}`" not in README] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_relative_links_lead_to_files(page: Path) -> None:
    """Every relative link of a page leads to an existing file."""
    text = (ROOT / page).read_text()
    links = [*re.findall(r"\]\(([^)#\s]+)", text), *re.findall(r'src="([^"]+)"', text)]
    files = [link for link in links if "://" not in link]

    assert [link for link in files if not (ROOT / page.parent / link).exists()] == []


def test_pages_with_checked_links() -> None:
    """The links of the contribution guide and of all pages below `docs` are checked."""
    assert {Path("CONTRIBUTING.md"), Path("docs/architecture.md"), Path("docs/tutorials/quickstart.md")} <= set(PAGES)


def test_every_package_is_in_the_readme() -> None:
    """The README lists every package of the program."""
    packages = [folder.parent.name for folder in ROOT.glob("*/__init__.py") if folder.parent.name != "tests"]

    assert [name for name in packages if f"| [{name}]({name}) |" not in README] == []
