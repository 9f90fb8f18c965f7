"""Every shell block of the documentation works as written, or says why no test executes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from shell_blocks import PAGES, ROOT, SHELL, Block, blocks, shell_blocks

from api.schemas import ApproveRequest
from tests.app import App

#: What a block that is no shell block contains.
LANGUAGES = ("json", "mermaid", "nginx", "text", "yaml")
#: A command in an indented block, which has no place for a mark.
INDENTED = re.compile(r"\n\n {4,}(?:\$ |make |npm |curl |myloware |python |\.venv/|docker |git )\S")
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_shell_block_is_marked(page: Path) -> None:
    """The line before it is `<!-- run -->`, `<!-- slow: reason -->` or `<!-- by hand: reason -->`."""
    found = list(blocks(page))

    assert [f"line {each.line}" for each in found if each.language in SHELL and each.mark is None] == []
    assert [f"line {each.line}" for each in found if each.language not in (*SHELL, *LANGUAGES)] == []
    assert INDENTED.findall((ROOT / page).read_text()) == []


def test_an_unmarked_block_is_found(tmp_path: Path) -> None:
    """A mark without a reason, or one that is not directly before the block, is none."""
    page = tmp_path / "page.md"
    fence = "```bash\nls\n```\n"
    page.write_text(f"{fence}\n<!-- slow: -->\n{fence}\n<!-- run -->\n\n{fence}\n<!-- run -->\n{fence}")

    assert [(block.line, block.mark) for block in blocks(page)] == [(1, None), (6, None), (12, None), (17, "run")]


@pytest.fixture(scope="module")
def environment(app: App) -> dict[str, str]:
    """The environment of a person with a database that has a run, at the root of the repository."""
    app.start("a relaxing rain video")
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**inherited, "DATABASE_URL": app.dsn, "MYLOWARE_DATA_DIR": str(app.settings.data_dir)}


@pytest.mark.skipif((ROOT / ".env").exists(), reason="the commands would read .env, which may name real providers")
@pytest.mark.parametrize("block", shell_blocks("run"), ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_works_as_written(environment: dict[str, str], block: Block) -> None:
    """No command of it fails."""
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)

    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout


def test_blocks_are_executed() -> None:
    """There are blocks of both kinds, and the slow ones are on the pages that `test_quickstart` executes."""
    executed = {"README.md", "docs/tutorials/quickstart.md"}

    assert {str(block.page) for block in shell_blocks("slow")} == executed
    assert shell_blocks("run") != []
    assert shutil.which("bash") is not None


def test_the_requests_of_the_review_table_are_valid() -> None:
    """What the table says to send at the publish gate is a request together with the fields named before it."""
    section = README.partition("### Review and revise")[2].partition("\n###")[0]
    [common] = re.findall(r"At the\s+publish gate, with `([^`]+)`:", section)
    rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)

    assert len(rows) == 7
    for row in rows:
        request = ApproveRequest.model_validate(json.loads(f'{{"gate": "publish", {common}, {row}}}'))
        assert request.as_input().verdict == "revise"
