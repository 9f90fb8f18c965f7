"""The rules of projects, in LangGraph's store: a person approved them, and the ideator follows them."""

from typing import Self

from langgraph.config import get_store
from langgraph.store.base import BaseStore
from pydantic import BaseModel


class StoredRules(BaseModel, frozen=True):
    """The rules of a project as a person approved them, or as the model proposed them.

    `through` is the number of the last decision that they are distilled from. `actor` is the name of who approved or
    asked for them, and `at` when, in ISO form; both are empty where there never were any.
    """

    rules: list[str] = []
    through: int = 0
    actor: str = ""
    at: str = ""

    def without(self, rule: str) -> Self:
        """Return the rules without this one."""
        return self.model_copy(update={"rules": [each for each in self.rules if each != rule]})


async def read_rules(store: BaseStore, project: str, kind: str = "approved") -> StoredRules | None:
    """Return the rules of a project, which are "approved" or "proposed", or None."""
    item = await store.aget(rules_namespace(project), kind)
    return StoredRules.model_validate(item.value) if item else None


async def approved_rules(project: str) -> list[str]:
    """Return the approved rules of a project from the store that the running graph has; none without a store."""
    # The annotation of `get_store` leaves out that a graph may have none.
    store: BaseStore | None = get_store()
    stored = await read_rules(store, project) if store else None
    return stored.rules if stored else []


def rules_namespace(project: str) -> tuple[str, str]:
    """Return the namespace of the rules of a project in the store."""
    return ("rules", project)
