"""The plots of the soak read the queries of the alert file."""

from __future__ import annotations

from pathlib import Path

from bench.alert_plots import Prometheus, Series, read_rules


async def test_each_alert_has_a_panel(tmp_path: Path) -> None:
    """With its query, its threshold, its values, and the times at which it fired."""
    queries: list[str] = []

    class Recorded(Prometheus):
        async def range(self, query: str) -> list[Series]:
            queries.append(query)
            return [Series("", [(self.started_at, 1.0), (self.started_at + 60, 2.0)])]

    await Recorded("http://127.0.0.1:9").plot(tmp_path / "soak.svg")

    rules, drawn = read_rules(), (tmp_path / "soak.svg").read_text()
    assert [rule.name for rule in rules if rule.threshold is None] == ["MyloWareGone"]
    assert {rule.query for rule in rules} <= set(queries)
    assert "max by (queue) (myloware_oldest_wakeup_seconds)" in queries
    assert [rule.name for rule in rules if f">{rule.name}<" not in drawn] == []
