"""The figures with their aims: the names that `make bench FIGURE=…` takes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Aim:
    """One line of RESULTS.md.

    Attributes:
        figure: The name of the figure; a figure can have several lines.
        case: What is measured.
        limit: The limit that counts.
        unit: The unit of the value; empty for a ratio.
        bound: Whether the limit is the lowest or the highest value.
    """

    figure: str
    case: str
    bound: Literal["≥", "≤"]
    limit: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.bound} {self.limit:g} {self.unit}".strip()

    def holds(self, value: float | None) -> bool:
        """Return whether the value is within the limit. A value that could not be measured is not."""
        if value is None:
            return False
        return value >= self.limit if self.bound == "≥" else value <= self.limit


AIMS = (
    Aim("webhook", "1 connection", "≥", 0.8),
    Aim("webhook", "16 connections", "≥", 0.8),
    Aim("get", "1 connection", "≥", 0.7),
    Aim("get", "16 connections", "≥", 0.7),
    Aim("list", "20 runs, 16 connections", "≥", 0.6),
    Aim("start", "16 connections", "≥", 0.4),
    Aim("create", "approval to the vendor's create, p95, idle", "≤", 150, "ms"),
    Aim("create", "approval to the vendor's create, p95, 16 runs at once", "≤", 400, "ms"),
    Aim("render-start", "last webhook to the start of the render, p50, idle", "≤", 50, "ms"),
    Aim("idle-run", "a run's own time from start to completed, p50, idle", "≤", 500, "ms"),
    Aim("runs", "16 at once", "≥", 0.3),
    Aim("runs", "64 at once", "≥", 0.3),
    Aim("cost", "statements per run", "≤", 200),
    Aim("cost", "stored bytes of a thread", "≤", 30, "kB"),
    Aim("cost", "CPU time of the server per run", "≥", 0.35),
    Aim("wake", "150 paused runs woken at once", "≥", 12, "runs/s"),
    Aim("wake", "5,000 drained: runs lost or starved", "≤", 0, "runs"),
    Aim("help", "myloware --help", "≤", 500, "ms"),
    Aim("render", "embedded ÷ ffmpeg in one pass, wall time", "≤", 1.0),
    Aim("render", "embedded ÷ ffmpeg in one pass, CPU time", "≤", 1.0),
    Aim("remotion", "Remotion ÷ embedded, the same clips, wall time", "≤", 3.0),
    Aim("paused", "memory of 5,000 paused runs", "≤", 5, "MB"),
    Aim("paused", "idle CPU of 5,000 paused runs", "≤", 1, "% of a core"),
    Aim("streams", "memory of 480 event streams", "≤", 60, "MB"),
    Aim("streams", "idle CPU of 480 event streams", "≤", 10, "% of a core"),
    Aim("streams", "an event to the client, p95, 480 streams", "≤", 500, "ms"),
)

FIGURES = tuple(dict.fromkeys(aim.figure for aim in AIMS))


def aims_of(figure: str) -> list[Aim]:
    """Return the lines of a figure."""
    return [aim for aim in AIMS if aim.figure == figure]
