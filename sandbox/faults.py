"""Fault injection: faults are queued over the admin API and occur a given number of times or until cleared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.store import Store

#: Every fault that can be injected, with its parameters and their defaults.
FAULTS: dict[str, dict[str, Any]] = {
    # videos: create
    "create_accept_then_500": {},
    "create_accept_then_hang": {"seconds": 60.0},
    "create_500": {},
    "create_not_ready": {"message": "Video generation handler not initialized."},
    "create_repeated": {"copies": 3},
    "create_429": {"retry_after": 1},
    "create_refuse": {"code": "sentinel_block"},
    # vendors with contracts of their own: an error in the vendor's form, and what each does besides
    "vendor_error": {"status": 503, "code": "", "message": "SANDBOX: injected fault.", "accept": 0},
    "create_accept_then_drop": {},
    "task_repeated": {"copies": 2},
    "index_lag": {"seconds": 2.0},
    "output_form": {"form": "list"},
    "files_need_key": {"need": 1},
    "url_expired": {},
    "quote_in_words": {},
    "quote_missing": {},
    "quote_usd": {"usd": 1.0},
    "billed_in_units": {},
    "webhook_form": {"form": "unsigned"},
    "webhook_legacy": {},
    # videos: the job
    "fail": {"code": "moderation_blocked"},
    "failed_with_429": {},
    "slow": {"seconds": 8.0},
    "failed_oddly": {"form": "capitals"},
    "status_500": {},
    "video_not_found": {},
    "list_without_prompts": {},
    # videos: content
    "content_slow": {"seconds": 5.0},
    "content_truncated": {},
    "content_html": {},
    "content_wrong_type": {"content_type": "image/png"},
    "content_500": {},
    "content_late": {"status": 404},
    # videos: any request
    "video_401": {},
    # videos: the whole service, active until cleared
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
    "webhook_random_faults": {"drop": 0.0, "duplicate": 0.0, "delay_max": 0.0, "seed": 1},
    # publishing
    "upload_accept_then_timeout": {"seconds": 60.0},
    "upload_429": {"retry_after": 1},
    "upload_500": {},
    "upload_401": {},
    "upload_status_500": {},
    "upload_partial": {"platform": ""},
    "upload_fallback_to_inbox": {},
    "upload_slow": {"seconds": 10.0},
    # publishing: one answer each about an upload, whatever became of it
    "upload_status_failed": {"results": "none"},
    "upload_label_ignored": {},
    "upload_history_renamed": {},
    # language model and moderation
    "llm_cut_stream": {"abrupt": False},
    "llm_no_finish_reason": {},
    "llm_content_filter": {},
    "llm_length": {},
    "llm_refusal": {},
    "llm_invalid_json": {},
    "llm_429": {"retry_after": 1},
    "llm_500_html": {},
    "llm_401": {},
    "llm_slow": {"seconds": 5.0},
    "llm_wrong_schema": {},
    # language model: quirks of other servers, of which `sandbox/model_quirks.py` lists the values
    "llm_refused_formats": {"forms": "json_schema", "style": "openai"},
    "llm_schema_ignored": {},
    "llm_wrapped": {"wrapping": "fence"},
    "llm_reasoning_only": {"field": "reasoning_content"},
    "llm_finish_reason": {"reason": "eos"},
    "llm_html_page": {"status": 200},
    "llm_model_missing": {"body": '{"error": {"message": "The model does not exist.", "code": "model_not_found"}}'},
    "llm_no_usage": {},
    "llm_usage": {"usage": "null"},
    "moderation_500": {},
    "moderation_missing": {"status": 404},
}

#: Faults that stay active until they are cleared, regardless of `times`.
PERSISTENT_FAULTS = {"shutdown", "profile", "webhook_random_faults", "llm_refused_formats"}
#: What a status that reports `failed` for lack of activity says of the platforms.
STALLED_RESULTS = ("none", "processing")
#: How a vendor sends its webhooks, and how Replicate writes the file of a prediction.
WEBHOOK_FORMS = ("unsigned", "two_signatures")
OUTPUT_FORMS = ("list", "null")
#: How a failed job is reported: its status in capitals, its error as text, or with the HTTP status 500.
ODD_FORMS = ("capitals", "error_text", "http_500")
PROFILES = ("openai", "vllm", "sglang", "litellm", "openrouter")
#: The values of parameters that are one of a few words.
CHOICES = {
    ("profile", "profile"): PROFILES,
    ("failed_oddly", "form"): ODD_FORMS,
    ("upload_status_failed", "results"): STALLED_RESULTS,
    ("webhook_form", "form"): WEBHOOK_FORMS,
    ("output_form", "form"): OUTPUT_FORMS,
}


class UnknownFault(ValueError):
    """The fault or its parameter does not exist; the message lists the valid ones."""


@dataclass(frozen=True)
class Fault:
    """Pending fault; `times` is the number of remaining occurrences, or None until cleared."""

    name: str
    times: int | None
    params: dict[str, Any]


class FaultQueue:
    """Pending faults, consumed oldest first."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def inject(self, name: str, times: int | None, params: dict[str, Any]) -> Fault:
        """Queue a fault; a persistent one replaces the active one of the same name. Raises UnknownFault."""
        _check_params(name, params)
        if name in PERSISTENT_FAULTS:
            self.clear(name)
            times = None
        fault = Fault(name, times, FAULTS[name] | params)
        sql = "INSERT INTO faults (name, times, params) VALUES (?, ?, ?)"
        self._store.execute(sql, name, times, json.dumps(fault.params))
        return fault

    def consume(self, name: str) -> dict[str, Any] | None:
        """Use up one occurrence of the oldest fault of that name and return its parameters, or None."""
        row = self._store.fetch_one("SELECT * FROM faults WHERE name = ? ORDER BY number LIMIT 1", name)
        if row is None:
            return None
        if row["times"] is not None and row["times"] <= 1:
            self._store.execute("DELETE FROM faults WHERE number = ?", row["number"])
        else:
            self._store.execute("UPDATE faults SET times = times - 1 WHERE number = ?", row["number"])
        params: dict[str, Any] = json.loads(row["params"])
        return params

    def trigger(self, name: str) -> bool:
        """Use up one occurrence of the oldest fault of that name and return whether there was one."""
        return self.consume(name) is not None

    def get_active(self, name: str) -> dict[str, Any] | None:
        """Return the parameters of a persistent fault without using it up, or None."""
        row = self._store.fetch_one("SELECT params FROM faults WHERE name = ?", name)
        return None if row is None else json.loads(row["params"])

    @property
    def profile(self) -> str:
        """Return the name of the video server that the video API imitates."""
        active = self.get_active("profile")
        return "openai" if active is None else str(active["profile"])

    def list_pending(self) -> list[Fault]:
        """Return all pending faults, oldest first."""
        rows = self._store.fetch_all("SELECT * FROM faults ORDER BY number")
        return [Fault(row["name"], row["times"], json.loads(row["params"])) for row in rows]

    def clear(self, name: str | None = None) -> int:
        """Remove all pending faults, or those of one name, and return their number."""
        if name is None:
            return self._store.execute("DELETE FROM faults")
        return self._store.execute("DELETE FROM faults WHERE name = ?", name)


def _check_params(name: str, params: Mapping[str, Any]) -> None:
    if name not in FAULTS:
        raise UnknownFault(f"Unknown fault {name!r}. Valid faults: {', '.join(FAULTS)}.")
    for param, value in params.items():
        default = FAULTS[name].get(param)
        if default is None:
            raise UnknownFault(f"{name} has no parameter {param!r}. Valid parameters: {list(FAULTS[name])}.")
        if isinstance(default, str) != isinstance(value, str):
            raise UnknownFault(f"{name}.{param} must have the type of {default!r}.")
        if value not in CHOICES.get((name, param), (value,)):
            raise UnknownFault(f"{name}.{param} must be one of {', '.join(CHOICES[name, param])}.")
