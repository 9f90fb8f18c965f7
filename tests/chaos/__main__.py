"""python -m tests.chaos: kill it again and again, and see that nothing is lost, paid twice or posted twice."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.chaos.harness import Wanted, chaos


def main() -> None:
    """Run the harness and print its table; the exit code is 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="processes killed, at least (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=100, help="runs started, at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of every choice the harness makes")
    parser.add_argument("--minutes", type=float, default=60, help="stop killing after so long (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=6, help="runs under way at a time (default: %(default)s)")
    parser.add_argument("--life", type=float, default=8, help="mean life of a process in seconds")
    options = parser.parse_args()
    wanted = Wanted(
        kills=options.kills,
        runs=options.runs,
        seed=options.seed,
        minutes=options.minutes,
        at_once=options.at_once,
        life=options.life,
    )
    report = asyncio.run(chaos(wanted, lambda line: print(line, flush=True)))
    print(report.table)
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()
