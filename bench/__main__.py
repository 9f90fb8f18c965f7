"""`python -m bench [FIGURE]`: measure all figures, or one, and write RESULTS.md."""

import argparse
import asyncio
import sys
import time
from collections.abc import Collection
from contextlib import AsyncExitStack

import uvloop

from bench import command_line, paused_runs, request_rates, streams, whole_runs
from bench.aims import FIGURES
from bench.results import PATH, Result, write
from bench.stage import TINY, Effort, open_stage

ON_STAGE = (request_rates, whole_runs, paused_runs, streams)


async def measure(effort: Effort, figures: Collection[str], started: float) -> tuple[list[Result], str]:
    """Return the lines of these figures, and the version of Postgres. `started` is the time of the monotonic clock."""
    results: list[Result] = []
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(effort))
        if set(command_line.FIGURES) & set(figures):
            results += _report(await asyncio.to_thread(command_line.measure, effort, figures), started)
        if {"render", "remotion"} & set(figures):
            from bench import films  # only here: the other figures need no media libraries

            results += _report(await films.measure(effort, figures), started)
        for group in ON_STAGE:
            if set(group.FIGURES) & set(figures):
                results += _report(await group.measure(stage, figures), started)
        return results, stage.postgres


def _report(results: list[Result], started: float) -> list[Result]:
    for result in results:
        print(f"{time.monotonic() - started:4.0f} s {result}", flush=True)
    return results


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure speed beside yardsticks.")
    parser.add_argument("figure", nargs="?", choices=FIGURES, help="one figure; all without it")
    parser.add_argument("--tiny", action="store_true", help="only show that the programs work: nothing is written")
    options = parser.parse_args()
    figures, started = [options.figure] if options.figure else FIGURES, time.monotonic()
    results, postgres = uvloop.run(measure(TINY if options.tiny else Effort(), figures, started))
    if not options.tiny:
        write(results, postgres=postgres)
        print(f"{PATH.name} has these lines, after {time.monotonic() - started:.0f} s.", file=sys.stderr)


if __name__ == "__main__":
    main()
