"""Many runs in the state of one: its rows copied under other ids, which takes seconds where runs would take minutes."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from bench.stage import Observer

#: The tables of a run with the column of its id. Events and decisions are not copied: nothing that is measured here
#: reads them before it writes its own.
TABLES = {
    "runs": "id",
    "orders": "run_id",
    "checkpoints": "thread_id",
    "checkpoint_blobs": "thread_id",
    "checkpoint_writes": "thread_id",
}


async def copy_run(observer: Observer, template: str, count: int) -> list[str]:
    """Copy a run `count` times and return the ids of the copies."""
    ids = [str(uuid4()) for _ in range(count)]
    connection = observer.connection
    # Triggers would refuse checkpoints of another process than the driver; the copies have no driver.
    await connection.execute("set session_replication_role = replica")
    for table, column in TABLES.items():
        select = SQL("select * from {} where {}::text = %s").format(Identifier(table), Identifier(column))
        rows = await (await connection.execute(select, (template,))).fetchall()
        if not rows:
            continue
        names = SQL(", ").join(map(Identifier, rows[0]))
        async with (
            connection.cursor() as cursor,
            cursor.copy(SQL("copy {} ({}) from stdin").format(Identifier(table), names)) as copy,
        ):
            for run_id in ids:
                for row in rows:
                    await copy.write_row(_with_id(row, template, run_id))
    await connection.execute("set session_replication_role = origin")
    await connection.execute("analyze")
    return ids


def _with_id(row: dict[str, Any], old: str, new: str) -> Sequence[Any]:
    copied = {name: _replace(value, old, new) for name, value in row.items()}
    if copied.get("task_id") and "state" in copied:  # an order: its task id is unique
        copied["task_id"] += f"-{new}"
    return list(copied.values())


def _replace(value: Any, old: str, new: str) -> Any:
    match value:
        case UUID() if str(value) == old:
            return UUID(new)
        case str():
            return value.replace(old, new)
        case bytes():
            return value.replace(old.encode(), new.encode())
        case dict() | list():
            return Jsonb(json.loads(json.dumps(value).replace(old, new)))
    return value
