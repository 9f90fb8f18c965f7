"""The verification of the chain of decisions and prunings."""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.database import Database, read_statements
from storage.decisions import GENESIS, DecisionRow, Pruning, fault_of

sql = read_statements("decision_chain")


async def verify_chain(db: Database, head: str = GENESIS) -> list[str]:
    """Return one sentence per fault of the chain; empty if no row was changed, removed, added or moved.

    The events of each run contain the hashes of its decisions, and orders are placed under the decision that approved
    them, so a chain that was cut off at its end is found. `head` is a head of the chain that was kept elsewhere: it
    finds a removed decision of which the database has no trace left.
    """
    # Read before the decisions: a decision that is recorded between the two statements is not missing.
    recorded = await db.fetch_all(sql["recorded"])
    unapproved = await db.fetch_all(sql["unapproved"])
    rows = await db.fetch_all("select * from decisions order by number", row=DecisionRow)
    prunings = await db.fetch_all("select * from prunings order by number", row=Pruning)
    faults, hashes = _chain_faults(rows, prunings), {row.number: row.hash for row in rows}
    for event in recorded:
        if event["number"] not in hashes:
            faults.append(f"Decision {event['number']} is in its run's events, but is missing.")
        elif hashes[event["number"]] != event["hash"]:
            faults.append(f"Decision {event['number']} differs from its run's events.")
    faults += [f"Order {order['key']} was placed under {_named(order)}." for order in unapproved]
    if head not in (GENESIS, *hashes.values(), *(row.hash for row in prunings)):
        faults.append(f"No decision has the hash {head}: decisions were changed or removed since it was the head.")
    return faults


def _chain_faults(rows: Sequence[DecisionRow], prunings: Sequence[Pruning]) -> list[str]:
    faults, previous, expected = [], GENESIS, 1
    pruned, chain = {row.run_id: row for row in prunings}, list[DecisionRow | Pruning]([*rows, *prunings])
    for row in sorted(chain, key=lambda row: row.number):
        if row.number != expected:
            faults.append(f"Decision {expected} is missing before decision {row.number}.")
        if row.previous_hash != previous:
            faults.append(f"Decision {row.number} does not follow the one before it.")
        if fault := fault_of(row, pruned.get(row.run_id)):
            faults.append(fault)
        previous, expected = row.hash, row.number + 1
    return faults


def _named(order: Mapping[str, Any]) -> str:
    if order["decision"] is None:
        return "no decision"
    return f"decision {order['decision']}, which {'is missing' if order['is_missing'] else 'does not approve it'}"
