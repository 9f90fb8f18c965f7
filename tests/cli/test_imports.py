"""Commands import only the packages that their work needs, so that they start fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import environment, settings_of

from tests.app import App

#: Runs a command and prints the packages that it imported, as the last line.
PROGRAM = """
import json, sys
from cli.main import app
try:
    app(sys.argv[1:])
finally:
    packages = {name.partition(".")[0] for name in sys.modules if not name.startswith("_")}
    print(json.dumps(sorted(packages - sys.stdlib_module_names)))
"""
#: What prints a help text: the declarations of the commands, and Typer with what it imports.
HELP_PACKAGES = {
    *(
        "cli",
        "graph",
        "storage",
        "typer",
        "annotated_doc",
        "shellingham",
        "rich",
        "markdown_it",
        "mdurl",
        "pygments",
        "attr",
    ),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
}
#: What a command that reads runs has no use for.
LARGE_PACKAGES = {
    *("av", "fastapi", "langchain_core", "langchain_openai", "langgraph", "langsmith", "mcp", "numpy", "openai"),
    *("obstore", "starlette", "uvicorn"),
}


def imported_by(*arguments: str, cwd: Path, **settings: str) -> set[str]:
    """Return the packages outside the standard library that a command imports."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    result = subprocess.run(command, cwd=cwd, env=environment(**settings), capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("make", "--help"), ("runs", "approve", "--help")], ids=" ".join)
@pytest.mark.slow
def test_a_help_text_imports_only_what_prints_it(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """No server, no graph, no model client, no database driver, no media library."""
    imported = imported_by(*arguments, cwd=tmp_path)

    assert imported - HELP_PACKAGES == set()
    assert {"cli", "typer"} <= imported


@pytest.mark.slow
def test_reading_runs_imports_no_large_package(app: App, tmp_path: Path) -> None:
    """`runs list` needs the settings and the database."""
    imported = imported_by("runs", "list", cwd=tmp_path, **settings_of(app))

    assert imported & LARGE_PACKAGES == set()
    assert {"psycopg", "pydantic", "runs"} <= imported
