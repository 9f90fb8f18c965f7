"""help: the time of `myloware --help` beside the import of bare FastAPI."""

import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median

from bench.aims import aims_of
from bench.results import ROOT, Result
from bench.stage import Effort

FIGURES = ("help",)


def measure(effort: Effort, figures: Collection[str]) -> list[Result]:
    """Return the line of the figure."""
    ours, bare = [str(Path(sys.executable).with_name("myloware")), "--help"], [sys.executable, "-c", "import fastapi"]
    rounds = [(_seconds(ours), _seconds(bare)) for _ in range(effort.rounds + 1)][1:]
    own, other = (1000 * median(values) for values in zip(*rounds, strict=True))
    [aim] = aims_of("help")
    return [Result(aim, own, f"{own:.0f} ms", f"{other:.0f} ms to import FastAPI")]


def _seconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
