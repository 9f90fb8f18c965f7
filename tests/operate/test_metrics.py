"""Metrics: those that alerts and pages name exist, and they show what happens."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from api import monitoring
from storage import metrics
from tests.app import App, SandboxClient, open_app
from tests.operate.scrapes import Scrape, scrape, scraped

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "operate"
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def until(client: httpx.Client, condition: Callable[[Scrape], bool], seconds: float = 30) -> Scrape:
    """Return the first scrape that satisfies the condition."""
    deadline = time.monotonic() + seconds
    while not condition(found := scrape(client)):
        assert time.monotonic() < deadline, found.text
        time.sleep(0.1)
    return found


def test_what_alerts_and_pages_name_exists(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every metric of an alert and of the table is in a scrape after a film, with the figures of the film."""
    monkeypatch.setattr(monitoring, "REFRESH_SECONDS", 0.1)
    page = (FOLDER / "watching.md").read_text()
    with scraped(app) as client:
        before = scrape(client)
        app.complete(app.start())
        httpx.post(f"{app.url}/v1/webhooks/sora", json={"type": "video.completed"})
        found = until(client, lambda each: each.value("myloware_runs", status="completed") > 0)

    in_alerts = {name for rule in RULES for name in re.findall(r"myloware_\w+", rule["expr"])}
    on_page = set(re.findall(r"`((?:myloware|process)_\w+)`", page))
    own = {name for name in re.findall(r"^# HELP (myloware_\w+)", found.text, re.M) if not name.endswith("_created")}
    assert (in_alerts | on_page) - found.names == set()
    assert own - on_page == set()
    grown = {
        ("myloware_runs_ended_total", ("outcome", "completed")): 1,
        ("myloware_orders_total", ("outcome", "settled")): 3,
        ("myloware_webhooks_total", ("result", "refused")): 1,
        ("myloware_webhooks_total", ("result", "accepted")): 1,
        ("myloware_render_seconds_count", ("renderer", "embedded")): 1,
        ("myloware_provider_seconds_count", ("call", "ideas")): 1,
    }
    counts = {
        (name, label): found.value(name, **dict([label])) - before.value(name, **dict([label])) for name, label in grown
    }
    assert counts == grown
    assert found.value("myloware_http_seconds_count", route="/v1/runs/{run_id}/approve") >= 2
    [row] = app.rows("select spent_usd::float8 as usd from spending where scope = 'day'")
    assert found.value("myloware_spent_usd") == row["usd"] > 0
    assert {found.value("myloware_ready", check=check) for check in ("database", "schema", "store", "worker")} == {1}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    """It has a severity, a summary and a description in sentences."""
    assert rule["labels"]["severity"] in ("page", "warn", "info")
    assert all(rule["annotations"][name].endswith(".") for name in ("summary", "description"))


def test_probes_of_a_process_that_starts_are_no_failed_requests() -> None:
    """`/ready` answers 503 until a worker runs, which is no fault."""
    [expression] = [rule["expr"] for rule in RULES if rule["alert"] == "MyloWareRequestsFail"]

    assert expression.count('route!="/ready"') == expression.count("myloware_http_seconds_count") == 2


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, of the package prometheus, is not installed")
def test_alerts_end_when_nothing_new_happens(tmp_path: Path) -> None:
    """Notifications count for a week: their alert ends after six hours. A process that is gone is seen at once."""
    expressions = {rule["alert"]: rule["expr"] for rule in RULES}
    counts = [("myloware_undelivered_notifications", "0x5 2x600"), ("up", "1x5 0x600")]
    expected = [
        ("MyloWareNotificationsUndelivered", "4m", None, "{}"),
        ("MyloWareNotificationsUndelivered", "10m", 2, "{}"),
        ("MyloWareNotificationsUndelivered", "380m", None, "{}"),
        ("MyloWareProcessGone", "4m", None, ""),
        ("MyloWareProcessGone", "10m", 0, '{instance="a"}'),
    ]
    tests = {
        "interval": "1m",
        "input_series": [
            {"series": f'{name}{{job="myloware",instance="a"}}', "values": values} for name, values in counts
        ],
        "promql_expr_test": [
            {
                "expr": expressions[alert],
                "eval_time": time,
                "exp_samples": [] if value is None else [{"labels": labels, "value": value}],
            }
            for alert, time, value, labels in expected
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [tests]}))
    for arguments in (["check", "rules", FOLDER / "alerts.yaml"], ["test", "rules", tmp_path / "test.yaml"]):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_gauges_take_two_statements(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs there are; each part but one reads an index."""
    statements = []
    fetch_all = type(app.state.services.db).fetch_all

    async def count(self: object, sql: object, *args: object, **options: object) -> object:
        statements.append(sql)
        return await fetch_all(self, sql, *args, **options)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(type(app.state.services.db), "fetch_all", count)
    services = app.state.services
    samples = app.in_loop(metrics.read_gauges(services.db, services.ledger.caps))

    assert sum("myloware_runs" in str(sql) or "from spending where day" in str(sql) for sql in statements) == 2
    assert {sample.name for sample in samples} >= {"myloware_oldest_wakeup_seconds", "myloware_cap_left_usd"}


@pytest.mark.slow
def test_outages_are_seen(
    postgres_server: str, migrated_template: str, sandbox_process: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database and a store that are away for seconds: one gauge falls, the listener answers, and it rises again."""
    monkeypatch.setattr(monitoring, "REFRESH_SECONDS", 0.2)
    with (
        open_app(postgres_server, migrated_template, sandbox_process) as app,
        psycopg.connect(postgres_server, autocommit=True) as other,
        scraped(app) as client,
    ):
        name = conninfo_to_dict(app.dsn)["dbname"]
        until(client, lambda each: each.value("myloware_ready") == 4)
        folder = app.settings.data_dir / "artifacts"
        folder.rename(folder.with_name("away"))
        folder.touch()
        store = until(client, lambda each: each.value("myloware_ready", check="store") == 0)
        folder.unlink()
        folder.with_name("away").rename(folder)
        until(client, lambda each: each.value("myloware_ready") == 4)
        statement = f'alter database "{name}" allow_connections'
        other.execute(f"{statement} false")  # type: ignore[call-overload]
        other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        database = until(client, lambda each: each.value("myloware_ready", check="database") == 0)
        other.execute(f"{statement} true")  # type: ignore[call-overload]
        until(client, lambda each: each.value("myloware_ready") == 4)

    assert store.value("myloware_ready", check="database") == 1
    assert "myloware_runs{" not in database.text
    assert database.value("myloware_disk_bytes") > 0
