"""Pruning: words and files of ended runs go; what guards against a second payment or publication stays."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from runs import pruning
from runs.errors import RunNotEnded
from runs.pruning import Pruned
from runs.services import Services
from runs.worker import clean_up
from storage import failpoints
from storage.actors import LOCAL, RequestContext
from storage.chat_sessions import claim_session, thread_id_of
from storage.decision_chain import verify_chain
from storage.decisions import NewDecision, chain_head, hash_of, record_decision
from storage.events import Webhook, record_webhook
from storage.runs import NewRun, create_run
from storage.spending import verify_spending
from tests.app import App
from tests.failpoint_hooks import set_hook

WORDS = "mind the seventh window of Anna"
AGE = "interval '40 days'"
#: The tables in which the words of a run are looked for: all of them.
TABLES = "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"


def _age(app: App) -> None:
    """Make everything that has ended 40 days older."""
    app.rows(f"update runs set updated_at = updated_at - {AGE} where status in ('completed', 'failed') returning id")
    app.rows(f"update artifacts set stored_at = stored_at - {AGE} returning digest")


def _wait_until_announced(app: App) -> None:
    """Wait until no event waits to be announced: a run is pruned after its last one was."""
    deadline = time.monotonic() + 60
    while app.rows("select event from outbox"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _prune(app: App, days: int = 30, **options: Any) -> Pruned:
    return app.in_loop(pruning.prune(app.state.services, timedelta(days=days), "local", **options))


def _tables_with(app: App, text: str) -> set[str]:
    return {
        row["table_name"]
        for row in app.rows(TABLES)
        if app.rows(f'select 1 from "{row["table_name"]}" as t where strpos(t::text, %s) > 0 limit 1', text)
        or (
            row["table_name"].startswith("checkpoint_")
            and row["table_name"] != "checkpoint_migrations"
            and app.rows(f'select 1 from "{row["table_name"]}" where position(%s in blob) > 0', text.encode())
        )
    }


def _files(app: App) -> set[str]:
    return {path.name for path in (app.settings.data_dir / "artifacts").glob("sha256/*/*")}


def _verify(app: App) -> list[str]:
    db = app.state.services.db
    return [*app.in_loop(verify_chain(db)), *app.in_loop(verify_spending(db))]


@pytest.fixture(scope="module")
def film(app: App) -> dict[str, Any]:
    """A run that was revised once, published, and forked: the fork reuses its clip, and waits at its first gate."""
    brief = {"project": "tiny", "brief": f"Rain: {WORDS}", "metadata": {"note": WORDS}}
    answer = app.client.post("/v1/runs/start", json=brief, headers={"Idempotency-Key": "start-of-the-film"})
    run_id = answer.json()["run_id"]
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    first = app.until(run_id, "awaiting_publish_approval")
    app.decide(run_id, "publish", approved=False, comment=f'Put "{WORDS}"[:9] over clip 1: overlay "Stay here"')
    app.until(run_id, "awaiting_publish_approval", revision=2)
    app.client.post(
        f"/v1/runs/{run_id}/approve",
        json={"gate": "publish", "approved": True, "comment": WORDS},
        headers={"Idempotency-Key": "approval-of-the-film"},
    )
    run = app.until(run_id, "completed")
    fork = app.client.post(f"/v1/runs/{run_id}/fork").json()["run_id"]
    app.until(fork, "awaiting_ideation_approval")
    return {
        "run": run,
        "first": first,
        "fork": fork,
        "start": brief,
        "head": app.in_loop(chain_head(app.state.services.db)),
    }


@pytest.mark.slow
def test_prune_of_a_film(app: App, film: dict[str, Any]) -> None:
    """Its words are in no table, its files are gone except the shared clip, and nothing can be executed again."""
    run_id = film["run"]["run_id"]
    clip = film["run"]["artifacts"]["clip_manifest"]["clips"][0]["digest"]
    superseded = film["first"]["artifacts"]["final_video"]["digest"]
    assert _tables_with(app, WORDS) >= {"runs", "events", "decisions", "checkpoint_blobs", "idempotency_records"}
    assert _prune(app).runs == 0
    assert superseded in _files(app)
    _age(app)
    assert _prune(app).runs == 0, "the fork goes on and reads its orders"
    assert superseded not in _files(app)
    app.complete(film["fork"])
    _wait_until_announced(app)
    counts, costs = app.sandbox.counts(), app.client.get("/v1/costs").json()
    foreseen = _prune(app, dry_run=True)
    assert app.run(run_id)["pruned_at"] is None
    done = _prune(app)

    assert done == foreseen
    assert (done.runs, done.files >= 2) == (1, True)
    assert _prune(app) == Pruned(0, 0, 0, 0)
    assert clip in _files(app)
    assert film["run"]["artifacts"]["final_video"]["digest"] not in _files(app)
    assert {row["digest"] for row in app.rows("select digest from artifacts")} == _files(app)
    assert _verify(app) == []
    assert app.in_loop(verify_chain(app.state.services.db, film["head"][1])) == []
    assert app.client.get("/v1/costs").json() == costs
    _check_tombstone(app, film)
    _check_replays(app, film)
    assert app.sandbox.counts() == counts
    _age(app)
    assert _prune(app).runs == 1, "the fork"
    assert _tables_with(app, WORDS) == set()
    assert _files(app) == set()
    assert _verify(app) == []


def _check_tombstone(app: App, film: dict[str, Any]) -> None:
    run_id = film["run"]["run_id"]
    run = app.run(run_id)
    listed = next(each for each in app.client.get("/v1/runs").json()["runs"] if each["run_id"] == run_id)

    assert run["pruned_at"] is not None
    assert listed == run
    kept = ("status", "project", "created_at", "forked_from")
    assert {name: run[name] for name in kept} == {name: film["run"][name] for name in kept}
    assert run["cost"]["spent_usd"] == film["run"]["cost"]["spent_usd"]
    assert run["artifacts"]["publication"]["platforms"] == film["run"]["artifacts"]["publication"]["platforms"]
    requests = {
        "fork": app.client.post(f"/v1/runs/{run_id}/fork"),
        "retry": app.client.post(f"/v1/runs/{run_id}/retry"),
        "events": app.client.get(f"/v1/runs/{run_id}/events"),
        "history": app.client.get(f"/v1/runs/{run_id}/history"),
    }
    for name, answer in requests.items():
        assert (name, answer.status_code, answer.json()["error"]["code"]) == (name, 410, "run_pruned")
        assert run["pruned_at"][:10] in answer.json()["error"]["message"]
    assert app.client.delete(f"/v1/runs/{run_id}").status_code == 403
    decision = {"gate": "publish", "approved": True}
    assert app.client.post(f"/v1/runs/{run_id}/approve", json=decision).json()["error"]["code"] == "gate_not_open"


def _check_replays(app: App, film: dict[str, Any]) -> None:
    """The same requests and webhooks have no second effect, also when the record of a response is gone."""
    run_id = film["run"]["run_id"]
    start, approve = {"Idempotency-Key": "start-of-the-film"}, {"Idempotency-Key": "approval-of-the-film"}
    again = app.client.post("/v1/runs/start", json=film["start"], headers=start)
    body = {"gate": "publish", "approved": True, "comment": WORDS}
    decided = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=approve)

    assert (again.status_code, again.json()["run_id"]) == (200, run_id)
    assert (decided.status_code, decided.json()["error"]["code"]) == (410, "response_pruned")
    app.rows("delete from idempotency_records returning 1")
    again = app.client.post("/v1/runs/start", json=film["start"], headers=start)
    decided = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=approve)
    assert again.json()["run_id"] == run_id
    assert decided.status_code in (200, 409)
    assert app.run(run_id)["status"] == "completed"
    assert app.run(run_id)["brief"].startswith("Pruned on ")
    webhooks = app.rows("select * from events where run_id = %s", run_id)
    assert {row["kind"] for row in webhooks} == {"webhook.received"}
    for row in webhooks:
        webhook = Webhook(row["dedup_key"], row["source"], "videos", row["subject"], {})
        assert app.in_loop(record_webhook(app.state.services.db, webhook)).is_new is False


class Killed(BaseException):
    """Ends the work like a kill: no handler of the product catches it."""


def _kill_at(app: App, number: int) -> list[str]:
    """Arrange for a kill at the app's failpoint with this number, and return the names of those that were passed."""
    passed: list[str] = []

    def kill(point: str) -> None:
        passed.append(point)
        if len(passed) == number:
            raise Killed

    set_hook(kill, app.thread)
    return passed


