"""The shell blocks of the documentation, and how each is marked in the comment before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page.relative_to(ROOT) for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("remotion/*.md")]
)
#: `<!-- run -->`, `<!-- slow: reason -->` or `<!-- by hand: reason -->`.
MARK = re.compile(r"<!-- (?:(?P<run>run)|(?P<mark>slow|by hand): (?P<reason>\S.*)) -->")
SHELL = ("bash", "console", "sh", "shell")


@dataclass(frozen=True)
class Block:
    """A fenced block. `mark` is run, slow or by hand, or None if the line before it is no mark."""

    page: Path
    line: int
    language: str
    text: str
    mark: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    lines = (ROOT / page).read_text().splitlines()
    numbers = iter(range(len(lines)))
    for start in numbers:
        if not lines[start].lstrip().startswith("```"):
            continue
        end = next(number for number in numbers if lines[number].strip() == "```")
        found = MARK.fullmatch(lines[start - 1].strip()) if start else None
        mark = (found["run"] or found["mark"]) if found else None
        text = "\n".join(lines[start + 1 : end])
        yield Block(page, start + 1, lines[start].strip().removeprefix("```"), text, mark)


def shell_blocks(mark: str, page: str = "") -> list[Block]:
    """Return the shell blocks with this mark, of one page or of all."""
    found = [block for each in PAGES if page in ("", str(each)) for block in blocks(each)]
    return [block for block in found if block.language in SHELL and block.mark == mark]
