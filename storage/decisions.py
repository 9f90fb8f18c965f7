"""Decisions, append-only: one per review, each row chained to the previous one by its hash."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from providers.orders import digest_of
from storage.actors import ActorJson, ClaimedUser, RequestContext, actor_json
from storage.database import Connection, Database, fetch_all, fetch_one, read_statements
from storage.events import record_event
from storage.runs import WAKEUP_TIMEOUT

GENESIS = "0" * 64
#: The columns that count in a hash only where they have a value, because earlier versions did not have them.
NEW_COLUMNS = ("sample", "claimed_user", "words_digest", "words_salt")
#: The columns with words of persons, and their salt. Where a decision has a digest of them, it counts in their place.
WORDS = ("words_salt", "comment", "edits", "clips", "claimed_user")


@dataclass(frozen=True)
class NewDecision:
    """A decision before it is numbered and hashed. `edits`, `clips` and `takes` are JSON."""

    gate: str
    revision: int
    verdict: str
    #: The digest of the content that the reviewer saw, and that of the content that may be ordered or published.
    seen_digest: str
    approved_digest: str | None
    comment: str | None
    edits: Any
    #: The clips to generate again, `{clip, comment}` each.
    clips: list[dict[str, Any]] | None
    #: By clip number, the take to use.
    takes: dict[str, int] | None
    #: The only clips to generate before the gate opens again.
    sample: list[int] | None


@dataclass(frozen=True)
class DecisionRow(NewDecision):
    """A row of `decisions`."""

    number: int
    run_id: UUID
    actor_kind: str
    actor_id: str
    actor_name: str
    channel: str
    idempotency_key: str | None
    decided_at: datetime
    previous_hash: str
    hash: str
    claimed_user: ClaimedUser | None
    #: The digest of `WORDS` with the salt; both None in a decision of an earlier version, the salt in a pruned one.
    words_digest: str | None
    words_salt: str | None

    @property
    def actor_json(self) -> ActorJson:
        """Return the actor as JSON."""
        return actor_json(self.actor_kind, self.actor_id, self.actor_name, self.claimed_user)


sql = read_statements("decisions")


@dataclass(frozen=True)
class Pruning:
    """A row of `prunings`: the record that the words of a run were removed."""

    number: int
    run_id: UUID
    actor_id: str
    #: By number, the digests of what is left of its decisions of earlier versions, whose hashes contain the words.
    remains: dict[str, str]
    pruned_at: datetime
    previous_hash: str
    hash: str


def _as_json(row: DecisionRow | Pruning) -> dict[str, Any]:
    values = asdict(row) | {"run_id": str(row.run_id)}
    return {name: v.astimezone(UTC).isoformat() if isinstance(v, datetime) else v for name, v in values.items()}


def hash_of(row: DecisionRow | Pruning) -> str:
    """Return the hash of a decision or pruning: of its columns, the hash of the previous row of the chain included."""
    values = _as_json(row)
    del values["hash"]
    return _hash_of_columns(values) if isinstance(row, DecisionRow) else digest_of(values)


def _hash_of_columns(values: Mapping[str, Any]) -> str:
    """Return the hash of these columns of a decision, with the numbers of its clips in the place of its words."""
    if values["words_digest"]:
        numbers = values["clips"] and [each["clip"] for each in values["clips"]]
        values = {**values, **dict.fromkeys(WORDS), "clips": numbers}
    return digest_of({name: value for name, value in values.items() if name not in NEW_COLUMNS or value is not None})


async def record_decision(db: Database, run_id: UUID, new: NewDecision, context: RequestContext) -> DecisionRow | None:
    """Record a decision, such as an approval, and close the gate.

    A decision already recorded for the same idempotency key is returned instead. The run's row is locked until the
    commit, so one of several concurrent decisions is recorded. Return None if the review is not open, or shows other
    content than the reviewer saw.
    """
    async with db.transaction() as conn:
        run = await fetch_one(conn, "select review from runs where id = %s for update", (run_id,))
        request = (run_id, context.actor.id, context.idempotency_key)
        if known := await fetch_one(conn, sql["by_idempotency_key"], request, row=DecisionRow):
            return known
        review = run and run["review"]
        expected = (new.gate, new.revision, new.seen_digest)
        if not review or (review["gate"], review["revision"], review["digest"]) != expected:
            return None
        row = await _append(conn, run_id, new, context)
        await conn.execute(sql["close_review"], (WAKEUP_TIMEOUT, run_id))
        facts = {name: getattr(row, name) for name in ("number", "gate", "revision", "verdict", "comment", "hash")}
        payload = {**facts, "actor": row.actor_json}
        await record_event(conn, context.channel, "decision.recorded", run_id, payload)
    return row


async def is_approved_unsigned(db: Database, number: int) -> bool:
    """Return whether the decision approved a film before films were signed."""
    return await db.fetch_one("select 1 from unsigned_approvals where decision = %s", (number,)) is not None


async def find_recorded(db: Database, run_id: UUID, context: RequestContext) -> DecisionRow | None:
    """Return the decision about this run that a request of this actor with this idempotency key recorded, or None."""
    if context.idempotency_key is None:
        return None
    request = (run_id, context.actor.id, context.idempotency_key)
    return await db.fetch_one(sql["by_idempotency_key"], request, row=DecisionRow)


async def _append(conn: Connection, run_id: UUID, new: NewDecision, context: RequestContext) -> DecisionRow:
    values = {
        **vars(new),
        **context.columns(),
        "run_id": str(run_id),
        "idempotency_key": context.idempotency_key,
        "decided_at": datetime.now(UTC).isoformat(),
        "words_salt": secrets.token_hex(16),
    }
    return await append(conn, {**values, "words_digest": digest_of([values[name] for name in WORDS])})


async def append(conn: Connection, columns: Mapping[str, Any]) -> DecisionRow:
    """Append a decision with these columns to the chain, which gives it its number and hash."""
    await conn.execute(sql["chain_lock"])
    last = await fetch_one(conn, sql["last"]) or {"number": 0, "hash": GENESIS}
    decided_at = datetime.fromisoformat(columns["decided_at"]).astimezone(UTC).isoformat()
    values = {**columns, "number": last["number"] + 1, "decided_at": decided_at, "previous_hash": last["hash"]}
    values.pop("hash", None)
    [row] = await fetch_all(conn, sql["insert"], ({**values, "hash": _hash_of_columns(values)},), row=DecisionRow)
    return row


async def prune_decisions(conn: Connection, run_id: UUID, actor_id: str) -> datetime:
    """Remove the words of a run's decisions in the caller's transaction, record that in the chain, and return the time.

    Raises ValueError if a decision was changed after it was recorded: its words are evidence, and stay.
    """
    of_run = "select * from decisions where run_id = %s order by number"
    for row in await fetch_all(conn, of_run, (run_id,), row=DecisionRow):
        if fault := fault_of(row, None):
            raise ValueError(fault)
    stripped = await fetch_all(conn, sql["strip"], (run_id,), row=DecisionRow)
    remains = {str(row.number): digest_of(_as_json(row)) for row in stripped if row.words_digest is None}
    await conn.execute(sql["chain_lock"])
    last = await fetch_one(conn, sql["last"]) or {"number": 0, "hash": GENESIS}
    pruning = Pruning(last["number"] + 1, run_id, actor_id, remains, datetime.now(UTC), last["hash"], "")
    await conn.execute(sql["insert_pruning"], ({**_as_json(pruning), "hash": hash_of(pruning)},))
    return pruning.pruned_at


async def list_decisions(db: Database, run_id: UUID | str) -> list[DecisionRow]:
    """Return the decisions about a run, oldest first, with the present ids of API keys."""
    return await db.fetch_all(sql["of_run"], (run_id,), row=DecisionRow)


async def list_notes(db: Database, project: str, after: int) -> list[tuple[int, str]]:
    """Return the notes with decisions about films of a project with a number above `after`, newest first."""
    return [(row["number"], row["note"]) for row in await db.fetch_all(sql["notes"], (project, after))]


async def chain_head(db: Database) -> tuple[int, str]:
    """Return the number of all decisions and the hash of the newest one, which commits to every decision before it."""
    [row] = await db.fetch_all(sql["head"])
    return row["count"], row["hash"] or GENESIS


def fault_of(row: DecisionRow | Pruning, pruning: Pruning | None) -> str | None:
    """Return what is wrong with a row of the chain, or None. `pruning` is the record of its run, if it was pruned."""
    if isinstance(row, Pruning):
        is_intact = row.hash == hash_of(row)
    elif pruning and row.words_digest is None:
        is_intact = pruning.remains.get(str(row.number)) == digest_of(_as_json(row))
    else:
        is_intact = row.hash == hash_of(row) and _has_its_words(row, is_pruned=pruning is not None)
    return None if is_intact else f"Decision {row.number} was changed after it was recorded."


def _has_its_words(row: DecisionRow, *, is_pruned: bool) -> bool:
    """Return whether the words of a decision are those that were recorded, or are all gone from a pruned one."""
    if is_pruned:
        notes = [each for each in row.clips or () if len(each) > 1]
        return not any((row.words_salt, row.comment, row.edits, row.claimed_user, notes))
    return row.words_digest in (None, digest_of([_as_json(row)[name] for name in WORDS]))