async def ended_run(services: Services, name: str, *, with_words_in_hash: bool = False) -> tuple[UUID, str]:
    """Write a run that was rejected 40 days ago, with a decision and a file of its own; return its id and the file."""
    db, run_id, context = services.db, uuid4(), RequestContext(LOCAL, "cli")
    path = services.scratch / name
    path.write_bytes(f"film of {name}".encode())
    digest = await services.artifacts.store(path, kind="final_video", media_type="video/mp4", facts={})
    new = NewRun(
        id=run_id, project="tiny", brief=WORDS, options={}, metadata={}, cap_usd=Decimal(1), seed={"image": digest}
    )
    await create_run(db, new, context)
    await db.execute(
        "update runs set review = %s, status = 'awaiting_publish_approval' where id = %s",
        (Jsonb({"gate": "publish", "revision": 1, "digest": digest}), run_id),
    )
    clips = [{"clip": 1, "comment": WORDS}]
    decision = NewDecision("publish", 1, "reject", digest, None, WORDS, {"caption": WORDS}, clips, None, None)
    row = await record_decision(db, run_id, decision, context)
    assert row is not None
    if with_words_in_hash:  # as version 0.2 wrote it
        old = replace(row, words_digest=None, words_salt=None)
        await db.execute(
            "update decisions set words_digest = null, words_salt = null, hash = %s where number = %s",
            (hash_of(old), row.number),
        )
        await db.execute(
            "update events set payload = payload || %s where run_id = %s and kind = 'decision.recorded'",
            (Jsonb({"hash": hash_of(old)}), run_id),
        )
    await db.execute("delete from outbox")
    error = Jsonb({"code": "rejected", "message": WORDS, "retryable": False})
    await db.execute(
        f"update runs set status = 'failed', error = %s, updated_at = now() - {AGE} where id = %s", (error, run_id)
    )
    await db.execute(f"update artifacts set stored_at = now() - {AGE}")
    return run_id, digest


