"""Copies of runs in Studio's own database, where their threads can be changed. The original is only read."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from storage import decisions
from storage.actors import RequestContext
from storage.database import Connection, Database, fetch_one, read_statements
from storage.events import record_event

#: The tables in the order in which they are filled; decisions are appended to the chain before all but the first.
TABLES = ("events", "orders", "unsigned_approvals", "checkpoints", "checkpoint_blobs", "checkpoint_writes")
OPEN_RESULT = {"code": "not_copied", "message": "It was not finished when the run was copied to Studio."}

sql = read_statements("run_copies")
Row = dict[str, Any]


async def copy_run(
    source: Database, target: Database, run_id: UUID, context: RequestContext
) -> Sequence[Mapping[str, Any]]:
    """Copy a run with its thread, events, decisions and orders, unless it is there; return the rows of its artifacts.

    The decisions are appended to the chain of the target, which numbers and hashes them again, and everything that
    names them follows. A failed run gets a request for a retry: resuming its thread tries again what failed.
    Raises LookupError if there is no such run.
    """
    rows = defaultdict[str, list[Row]](list)
    for each in await source.fetch_all(sql["rows"], {"run_id": run_id, "open_result": Jsonb(OPEN_RESULT)}):
        rows[each["name"]].append(each["row"])
    if not rows["runs"]:
        raise LookupError(f"Run {run_id} not found.")
    async with target.transaction() as conn:
        await conn.execute(sql["let_threads_be_written"])
        if await fetch_one(conn, "select 1 from runs where id = %s", (run_id,)):
            return rows["artifacts"]
        await _insert(conn, "runs", rows["runs"])
        _rename(rows, {row["number"]: await decisions.append(conn, row) for row in rows["decisions"]})
        for table in TABLES:
            await _insert(conn, table, rows[table])
        if rows["runs"][0]["status"] == "failed":
            payload = {"actor": context.actor.as_json()}
            await record_event(conn, context.channel, "retry.requested", run_id, payload)
    return rows["artifacts"]


async def _insert(conn: Connection, table: str, rows: list[Row]) -> None:
    if rows:
        columns = SQL(", ").join(map(Identifier, rows[0]))
        await conn.execute(SQL(sql["insert"]).format(table=Identifier(table), columns=columns), (Jsonb(rows),))


def _rename(rows: Mapping[str, list[Row]], copies: Mapping[int, decisions.DecisionRow]) -> None:
    """Replace the numbers of the decisions by those of their copies."""
    for event in rows["events"]:
        if event["kind"] == "decision.recorded":
            copy = copies[event["payload"]["number"]]
            event["payload"] |= {"number": copy.number, "hash": copy.hash}
    for row in [*rows["orders"], *rows["unsigned_approvals"]]:
        row["decision"] = row["decision"] and copies[row["decision"]].number
    serializer = JsonPlusSerializer()
    for row in [*rows["checkpoint_blobs"], *rows["checkpoint_writes"]]:
        if row["blob"]:
            value = serializer.loads_typed((row["type"], bytes.fromhex(row["blob"].removeprefix("\\x"))))
            if (renumbered := _renumbered(value, copies)) != value:
                row["type"], blob = serializer.dumps_typed(renumbered)
                row["blob"] = f"\\x{blob.hex()}"


def _renumbered(value: Any, copies: Mapping[int, decisions.DecisionRow]) -> Any:
    if isinstance(value, list):
        return [_renumbered(each, copies) for each in value]
    if not isinstance(value, dict):
        return value
    # A decision has its number, and the approval of an order that of its decision.
    name = "number" if "verdict" in value else "decision" if "digest" in value else ""
    if isinstance(number := value.get(name), int) and number in copies:
        return {**value, name: copies[number].number}
    return {name: _renumbered(each, copies) for name, each in value.items()}
