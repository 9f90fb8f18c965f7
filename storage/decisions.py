"""What people decided: append-only, one decision for each review, every row chained to the one before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict, cast
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from providers.orders import ClipNote, digest_of
from storage.database import Database
from storage.events import record_event
from storage.runs import WAKEUP_TIMEOUT


class DecisionRow(TypedDict):
    """A row of `decisions`."""

    number: int
    run_id: UUID
    gate: str
    revision: int
    verdict: str
    seen_digest: str
    approved_digest: str | None
    comment: str | None
    edits: Any
    clips: list[ClipNote] | None
    takes: dict[str, int] | None
    decided_by: str
    channel: str
    request: str | None
    decided_at: datetime
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class NewDecision:
    """A decision as it is given: for the review of `gate` numbered `revision`, which showed `seen_digest`.

    `request` is the Idempotency-Key that it came with.
    """

    gate: str
    revision: int
    verdict: str
    seen_digest: str
    approved_digest: str | None
    comment: str | None
    edits: Any
    clips: list[ClipNote] | None
    takes: dict[str, int] | None
    decided_by: str
    channel: str
    request: str | None = None


GENESIS = "0" * 64

INSERT = """
insert into decisions (number, run_id, gate, revision, verdict, seen_digest, approved_digest, comment, edits, clips,
                       takes, decided_by, channel, request, decided_at, previous_hash, hash)
values (%(number)s, %(run_id)s, %(gate)s, %(revision)s, %(verdict)s, %(seen_digest)s, %(approved_digest)s,
        %(comment)s, %(edits)s, %(clips)s, %(takes)s, %(decided_by)s, %(channel)s, %(request)s, %(decided_at)s,
        %(previous_hash)s, %(hash)s)
"""

BY_REQUEST = "select * from decisions where run_id = %s and decided_by = %s and request = %s"

# The one lock of the chain: rows are appended one after the other.
CHAIN_LOCK = "select pg_advisory_xact_lock(hashtextextended('decisions', 0))"


#: Columns that came later: where one is empty, a decision is hashed as if it did not exist yet.
LATER = ("takes", "request")


def hash_of(row: Mapping[str, Any], *, empty: Collection[str] = ()) -> str:
    """The hash of a decision: of everything in its row, the hash of the one before it among that.

    `empty` are the columns among `LATER` that are hashed although they are empty.
    """
    said = {key: row[key] for key in row if key != "hash" and not (row[key] is None and key in set(LATER) - set(empty))}
    said["run_id"] = str(said["run_id"])
    said["decided_at"] = said["decided_at"].astimezone(UTC).isoformat()
    return digest_of(said)


async def record_decision(db: Database, run_id: UUID, verdict: NewDecision) -> DecisionRow | None:
    """Keep the decision and close the gate. None if that review is not open, or not what was seen, any more.

    A decision that was kept for the same request already is the one. Of any number who decide at once, one gets the
    row: the run's row is locked while it is looked at.
    """
    async with db.transaction() as conn:
        cursor = await conn.execute("select status, review from runs where id = %s for update", (run_id,))
        run = await cursor.fetchone()
        if verdict.request:
            cursor = await conn.execute(BY_REQUEST, (run_id, verdict.decided_by, verdict.request))
            if known := await cursor.fetchone():
                return cast("DecisionRow", known)
        review = run and run["review"]
        wanted = (verdict.gate, verdict.revision, verdict.seen_digest)
        if not review or (review["gate"], review["revision"], review["digest"]) != wanted:
            return None
        row = await _append(conn, run_id, verdict)
        await conn.execute(
            "update runs set status = 'running', review = null, updated_at = now(), next_look_at = now() + %s"
            " where id = %s",
            (WAKEUP_TIMEOUT, run_id),
        )
        payload = {
            "number": row["number"],
            "gate": row["gate"],
            "revision": row["revision"],
            "verdict": row["verdict"],
            "comment": row["comment"],
            "decided_by": row["decided_by"],
            "hash": row["hash"],
        }
        await record_event(conn, source=verdict.channel, kind="decision.recorded", run_id=run_id, payload=payload)
    return row


async def find_by_idempotency_key(db: Database, run_id: UUID, decided_by: str, request: str) -> DecisionRow | None:
    """The decision about this run that came with this Idempotency-Key of this one, if there is one."""
    return cast("DecisionRow | None", await db.fetch_one(BY_REQUEST, (run_id, decided_by, request)))


async def _append(conn: AsyncConnection[dict[str, Any]], run_id: UUID, verdict: NewDecision) -> DecisionRow:
    await conn.execute(CHAIN_LOCK)
    last = await (await conn.execute("select number, hash from decisions order by number desc limit 1")).fetchone()
    row: dict[str, Any] = {
        "number": last["number"] + 1 if last else 1,
        "run_id": run_id,
        **vars(verdict),
        # What is hashed must be what is read back: Postgres keeps microseconds.
        "decided_at": datetime.now(UTC),
        "previous_hash": last["hash"] if last else GENESIS,
    }
    row["hash"] = hash_of(row)
    values = {**row, "edits": _json(row["edits"]), "clips": _json(row["clips"]), "takes": _json(row["takes"])}
    await conn.execute(INSERT, values)
    return cast("DecisionRow", row)


def _json(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value)


async def list_decisions(db: Database, run_id: UUID | str) -> list[DecisionRow]:
    """Every decision about a run, oldest first."""
    rows = await db.fetch_all("select * from decisions where run_id = %s order by number", (run_id,))
    return [DecisionRow(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys


async def list_review_comments(db: Database, run_id: UUID | str, gate: str) -> list[dict[str, Any]]:
    """What this gate showed so far, oldest first: `revision`, `content`, and the `comment` it got."""
    return await db.fetch_all(
        """select (payload ->> 'revision')::int as revision, payload -> 'content' as content, decisions.comment
        from events left join decisions on decisions.run_id = events.run_id and decisions.gate = %(gate)s
             and decisions.revision = (payload ->> 'revision')::int
        where events.run_id = %(run_id)s and kind = 'review.opened' and payload ->> 'gate' = %(gate)s order by seq""",
        {"run_id": run_id, "gate": gate},
    )


async def verify_chain(db: Database) -> list[str]:
    """Every fault of the chain, a sentence each; empty if no row was changed, removed, added or moved.

    The feed of each run keeps the hash of every decision too: a chain that was cut off at its end does not agree
    with it.
    """
    faults, previous, expected = [], GENESIS, 1
    rows = await db.fetch_all("select * from decisions order by number")
    for row in rows:
        if row["number"] != expected:
            faults.append(f"Decision {expected} is missing before decision {row['number']}.")
        if row["previous_hash"] != previous:
            faults.append(f"Decision {row['number']} does not follow the one before it.")
        # For a while `takes` was hashed also where there were none.
        if row["hash"] not in (hash_of(row), hash_of(row, empty=("takes",))):
            faults.append(f"Decision {row['number']} was changed after it was made.")
        previous, expected = row["hash"], row["number"] + 1
    hashes = {row["number"]: row["hash"] for row in rows}
    told = await db.fetch_all(
        "select (payload ->> 'number')::bigint as number, payload ->> 'hash' as hash from events"
        " where kind = 'decision.recorded' order by number"
    )
    for row in told:
        if row["number"] not in hashes:
            faults.append(f"Decision {row['number']} was told to its run, and is gone.")
        elif hashes[row["number"]] != row["hash"]:
            faults.append(f"Decision {row['number']} is not the one that was told to its run.")
    return faults