def test_prune_that_is_killed_anywhere(quiet_app: App) -> None:
    """The next one finishes it: the chain verifies at every point, and no file is left or missing."""
    app, services, number = quiet_app, quiet_app.state.services, 0
    names: set[str] = set()
    while True:
        number += 1
        run_id, digest = app.in_loop(ended_run(services, f"film-{number}"))
        passed = _kill_at(app, number)
        try:
            _prune(app)
            break
        except Killed:
            pass
        finally:
            failpoints.hook = None
            names.update(passed)
        assert _verify(app) == []
        is_referred = app.rows("select 1 from artifacts where digest = %s", digest)
        assert digest in _files(app) or not is_referred
        _prune(app)
        assert app.run(str(run_id))["pruned_at"] is not None
        assert digest not in _files(app)
        assert app.rows("select * from released_files") == []
    assert names == {"commit.before", "commit.after", "file.deleted"}
    assert number > 8


def test_file_that_is_stored_again_while_it_is_deleted(quiet_app: App) -> None:
    """It stays, wherever the prune was killed."""
    app, services = quiet_app, quiet_app.state.services
    for number in range(1, 30):
        _, digest = app.in_loop(ended_run(services, "same film"))
        passed = _kill_at(app, number)
        try:
            _prune(app)
        except Killed:
            pass
        finally:
            failpoints.hook = None
        again = services.scratch / "same film"
        stored = services.artifacts.store(again, kind="final_video", media_type="video/mp4", facts={})
        assert app.in_loop(stored) == digest
        app.in_loop(services.artifacts.delete_released())
        assert digest in _files(app)
        assert app.rows("select 1 from artifacts where digest = %s", digest)
        if len(passed) < number:
            return
    pytest.fail("the prune has no end")


