"""`myloware audit verify`: compare decisions and sums with what they are chained to and added up from."""

from cli.running import call
from runs.services import Services
from storage import decisions
from storage.spending import verify_spending


def verify_decisions(head: str | None) -> tuple[list[str], int, str]:
    """Return the faults in decisions and sums, the number of decisions, and the head of their hash chain.

    `head` is an earlier head to compare with.
    """

    async def process(services: Services) -> tuple[list[str], int, str]:
        db = services.db
        return (
            [*await decisions.verify_chain(db, head or decisions.GENESIS), *await verify_spending(db)],
            await decisions.count_decisions(db),
            await decisions.chain_head(db),
        )

    return call(process)
