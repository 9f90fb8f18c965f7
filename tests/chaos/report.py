"""Report of a harness run: counts, invariant violations and a final sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from providers.base import short_name
from tests.chaos.invariants import (
    Facts,
    duplicate_charges,
    duplicate_posts,
    forked_threads,
    lost_runs,
    repeated_takes,
)


@dataclass(frozen=True)
class Report:
    """Counts of a harness run and the violations it found.

    Attributes:
        kills: Processes killed by SIGKILL.
        freezes: Processes stopped by SIGSTOP and resumed later.
        restarts: Workers stopped by SIGTERM while their successors started.
        unplanned_exits: Processes that exited without a signal from the harness.
        outages: Database outages.
        retries: Retries that the actors requested.
        seconds: The duration.
        facts: The state of database and sandbox after the last run.
        violations: One sentence for each violation; empty if all invariants hold.
        unexpected_responses: Responses of the API that an actor did not expect.
        kills_by_failpoint: Kills by the failpoint at which they happened.
    """

    kills: int
    freezes: int
    restarts: int
    unplanned_exits: int
    outages: int
    retries: int
    seconds: float
    facts: Facts
    violations: Sequence[str]
    unexpected_responses: Sequence[str]
    kills_by_failpoint: Counter[str]

    @property
    def text(self) -> str:
        """Return the counts, one per line, then the violations, and the verdict as the last line."""
        lines = [f"{name:<28}{value:>8}" for name, value in self._rows()]
        lines += [f"VIOLATION: {text}" for text in self.violations]
        lines += [f"UNEXPECTED: {text}" for text in self.unexpected_responses]
        verdict = f"Invariant violations: {len(self.violations)}." if self.violations else "All invariants hold."
        return "\n".join([*lines, verdict])

    def _rows(self) -> list[tuple[str, int]]:
        facts = self.facts
        clips = [order for order in facts.orders if order["kind"] == "clip"]
        outcomes = Counter(
            run["status"] if run["status"] != "failed" else f"failed: {run['error']['code']}" for run in facts.runs
        )
        return [
            ("processes killed", self.kills),
            ("processes frozen", self.freezes),
            ("rolling restarts", self.restarts),
            ("unplanned exits", self.unplanned_exits),
            ("database outages", self.outages),
            ("runs started", len(facts.runs)),
            *((f"  {name}", count) for name, count in sorted(outcomes.items())),
            ("retries", self.retries),
            ("decisions", len(facts.decisions)),
            ("clips ordered", len([order for order in clips if order["called_at"]])),
            ("clips charged", len(facts.charges)),
            *((f"  by {name}", count) for name, count in sorted(_charges_by_provider(facts).items())),
            ("duplicate charges", len(duplicate_charges(facts)) + len(repeated_takes(facts))),
            ("posts", len(facts.posts)),
            ("duplicate posts", len(duplicate_posts(facts))),
            ("webhooks sent", facts.webhooks.get("sent", 0)),
            ("webhooks recorded", facts.webhooks.get("recorded", 0)),
            ("forked threads", len(forked_threads(facts))),
            ("lost runs", len(lost_runs(facts))),
            ("seconds", round(self.seconds)),
            *((f"kills at {name}", count) for name, count in sorted(self.kills_by_failpoint.items())),
        ]


def _charges_by_provider(facts: Facts) -> Counter[str]:
    """Return the number of charges of each provider, as far as an order has their task."""
    providers = {order["task_id"]: short_name(order["provider"]) for order in facts.orders if order["kind"] == "clip"}
    return Counter(providers[charge["video_id"]] for charge in facts.charges if charge["video_id"] in providers)