def test_shared_file_stays_until_the_last_run_goes(quiet_app: App) -> None:
    """Two runs use one file: it goes with the second."""
    app, services = quiet_app, quiet_app.state.services
    _prune(app)
    _, digest = app.in_loop(ended_run(services, "shared"))
    second, _ = app.in_loop(ended_run(services, "shared"))
    app.rows("update runs set updated_at = now() where id = %s returning 1", second)

    assert _prune(app).runs == 1
    assert digest in _files(app)
    assert app.in_loop(pruning.delete_run(services, second, "local")).files == 1
    assert digest not in _files(app)
    assert app.in_loop(pruning.delete_run(services, second, "local")).files == 0


@pytest.mark.parametrize("with_words_in_hash", [False, True])
def test_chain_verifies_without_the_words(quiet_app: App, with_words_in_hash: bool) -> None:
    """It also finds what is changed after the prune, and words that were removed without a record of it."""
    app, services = quiet_app, quiet_app.state.services
    run_id, _ = app.in_loop(ended_run(services, uuid4().hex, with_words_in_hash=with_words_in_hash))
    changes = {
        "verdict": "update decisions set verdict = 'approve' where run_id = %s returning 1",
        "words": "update decisions set comment = 'Other words' where run_id = %s returning 1",
        "note": """update decisions set clips = '[{"clip": 1, "comment": "x"}]' where run_id = %s returning 1""",
        "clips": """update decisions set clips = '[{"clip": 2}]' where run_id = %s returning 1""",
    }
    without_record = (
        "update decisions set comment = null, edits = null, words_salt = null where run_id = %s returning 1"
    )
    for is_pruned in (False, True):
        for name, change in {**changes, **({} if is_pruned else {"removed": without_record})}.items():
            before = app.rows("select * from decisions where run_id = %s", run_id)
            assert _verify(app) == []
            app.rows(change, run_id)
            assert len(_verify(app)) == 1, (is_pruned, name)
            restored = {
                key: Jsonb(value) if isinstance(value, dict | list) else value for key, value in before[0].items()
            }
            columns = ", ".join(f"{key} = %({key})s" for key in restored)
            with psycopg.connect(app.dsn, autocommit=True) as connection:
                connection.execute(f"update decisions set {columns} where number = %(number)s", restored)
        if not is_pruned:
            assert _prune(app).runs == 1
    with psycopg.connect(app.dsn) as connection:
        connection.execute("create table kept as select * from prunings where run_id = %s", (run_id,))
        connection.execute("delete from prunings where run_id = %s", (run_id,))
    assert _verify(app) != []
    with psycopg.connect(app.dsn) as connection:
        connection.execute("insert into prunings select * from kept")
        connection.execute("drop table kept")


def test_changed_decision_is_not_pruned(quiet_app: App) -> None:
    """Its words are evidence. Other runs are pruned."""
    app, services = quiet_app, quiet_app.state.services
    run_id, _ = app.in_loop(ended_run(services, "changed"))
    app.rows("update decisions set comment = 'Other words' where run_id = %s returning 1", run_id)
    other, _ = app.in_loop(ended_run(services, "unchanged"))

    assert _prune(app).runs == 1
    assert app.run(str(run_id))["pruned_at"] is None
    assert app.run(str(other))["pruned_at"] is not None
    app.rows("update decisions set comment = %s where run_id = %s returning 1", WORDS, run_id)
    assert _prune(app).runs == 1


