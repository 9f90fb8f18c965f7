"""Faults: misfortunes that are ordered beforehand and happen once each, or stay until they are cleared."""

import json
from dataclasses import dataclass
from typing import Any

from sandbox.store import Store

#: What can go wrong, and with which parameters (with their defaults).
FAULTS: dict[str, dict[str, Any]] = {
    # videos: create
    "create_accept_then_500": {},
    "create_accept_then_hang": {"seconds": 60.0},
    "create_500": {},
    "create_429": {"retry_after": 1},
    "create_refuse": {"code": "sentinel_block"},
    # videos: the job
    "fail": {"code": "moderation_blocked"},
    "slow": {"seconds": 8.0},
    "lose_video": {},
    # videos: content
    "content_slow": {"seconds": 5.0},
    "content_truncated": {},
    "content_html": {},
    "content_wrong_type": {"content_type": "image/png"},
    "content_500": {},
    # videos: the whole service, until cleared
    "shutdown": {"status": 404},
    "profile": {"profile": "vllm"},
    # webhooks
    "webhook_drop": {},
    "webhook_delay": {"seconds": 2.0},
    "webhook_duplicate": {"copies": 2},
    "webhook_stale": {},
    "webhook_forged": {},
    "webhook_failed_after_completed": {},
    "webhook_unknown_type": {},
    "webhook_unknown_video": {},
    "webhook_before_response": {"seconds": 20.0},
    "webhook_weather": {"drop": 0.0, "duplicate": 0.0, "delay_max": 0.0, "seed": 1},
    # publishing
    "upload_accept_then_timeout": {"seconds": 60.0},
    "upload_429": {"retry_after": 1},
    "upload_500": {},
    "upload_partial": {"platform": ""},
    "upload_fallback_to_inbox": {},
    "upload_slow": {"seconds": 10.0},
    # the language model and moderation
    "llm_cut_stream": {"abrupt": False},
    "llm_no_finish_reason": {},
    "llm_content_filter": {},
    "llm_length": {},
    "llm_refusal": {},
    "llm_invalid_json": {},
    "llm_429": {"retry_after": 1},
    "llm_500_html": {},
    "llm_slow": {"seconds": 5.0},
    "llm_wrong_schema": {},
    "moderation_500": {},
}

STANDING = {"shutdown", "profile", "webhook_weather"}
PROFILES = ("openai", "vllm", "sglang", "litellm", "openrouter")


class UnknownFault(ValueError):
    """There is no such fault or parameter; the message says what there is."""


@dataclass(frozen=True)
class Fault:
    """One ordered misfortune; `times` is how often it is still to happen, None until cleared."""

    name: str
    times: int | None
    params: dict[str, Any]


class Faults:
    """The misfortunes still to come, oldest first."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def order(self, name: str, times: int | None, params: dict[str, Any]) -> Fault:
        """Queues a fault. A standing one replaces its like."""
        if name not in FAULTS:
            raise UnknownFault(f"There is no fault {name!r}. There are: {', '.join(FAULTS)}.")
        for param, value in params.items():
            default = FAULTS[name].get(param)
            if default is None:
                raise UnknownFault(f"{name} has no parameter {param!r}; it has: {list(FAULTS[name])}.")
            if isinstance(default, str) != isinstance(value, str):
                raise UnknownFault(f"{name}.{param} must be like {default!r}.")
        if name == "profile" and params.get("profile", "vllm") not in PROFILES:
            raise UnknownFault(f"profile must be one of {', '.join(PROFILES)}.")
        if name in STANDING:
            self.clear(name)
            times = None
        fault = Fault(name, times, FAULTS[name] | params)
        sql = "INSERT INTO faults (name, times, params) VALUES (?, ?, ?)"
        self._store.write(sql, name, times, json.dumps(fault.params))
        return fault

    def take(self, name: str) -> dict[str, Any] | None:
        """The parameters of the next fault of that name, which happens now; None if none is due."""
        row = self._store.one("SELECT * FROM faults WHERE name = ? ORDER BY number LIMIT 1", name)
        if row is None:
            return None
        if row["times"] is not None and row["times"] <= 1:
            self._store.write("DELETE FROM faults WHERE number = ?", row["number"])
        else:
            self._store.write("UPDATE faults SET times = times - 1 WHERE number = ?", row["number"])
        params: dict[str, Any] = json.loads(row["params"])
        return params

    def happens(self, name: str) -> bool:
        """Whether a fault without parameters happens now."""
        return self.take(name) is not None

    def standing(self, name: str) -> dict[str, Any] | None:
        """The parameters of a fault that stays, without using it up."""
        row = self._store.one("SELECT params FROM faults WHERE name = ?", name)
        return None if row is None else json.loads(row["params"])

    @property
    def profile(self) -> str:
        """Which server's manners the videos have."""
        standing = self.standing("profile")
        return "openai" if standing is None else str(standing["profile"])

    def all(self) -> list[Fault]:
        """Every fault still to happen."""
        rows = self._store.all("SELECT * FROM faults ORDER BY number")
        return [Fault(row["name"], row["times"], json.loads(row["params"])) for row in rows]

    def clear(self, name: str | None = None) -> int:
        """Forgets the faults of a name, or all. Returns how many."""
        if name is None:
            return self._store.write("DELETE FROM faults")
        return self._store.write("DELETE FROM faults WHERE name = ?", name)
