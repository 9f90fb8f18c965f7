"""Logs: one line for each event, with the ids of the request, run, clip, order and worker that it is about."""

import json
import logging
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

#: The loggers that the level is for. Libraries log warnings only: their other lines contain URLs and headers.
PACKAGES = ("agents", "api", "chat", "cli", "console", "graph", "prompts", "providers", "runs", "storage", "telemetry")
RUN_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ORDER_KEY = re.compile(rf"({RUN_ID.pattern}):(\w+):(\d+):\d+")
#: A service that failed so recently has not recovered.
RECOVERY_SECONDS = 5.0

log = logging.getLogger(__name__)
_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default=MappingProxyType({}))
_failed_at: dict[str, float] = {}


def current_ids() -> Mapping[str, str]:
    """Return the ids of what the calling task works on: of request, run, clip, order and worker, as far as known."""
    return _ids.get()


@contextmanager
def identified(subject: str = "", **ids: str) -> Iterator[None]:
    """Add ids to what the block logs and traces. The subject is the key of an order, or contains the id of a run."""
    if order := _ORDER_KEY.fullmatch(subject):
        ids |= {"run": order[1], "order": subject, **({"clip": order[3]} if order[2] == "clip" else {})}
    elif run := RUN_ID.search(subject):
        ids["run"] = run[0]
    token = _ids.set({**_ids.get(), **{name: value for name, value in ids.items() if value}})
    try:
        yield
    finally:
        _ids.reset(token)


def log_outage(service: str, reason: object) -> None:
    """Log that a service of this process failed, unless it failed before and has not recovered since."""
    if service not in _failed_at:
        log.warning("%s unavailable: %s", service, str(reason).partition("\n")[0])
    _failed_at[service] = time.monotonic()


def log_recovery(service: str) -> None:
    """Log that a service works again, if it failed before."""
    if time.monotonic() - _failed_at.get(service, float("inf")) > RECOVERY_SECONDS:
        del _failed_at[service]
        log.warning("%s available again", service)


class LineFormatter(logging.Formatter):
    """Formats records as text or as JSON. These secrets are replaced in either."""

    def __init__(self, *, is_json: bool, secrets: Collection[str]) -> None:
        super().__init__()
        self.is_json = is_json
        self._secrets = re.compile(
            "|".join(map(re.escape, sorted(filter(None, secrets), key=len, reverse=True))) or "(?!)"
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; the trace of an exception is a field of it, or follows the text."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
            **_ids.get(),
            **getattr(record, "fields", {}),
        }
        trace = self._redact(self.formatException(record.exc_info)) if record.exc_info else ""
        if self.is_json:
            return json.dumps({**fields, **({"exception": trace} if trace else {})}, ensure_ascii=False, default=str)
        head = " ".join(str(fields.pop(name)) for name in ("time", "level", "logger"))
        text, ids = fields.pop("message"), " ".join(f"{name}={value}" for name, value in fields.items())
        return f"{head}: {text}{f' [{ids}]' if ids else ''}{trace and chr(10)}{trace}"

    def _redact(self, text: str) -> str:
        return self._secrets.sub("[secret]", text)


def writes_json() -> bool:
    """Return whether the log lines of this process are JSON."""
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    return any(isinstance(each, LineFormatter) and each.is_json for each in formatters)


def configure_logs(form: str = "text", level: str | None = None, secrets: Collection[str] = ()) -> None:
    """Write log lines of at least this level to standard error; `info` is the default of `json`, else `warning`."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(is_json=form == "json", secrets=secrets))
    lowest = logging.getLevelNamesMapping()[(level or ("info" if form == "json" else "warning")).upper()]
    logging.basicConfig(level=max(lowest, logging.WARNING), handlers=[handler])
    for name in PACKAGES:
        logging.getLogger(name).setLevel(lowest)
    # It repeats every failed attempt to connect, which `log_outage` reports once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
