"""Crash harness: kill the processes of MyloWare at random failpoints and check the invariants afterwards."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.chaos.harness import run_harness
from tests.chaos.options import Options


def main() -> None:
    """Run the harness and print its report; the exit code is 1 if an invariant is violated."""
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)

    def add(name: str, help_text: str) -> None:
        default = getattr(defaults, name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help=f"{help_text} (default: %(default)s)")

    add("kills", "minimum number of killed processes")
    add("runs", "minimum number of started runs")
    add("seed", "seed of all random choices")
    add("max_minutes", "stop injecting faults after so many minutes")
    add("concurrent_runs", "maximum number of open runs")
    add("mean_lifetime_seconds", "mean lifetime of a process before its failpoint is armed")
    options = Options(**vars(parser.parse_args()))
    report = asyncio.run(run_harness(options, lambda line: print(line, flush=True)))
    print(report.text)
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
