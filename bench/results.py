"""Results, and the file RESULTS.md: one line for each, which ends in `met` or `missed`."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.aims import AIMS, Aim

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "bench" / "RESULTS.md"
HEADING = "| Figure | | Value | Aim | Ours | Yardstick | | |\n|---|---|---|---|---|---|---|---"
ROW = re.compile(r"^\| (?P<figure>\S+) \| (?P<case>[^|]+) \|.*\| (?P<outcome>met|missed)$")


@dataclass(frozen=True)
class Result:
    """The value of one line, with what it was computed from. None stands for a value that could not be measured."""

    aim: Aim
    value: float | None
    ours: str = "–"
    yardstick: str = "–"
    note: str = ""

    def __str__(self) -> str:
        value = "–" if self.value is None else f"**{_number(self.value)}** {self.aim.unit}".strip()
        outcome = "met" if self.aim.holds(self.value) else "missed"
        cells = (self.aim.figure, self.aim.case, value, str(self.aim), self.ours, self.yardstick, self.note, outcome)
        return "| " + " | ".join(cells)


def ratio(
    aim: Aim, ours: Sequence[float], yardstick: Sequence[float], unit: str, *, note: str = "", inverse: bool = False
) -> Result:
    """Return the median of the ratios of the rounds, with `inverse` of yardstick ÷ ours.

    `ours` and `yardstick` are the values of rounds that were measured alternately.
    """
    pairs = zip(yardstick, ours, strict=True) if inverse else zip(ours, yardstick, strict=True)
    shares = [above / below for above, below in pairs]
    spread = f"{min(shares):.2f} to {max(shares):.2f} in {len(shares)} rounds"
    own, other = (f"{_number(median(values))} {unit}" for values in (ours, yardstick))
    return Result(aim, median(shares), own, other, f"{spread}; {note}" if note else spread)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def write(results: Iterable[Result], *, postgres: str, path: Path = PATH) -> None:
    """Write the results, in the order of the aims. Lines of figures that were not measured now stay as they are."""
    rows = {row["figure"] + row["case"]: row[0] for row in map(ROW.match, _lines(path)) if row}
    rows |= {result.aim.figure + result.aim.case: str(result) for result in results}
    ordered = [rows[aim.figure + aim.case] for aim in AIMS if aim.figure + aim.case in rows]
    path.write_text("\n".join([*_head(postgres), HEADING, *ordered]) + "\n")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _head(postgres: str) -> list[str]:
    return [
        "# Speed",
        "",
        "Written by `make bench`: ours and its yardstick alternately in one run, the median of the rounds. A ratio is",
        "ours ÷ yardstick, of CPU time yardstick ÷ ours; more is better, except for renders. The programs are in this",
        "folder.",
        "",
        f"- machine: {os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} at the end",
        f"- Python {platform.python_version()}, Postgres {postgres}",
        f"- commit {_commit()}, {datetime.now(UTC):%Y-%m-%d}",
        "",
    ]


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"
