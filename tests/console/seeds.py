"""Runs that wait for a person, written into the tables: nothing has to be generated for a page that shows them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from psycopg import sql
from psycopg.types.json import Jsonb
from render_service import write_clip

from graph.review_content import FilmContent, IdeasContent
from runs.pruning import delete_run
from tests.app import App

HOSTILE = '<script>document.title="taken"</script><img src=x onerror=alert(1)>"\'{{7*7}} ‮\u202eabc'
IDEAS: dict[str, Any] = {
    "title": "Rain on a quiet window",
    "ideas": [{"title": "Drops", "scene": "Drops run down.", "sound": "Rain", "overlay": "Stay"}],
    "make": [1],
    "model": "sandbox-video",
    "seconds": 3,
    "size": "180x320",
    "usd_per_clip": "0.30",
}

THREE: dict[str, Any] = {
    "ideas": [
        {"title": "Drops", "scene": "Drops run down a pane.", "sound": "Rain", "overlay": "Stay"},
        {"title": "Lamp", "scene": "A lamp is lit behind the pane.", "sound": "A switch", "overlay": "A little longer"},
        {"title": "Steam", "scene": "Steam rises from a cup.", "sound": "Quiet", "overlay": ""},
    ],
    "make": [1, 2, 3],
    "provider": "videos",
    "sound": True,
}


TWO_CLIPS: dict[str, Any] = {
    "seconds": 4.0,
    "clips": [
        {"clip": 1, "take": 1, "takes": [1], "overlay": "Stay"},
        {"clip": 2, "take": 2, "takes": [1, 2], "overlay": "A little longer"},
    ],
    "platforms": ["tiktok", "youtube"],
    "publisher": "folder",
    "labels": {"tiktok": "is_aigc", "youtube": "containsSyntheticMedia"},
}
#: Observed values of a film, as its render order keeps them.
CHECKS = {"length": "4.000 s", "loudness": "-14.02 LUFS", "black": "80 of 120, longest 80", "frozen": "3 frames"}
CHECKS |= {"starts_at_once": "[0.0, 0.0]", "sound_as_long_as_picture": "+0.012 s", "frame_rate": "0.0333 to 0.0333 s"}


def film_content(film: str, **fields: Any) -> FilmContent:
    """Return the content of a publish review of this film, with `fields` other than usual."""
    usual = {"title": IDEAS["title"], "clips": [], "usd_per_clip": "0.30", "platforms": ["tiktok"]}
    usual |= {"caption": "Stay for the rain.", "hashtags": ["#rain"]}
    described = {"digest": film, "seconds": fields.pop("seconds", 1.0)}
    return FilmContent.model_validate({**usual, **fields, "film": described})


#: Runs that have ended, each with an order and a notification; a third failed, and half of these were rejected.
ENDED = """
with made as (
    insert into runs (id, project, brief, cap_usd, actor_kind, actor_id, actor_name, channel, status, error, updated_at)
    select gen_random_uuid(), 'tiny', 'Rain', 5, 'api_key', 'key_1', 'Anna', 'api',
        case n %% 3 when 0 then 'failed' else 'completed' end,
        case n %% 6 when 0 then '{"code": "rejected", "message": "Anna rejected it."}'::jsonb
            when 3 then '{"code": "clip_failed", "message": "The clip failed."}' end,
        now() - n * interval '1 minute'
    from generate_series(%s::int, %s::int) as n returning id
), ordered as (
    insert into orders (key, run_id, kind, clip, take, provider, request, amount_usd, state)
    select id || ':clip:1:1', id, 'clip', 1, 1, 'videos', '{}', 0.3, 'settled' from made
), spent as (
    insert into spending (scope, name, day, spent_usd) select 'run', id::text, '-infinity', 0.3 from made
), happened as (
    insert into events (source, dedup_key, run_id, seq, kind)
    select 'advance', id::text, id, 1, 'run.done' from made returning id
)
insert into deliveries (id, event, url, kind, body, state)
select 'msg_' || id, id, 'https://hooks.example.com', 'run.completed', '{}', 'delivered' from happened
"""


class Seeds:
    """Writes runs into the database of an app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def film(self, folder: Path) -> str:
        """Store a film and return its digest."""
        path = write_clip(folder / "film.mp4", luma=120, seconds=1, has_sound=False)
        artifacts = self._app.state.services.artifacts
        return self._app.in_loop(artifacts.store(path, kind="final_video", media_type="video/mp4", facts={}))

    def clear(self) -> None:
        """Delete all runs."""
        tables = "deliveries, events, outbox, review_deadlines, troubles, orders, spending, day_sums, runs"
        self._app.in_loop(self._app.state.services.db.execute(f"truncate {tables} cascade"))

    def decisions(self) -> int:
        """Return the number of decisions."""
        return len(self._app.rows("select number from decisions"))

    def run(self, *, status: str = "running", brief: str = "Rain on a window", age: float = 1, **columns: Any) -> UUID:
        """Write a run that was changed `age` hours ago, and return its id."""
        values: dict[str, Any] = {"id": uuid4(), "project": "tiny", "brief": brief, "cap_usd": 5, "status": status}
        values |= {"actor_kind": "api_key", "actor_id": "key_1", "actor_name": "Anna", "channel": "api"}
        values |= {"last_seq": 1, **columns}
        values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
        row = self._insert("runs", **values)
        self._app.rows(
            "update runs set updated_at = now() - %s where id = %s returning id", timedelta(hours=age), row["id"]
        )
        run_id: UUID = row["id"]
        return run_id

    def ideation(
        self, *, due_in: float | None = None, title: str = IDEAS["title"], content: Any = None, **columns: Any
    ) -> UUID:
        """Write a run whose ideas wait for a decision, due in so many hours. `content` are fields other than usual."""
        ideas = IdeasContent.model_validate({**IDEAS, "title": title, **(content or {})})
        return self._review("ideation", ideas, due_in, **columns)

    def reopened(self, run_id: UUID, content: Any, film: str = "", **fields: Any) -> str:
        """Open the next revision of a run's ideas, or `film`, and return its digest. `fields` are of the review."""
        [run] = self._app.rows("select revision, last_seq from runs where id = %s", run_id)
        ideas = film_content(film, **content) if film else IdeasContent.model_validate({**IDEAS, **content})
        review = {"gate": ideas.gate, "revision": run["revision"] + 1, "digest": ideas.digest, **fields}
        review["content"] = ideas.model_dump(mode="json")
        event = {"source": "advance", "dedup_key": str(uuid4()), "run_id": run_id, "seq": run["last_seq"] + 1}
        self._insert("events", **event, kind="review.opened", payload=Jsonb(review))
        self._app.rows(
            "update runs set status = %s, review = %s, revision = revision + 1,"
            " last_seq = last_seq + 1 where id = %s returning id",
            *(f"awaiting_{ideas.gate}_approval", Jsonb(review), run_id),
        )
        return ideas.digest

    def publish(self, film: str, *, title: str = IDEAS["title"], content: Any = None, **columns: Any) -> UUID:
        """Write a run whose film waits for a decision. `content` are fields other than usual."""
        return self._review("publish", film_content(film, title=title, **(content or {})), None, **columns)

    def publish_clips(self, film: str, *, content: Any = None, facts: Any = None, **columns: Any) -> UUID:
        """Write a run whose film of two clips, the second in two takes, waits for a decision, with its orders."""
        run_id = self.publish(film, content={**TWO_CLIPS, **(content or {})}, **columns)
        for clip, take in ((1, 1), (2, 1), (2, 2)):
            self.order(run_id, "clip", "videos", number=clip * 10 + take, clip=clip, take=take, result={"digest": film})
        manifest = {"clips": [{"digest": film, "seconds": 2.0}] * 2, "crossfade_seconds": 0}
        result = {"digest": film, "fps": 30, "checks": CHECKS, "warnings": [f"black ({CHECKS['black']})"]}
        self.order(run_id, "render", "embedded", request=manifest, result={**result, **(facts or {})})
        return run_id

    def failed(self, message: str = "The clip failed.", code: str = "clip_failed", **columns: Any) -> UUID:
        """Write a run that failed."""
        return self.run(status="failed", error={"code": code, "message": message, "retryable": True}, **columns)

    def unknown(self, **columns: Any) -> UUID:
        """Write a failed run with an order of unknown outcome."""
        run_id = self.failed("The outcome is unknown.", "outcome_unknown", **columns)
        self._order(run_id, "unknown")
        return run_id

    def stuck(self, message: str = "The server does not answer.", **columns: Any) -> UUID:
        """Write a run whose clip has had no useful answer for long."""
        run_id = self.run(status="awaiting_video_generation", **columns)
        key = self._order(run_id, "submitted")
        trouble = {"subject": key, "run_id": run_id, "code": "unreachable", "message": message}
        self._insert("troubles", **trouble)
        self._app.rows("update troubles set attention_at = now() where subject = %s returning subject", key)
        return run_id

    def undelivered(self, response: str = "410 Gone", url: str = "https://hooks.example.com/a", **columns: Any) -> UUID:
        """Write a completed run whose notification was not delivered."""
        run_id = self.run(status="completed", **columns)
        event = self._insert("events", source="advance", dedup_key=str(uuid4()), run_id=run_id, seq=1, kind="run.done")
        delivery = {"id": f"msg_{uuid4().hex}", "event": event["id"], "url": url, "kind": "run.completed", "body": "{}"}
        self._insert("deliveries", **delivery, state="abandoned", attempts=12, last_response=response)
        return run_id

    def costs(
        self,
        project: str,
        provider: str,
        *,
        spent: tuple[float, ...],
        seconds: float,
        days_ago: int = 0,
        state: str = "settled",
        published: float = 0,
    ) -> UUID:
        """Write a run with a clip for each of these amounts and, if it is `published` seconds long, a post of its film.

        Clips that are not settled have reserved the amount.
        """
        run_id = self.run(project=project, artifacts={"final_video": {"seconds": published}})
        for number, usd in enumerate(spent, start=1):
            paid = usd if state == "settled" else None
            columns = {"number": number, "clip": number, "take": 1, "request": {"seconds": seconds}}
            self.order(run_id, "clip", provider, amount_usd=usd, spent_usd=paid, state=state, **columns)
        if published:
            self.order(run_id, "publication", "folder")
        made_at = "update {} set created_at = created_at - make_interval(days => %s) where {} = %s returning 1 as done"
        self._app.rows(made_at.format("orders", "run_id"), days_ago, run_id)
        return run_id

    def order(self, run_id: UUID | None, kind: str, provider: str, *, number: int = 1, **columns: Any) -> str:
        """Write an order, by default a settled one that costs nothing, and return its key."""
        values = {"amount_usd": 0, "state": "settled", "request": {}, **columns}
        values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
        key = f"{run_id or uuid4()}:{kind}:{number}:1"
        self._insert("orders", key=key, run_id=run_id, kind=kind, provider=provider, **values)
        return key

    def event(self, run_id: UUID, kind: str, *, source: str = "advance", subject: str = "", **payload: Any) -> int:
        """Write the next event of a run and return its number, as the product does it."""
        [row] = self._app.rows("update runs set last_seq = last_seq + 1 where id = %s returning last_seq", run_id)
        event = {"source": source, "dedup_key": str(uuid4()), "run_id": run_id, "seq": row["last_seq"], "kind": kind}
        self._insert("events", **event, subject=subject or None, payload=Jsonb(payload))
        return int(row["last_seq"])

    def revision(self, run_id: UUID, revision: int, *, title: str = IDEAS["title"], **idea: str) -> None:
        """Write the event that a revision of the ideas was opened, at a checkpoint."""
        ideas = [{**IDEAS["ideas"][0], **idea}]
        content = IdeasContent.model_validate({**IDEAS, "title": title, "ideas": ideas})
        review = {"gate": "ideation", "revision": revision, "digest": content.digest}
        review |= {"content": content.model_dump(mode="json"), "checkpoint": f"checkpoint-{revision}"}
        self.event(run_id, "review.opened", **review)

    def clips(self, run_id: UUID, film: str, error: str = "The file is not a video.") -> None:
        """Write a finished clip, one that failed with its second take at work, and one of unknown outcome."""
        values = (("settled", 1, 1), ("failed", 2, 1), ("submitted", 2, 2), ("unknown", 3, 1))
        for state, clip, take in values:
            key = self._order(run_id, state, clip=clip, take=take)
            result = {"settled": {"digest": film, "seconds": 3}, "failed": {"code": "refused", "message": error}}
            update = "update orders set result = %s, progress = 0.4, spent_usd = %s where key = %s returning key"
            self._app.rows(update, Jsonb(result.get(state)), 0.3 if state == "settled" else None, key)
            kind = {"settled": "order.settled", "failed": "order.failed"}.get(state, "order.submitted")
            self.event(run_id, kind, source="ledger", subject=key, **result.get(state, {}))

    def note(self, comment: str, **columns: Any) -> None:
        """Write a completed run whose ideas were sent back with this comment."""
        run_id = str(self.ideation(**columns))
        digest = self._app.run(run_id)["review"]["digest"]
        self._app.decide(run_id, "ideation", approved=False, comment=comment, digest=digest)
        self._app.rows("update runs set status = 'completed' where id = %s returning 1", run_id)

    def clear_rules(self) -> None:
        """Delete the rules of all projects."""
        self._app.in_loop(self._app.state.services.db.execute("delete from store where prefix like 'rules.%'"))

    def pruned(self, film: str, *, code: str = "", **columns: Any) -> UUID:
        """Write a run that was published, or failed with this code, and prune it."""
        run_id = self.publish(film, **columns)
        digest = self._app.run(str(run_id))["review"]["digest"]
        self._app.decide(str(run_id), "publish", comment="Lovely", digest=digest)
        clip = {"clip": 1, "take": 1, "amount_usd": 0.3, "spent_usd": 0.3}
        self.order(run_id, "clip", "videos:127.0.0.1", result={"digest": film, "seconds": 3}, **clip)
        posts = {"platforms": {"tiktok": {"url": "https://tiktok.example/@rain/1"}}}
        self.order(run_id, "publication", "folder", result=posts)
        artifacts = {"final_video": {"digest": film, "seconds": 1}, **({} if code else {"publication": posts})}
        error = Jsonb({"code": code, "message": "The clip failed.", "retryable": True}) if code else None
        self._app.rows(
            "update runs set status = %s, artifacts = %s, error = %s where id = %s returning 1",
            *("failed" if code else "completed", Jsonb(artifacts), error, run_id),
        )
        self._app.rows("delete from outbox returning 1")
        self._app.in_loop(delete_run(self._app.state.services, run_id, "local"))
        return run_id

    def one_of_each(self, film: str) -> list[UUID]:
        """Write a run of each kind, the oldest first."""
        return [
            self.undelivered(age=9),
            self.failed(age=8),
            self.ideation(age=7, due_in=-2, title="A lighthouse in the fog"),
            self.publish(film, age=6),
            self.unknown(age=5),
            self.stuck(age=4),
        ]

    def ended(self, count: int) -> None:
        """Write so many runs that have ended, and update the statistics of the tables."""
        db = self._app.state.services.db
        self._app.in_loop(db.execute("alter table orders disable trigger user"))
        for first in range(1, count, 10_000):
            self._app.in_loop(db.execute(ENDED, (first, first + 9_999)))
        self._app.in_loop(db.execute("alter table orders enable trigger user"))
        self._app.in_loop(db.execute("truncate day_sums"))
        self._app.in_loop(db.execute("insert into day_sums select * from day_sums_of_orders"))
        self._app.in_loop(db.execute("analyze"))

    def many(self, count: int, film: str) -> None:
        """Write so many rows of the inbox, most of them reviews."""
        kinds = [self.ideation, self.failed, lambda **columns: self.publish(film, **columns), self.ideation, self.stuck]
        for number in range(count):
            kinds[number % len(kinds)](brief=f"Film number {number}", age=number / 10)

    def _review(self, gate: str, content: IdeasContent | FilmContent, due_in: float | None, **columns: Any) -> UUID:
        review = {"gate": gate, "revision": 1, "digest": content.digest, "content": content.model_dump(mode="json")}
        run_id = self.run(status=f"awaiting_{gate}_approval", review=review, revision=1, **columns)
        event = {"source": "advance", "dedup_key": str(uuid4()), "run_id": run_id, "seq": 1, "kind": "review.opened"}
        self._insert("events", **event, payload=Jsonb(review))
        if due_in is not None:
            self._app.rows(
                "insert into review_deadlines (run_id, gate, revision, due_at, repeat_every, on_due)"
                " values (%s, %s, 1, now() + %s, '1 day', 'remind') returning run_id",
                *(run_id, gate, timedelta(hours=due_in)),
            )
        return run_id

    def _order(self, run_id: UUID, state: str, *, clip: int = 1, take: int = 1) -> str:
        key = f"{run_id}:clip:{clip}:{take}"
        order = {"key": key, "run_id": run_id, "kind": "clip", "clip": clip, "take": take}
        order["provider"] = "videos:127.0.0.1"
        self._insert("orders", **order, request=Jsonb({}), amount_usd=0.3, state=state)
        return key

    def _insert(self, table: str, **values: Any) -> dict[str, Any]:
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        places = sql.SQL(", ").join(sql.Placeholder() * len(values))
        statement = sql.SQL("insert into {} ({}) values ({}) returning *").format(sql.Identifier(table), names, places)
        [row] = self._app.rows(statement, *values.values())  # type: ignore[arg-type]
        return row
