"""The wheel contains everything that the program needs: it makes a film in an empty folder."""

import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from terminals import run_command

from tests.app import one_clip_shorts

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def myloware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, installed from its wheel into an environment of its own, with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    [packages] = (folder / "env").glob("lib/python*/site-packages")
    # A path in a file of this kind makes packages importable, but not what is installed there as editable.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.with_name("myloware")


def run(program: Path, folder: Path, *arguments: str, **settings: str) -> str:
    done = run_command(*arguments, cwd=folder, program=program, seconds=280, PYTHONPATH="", **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_version(myloware: Path, tmp_path: Path) -> None:
    """The version is that of the project file."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert run(myloware, tmp_path, "--version") == f"myloware {version}\n"


def test_film(myloware: Path, tmp_path: Path) -> None:
    """A film is made, with nothing of the checkout in reach."""
    code = "import cli, prompts, sandbox; print(cli.__file__, prompts.__file__, sandbox.__file__)"
    places = run(myloware.with_name("python"), tmp_path, "-c", code).split()

    # Of the project of the wheel, under another name: --sandbox replaces no built-in one.
    projects = one_clip_shorts(tmp_path / "projects", "small", built_in=Path(places[1]).with_name("projects"))
    run(myloware, tmp_path, "make", "a quiet harbour", "--sandbox", "--yes", "--project", "small", **projects)

    assert all(Path(place).is_relative_to(myloware.parents[1]) for place in places)
    assert list(tmp_path.rglob("*.mp4"))
