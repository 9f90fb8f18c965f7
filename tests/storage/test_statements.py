"""The files of SQL, and the modules that use their statements."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage.database import FOLDER, read_statements

FILES = sorted(FOLDER.glob("*.sql"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_statement_is_used(file: Path) -> None:
    """A statement stands for itself in its module, or in another statement of its file."""
    module, text = file.parents[1].joinpath(f"{file.stem}.py").read_text(), file.read_text()
    names = re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)

    assert len(set(names)) == len(names)
    assert [name for name in names if f'sql["{name}"]' not in module and f"{{{name}}}" not in text] == []
    assert sorted(set(re.findall(r'sql\["(\w+)"\]', module)) - set(names)) == []


def test_statements_contain_those_above_them_and_parts_of_other_modules() -> None:
    """Names in braces are replaced; comments above a statement are left out, and other braces stay."""
    found = read_statements("ledger")

    assert found["release"].startswith(found["fail"])
    assert "coalesce(result, '{}')" in found["fail"]
    assert not any(text.startswith("--") or "{fail}" in text for text in found.values())
    assert "part of another" in read_statements("inbox", counts="part of another", costs_of_run="")["inbox"]