@pytest.mark.parametrize("reason", ["open order", "unsent notification", "running fork", "not ended"])
def test_run_that_is_needed_is_not_deleted(quiet_app: App, reason: str) -> None:
    """The request is refused with the reason, and nothing is changed."""
    app, services = quiet_app, quiet_app.state.services
    run_id, digest = app.in_loop(ended_run(services, reason))
    key = f"{run_id}:clip:1:1"
    changes = {
        "open order": "insert into orders (key, run_id, kind, clip, take, provider, request, amount_usd, state) values"
        f" ('{key}', %s, 'clip', 1, 1, 'videos', '{{}}', 1, 'unknown') returning 1",
        "unsent notification": "insert into outbox select id from events where run_id = %s limit 1 returning 1",
        "running fork": "insert into runs (id, forked_from, project, brief, cap_usd, actor_kind, actor_id, actor_name,"
        " channel) select gen_random_uuid(), id, 'tiny', '', 1, '', '', '', '' from runs where id = %s returning 1",
        "not ended": "update runs set status = 'running' where id = %s returning 1",
    }
    app.rows(changes[reason], run_id)

    assert _prune(app).runs == 0
    with pytest.raises(RunNotEnded):
        app.in_loop(pruning.delete_run(services, run_id, "local"))
    assert app.run(str(run_id))["brief"] == WORDS
    assert digest in _files(app)
    app.rows("update runs set updated_at = now() where id = %s returning 1", run_id)


async def _chat(services: Services, session_id: str, at: str) -> None:
    """Write a conversation whose last message was sent at this time."""
    thread = thread_id_of(session_id)
    await claim_session(services.db, session_id, "key_anna")
    await services.db.execute(
        "insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata) values"
        " (%s, '', '1', jsonb_build_object('ts', now() - %s::interval, 'said', %s::text), '{}')",
        (thread, at, WORDS),
    )


def test_idle_conversations_are_deleted(quiet_app: App) -> None:
    """One that is in use stays, and so does the owner of the session."""
    app, services = quiet_app, quiet_app.state.services
    for session_id, at in (("idle", "40 days"), ("used", "1 day"), ("busy", "40 days")):
        app.in_loop(_chat(services, session_id, at))

    async def prune_beside_a_turn() -> Pruned:
        async with services.locks.hold("chat:busy"):
            return await pruning.prune(services, timedelta(days=30), "local")

    assert app.in_loop(prune_beside_a_turn()).chats == 1
    threads = {row["thread_id"] for row in app.rows("select thread_id from checkpoints")}
    assert threads & {thread_id_of(name) for name in ("idle", "used", "busy")} == {
        thread_id_of("used"),
        thread_id_of("busy"),
    }
    assert app.in_loop(claim_session(services.db, "idle", "key_ben")) is False


def test_one_worker_prunes_once_a_day(quiet_app: App) -> None:
    """Only if MYLOWARE_KEEP_DAYS is set."""
    app, services = quiet_app, quiet_app.state.services
    run_id, _ = app.in_loop(ended_run(services, "daily"))
    app.in_loop(clean_up(services))
    assert app.run(str(run_id))["pruned_at"] is None
    daily = replace(services, keep=timedelta(days=30))
    app.in_loop(clean_up(daily))
    assert app.run(str(run_id))["pruned_at"] is not None
    other, _ = app.in_loop(ended_run(services, "next day"))
    app.in_loop(clean_up(daily))
    assert app.run(str(other))["pruned_at"] is None
    app.rows("update daily_work set done_at = now() - interval '25 hours' returning 1")
    app.in_loop(clean_up(daily))
    assert app.run(str(other))["pruned_at"] is not None


def test_delete_over_http_needs_admin(quiet_app: App) -> None:
    """The answer is the run that is left; a repeated request has the same one."""
    app, services = quiet_app, quiet_app.state.services
    run_id, digest = app.in_loop(ended_run(services, "over http"))
    assert app.client.delete(f"/v1/runs/{run_id}").json()["error"]["code"] == "admin_required"
    app.rows("update api_keys set can = 'admin' returning 1")
    answers = [app.client.delete(f"/v1/runs/{run_id}").json() for _ in range(2)]

    assert answers[0] == answers[1]
    assert answers[0]["pruned_at"] is not None
    assert digest not in _files(app)
