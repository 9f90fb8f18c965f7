"""Fault injection: faults are queued over the admin API and occur a given number of times or until cleared."""

import json
from collections.abc import Mapping
from typing import Any

from sandbox.store import Store

#: The faults without parameters.
PLAIN_FAULTS = """
    create_accept_then_500 create_500 create_accept_then_drop url_expired quote_in_words quote_missing billed_in_units
    failed_with_429 status_500 video_not_found list_without_prompts video_401
    content_truncated content_html content_500
    webhook_drop webhook_stale webhook_forged webhook_failed_after_completed webhook_unknown_type
    webhook_unknown_video webhook_legacy
    upload_500 upload_401 upload_status_500 upload_fallback_to_inbox upload_label_ignored upload_history_renamed
    llm_no_finish_reason llm_content_filter llm_length llm_refusal llm_invalid_json llm_500_html llm_401
    llm_wrong_schema llm_schema_ignored llm_no_usage moderation_500
"""
#: Every fault that can be injected, with its parameters and their defaults.
FAULTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in PLAIN_FAULTS.split()},
    # videos: create, also of the vendors with contracts of their own
    "create_accept_then_hang": {"seconds": 60.0},
    "create_not_ready": {"message": "Video generation handler not initialized."},
    "create_repeated": {"copies": 3},
    "create_429": {"retry_after": 1},
    "create_refuse": {"code": "sentinel_block"},
    # vendors with contracts of their own: an error in the vendor's form, and what each does besides
    "vendor_error": {"status": 503, "code": "", "message": "SANDBOX: injected fault.", "accept": 0},
    "task_repeated": {"copies": 2},
    "index_lag": {"seconds": 2.0},
    "output_form": {"form": "list"},
    "files_need_key": {"need": 1},
    "quote_usd": {"usd": 1.0},
    "webhook_form": {"form": "unsigned"},
    # videos: the job and its content
    "fail": {"code": "moderation_blocked"},
    "slow": {"seconds": 8.0},
    "failed_oddly": {"form": "capitals"},
    "content_wrong_type": {"content_type": "image/png"},
    "content_late": {"status": 404},
    # videos: the whole service, active until cleared
    "shutdown": {"status": 404},
    "profile": {"profile": "vllm"},
    # webhooks
    "webhook_delay": {"seconds": 2.0},
    "webhook_duplicate": {"copies": 2},
    "webhook_before_response": {"seconds": 20.0},
    "webhook_random_faults": {"drop": 0.0, "duplicate": 0.0, "delay_max": 0.0, "seed": 1},
    # publishing; `upload_status_failed` is one answer about an upload, whatever became of it
    "upload_accept_then_timeout": {"seconds": 60.0},
    "upload_429": {"retry_after": 1},
    "upload_partial": {"platform": ""},
    "upload_slow": {"seconds": 10.0},
    "upload_status_failed": {"results": "none"},
    # language model and moderation, and quirks of other servers, of which `model_quirks.py` lists the values
    "llm_cut_stream": {"abrupt": False},
    "llm_429": {"retry_after": 1},
    "llm_slow": {"seconds": 5.0},
    "llm_refused_formats": {"forms": "json_schema", "style": "openai"},
    "llm_wrapped": {"wrapping": "fence"},
    "llm_reasoning_only": {"field": "reasoning_content"},
    "llm_finish_reason": {"reason": "eos"},
    "llm_html_page": {"status": 200},
    "llm_model_missing": {"body": '{"error": {"message": "The model does not exist.", "code": "model_not_found"}}'},
    "llm_usage": {"usage": "null"},
    "moderation_missing": {"status": 404},
}

#: Faults that stay active until they are cleared, regardless of `times`.
PERSISTENT_FAULTS = {"shutdown", "profile", "webhook_random_faults", "llm_refused_formats"}
#: The values of parameters that are one of a few words.
CHOICES = {
    # The server that the video API imitates.
    ("profile", "profile"): ("openai", "vllm", "sglang", "litellm", "openrouter"),
    # How a failed job is reported: its status in capitals, its error as text, or with the HTTP status 500.
    ("failed_oddly", "form"): ("capitals", "error_text", "http_500"),
    # What a status that reports `failed` for lack of activity says of the platforms.
    ("upload_status_failed", "results"): ("none", "processing"),
    # How a vendor signs its webhooks, and how Replicate writes the file of a prediction.
    ("webhook_form", "form"): ("unsigned", "two_signatures"),
    ("output_form", "form"): ("list", "null"),
}


class FaultQueue:
    """Pending faults, consumed oldest first."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def inject(self, name: str, times: int | None, params: dict[str, Any]) -> dict[str, Any]:
        """Queue a fault and return it as JSON; a persistent one replaces the active one of the same name.

        `times` is the number of occurrences, or None until cleared. Raises ValueError.
        """
        _check_params(name, params)
        if name in PERSISTENT_FAULTS:
            self.clear(name)
            times = None
        params = FAULTS[name] | params
        self._store.execute(
            "INSERT INTO faults (name, times, params) VALUES (?, ?, ?)", name, times, json.dumps(params)
        )
        return {"fault": name, "times": times, **params}

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
        if value not in CHOICES.get((name, param), (value,)):
            raise ValueError(f"{name}.{param} must be one of {', '.join(CHOICES[name, param])}.")
