"""The SQL of this package: a file for each module in the folder `sql`, a name above each statement."""

import re
from pathlib import Path
from typing import LiteralString

FOLDER = Path(__file__).with_name("sql")


def read_statements(module: str, **parts: LiteralString) -> dict[str, LiteralString]:
    """Return the statements of a module by name.

    In the file `{name}` stands for the statement of that name above it, or for one of the `parts` of other modules.
    """
    _, *named = re.split(r"^-- name: (\w+)\n", (FOLDER / f"{module}.sql").read_text(encoding="utf-8"), flags=re.M)
    found: dict[str, LiteralString] = {}
    for name, text in zip(named[::2], named[1::2], strict=True):
        statement = re.sub(r"^-- .*\n", "", text, flags=re.M).strip()
        for part, value in {**parts, **found}.items():
            statement = statement.replace(f"{{{part}}}", value)
        found[name] = statement
    return found
