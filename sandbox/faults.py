"""Fault injection: faults are queued over the admin API and occur a given number of times or until cleared."""

import json
from collections.abc import Mapping
from typing import Any

from sandbox.responses import injected_error
from sandbox.store import Store
from sandbox.text import read_table

_TABLE = read_table("faults")
#: Every fault that can be injected, with its parameters and their defaults.
FAULTS: dict[str, dict[str, Any]] = {name: {} for name in _TABLE["plain"].split()} | _TABLE["faults"]


class FaultQueue:
    """Pending faults, consumed oldest first."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def inject(self, name: str, times: int | None, params: dict[str, Any]) -> dict[str, Any]:
        """Queue a fault and return it as JSON; a persistent one replaces the active one of the same name.

        `times` is the number of occurrences, or None until cleared. Raises ValueError.
        """
        _check_params(name, params)
        if name in _TABLE["persistent"]:
            self.clear(name)
            times = None
        params = FAULTS[name] | params
        self._store.insert("faults", name=name, times=times, params=json.dumps(params))
        return {"fault": name, "times": times, **params}

    def consume(self, name: str) -> dict[str, Any] | None:
        """Use up one occurrence of the oldest fault of that name and return its parameters, or None.

        A persistent fault is not used up.
        """
        row = self._store.fetch_one("SELECT * FROM faults WHERE name = ? ORDER BY number LIMIT 1", name)
        if row is None:
            return None
        if row["times"] is not None:
            self._store.execute("UPDATE faults SET times = times - 1 WHERE number = ?", row["number"])
            self._store.execute("DELETE FROM faults WHERE times = 0")
        return dict(json.loads(row["params"]))

    def trigger(self, name: str) -> bool:
        """Use up one occurrence of the oldest fault of that name and return whether there was one."""
        return self.consume(name) is not None

    def raise_error(self, *names: str) -> None:
        """Raise the error of the first pending fault of these names, which end with the HTTP status of the error."""
        for name in names:
            if (params := self.consume(name)) is not None:
                raise injected_error(int(name[-3:]), params)

    @property
    def profile(self) -> str:
        """Return the name of the video server that the video API imitates."""
        return str((self.consume("profile") or {"profile": "openai"})["profile"])

    def list_pending(self) -> list[dict[str, Any]]:
        """Return all pending faults as JSON, oldest first."""
        rows = self._store.fetch_all("SELECT * FROM faults ORDER BY number")
        return [{"fault": row["name"], "times": row["times"], **json.loads(row["params"])} for row in rows]

    def clear(self, name: str | None = None) -> int:
        """Remove all pending faults, or those of one name, and return their number."""
        return self._store.execute("DELETE FROM faults WHERE name = coalesce(?, name)", name)


def _check_params(name: str, params: Mapping[str, Any]) -> None:
    if name not in FAULTS:
        raise ValueError(f"Unknown fault {name!r}. Valid faults: {', '.join(FAULTS)}.")
    for param, value in params.items():
        default = FAULTS[name].get(param)
        if default is None:
            raise ValueError(f"{name} has no parameter {param!r}. Valid parameters: {list(FAULTS[name])}.")
        if isinstance(default, str) != isinstance(value, str):
            raise ValueError(f"{name}.{param} must have the type of {default!r}.")
        choices = _TABLE["choices"].get(name, {}).get(param, [value])
        if value not in choices:
            raise ValueError(f"{name}.{param} must be one of {', '.join(choices)}.")
