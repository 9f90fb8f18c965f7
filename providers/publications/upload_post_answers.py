"""What Upload-Post says about each platform of an upload, in its status, its history and its warnings."""

from collections.abc import Callable, Sequence
from typing import Any

from providers.base import Json
from providers.values import error_code

#: The form fields that label a film as made by AI, for every platform that has such a label.
AI_LABELS = (
    "is_aigc",
    "tiktok_is_ai_generated",
    "containsSyntheticMedia",
    "is_ai_generated",
    "facebook_is_ai_generated",
)
#: Statuses of a platform whose work is not finished.
_UNFINISHED = ("pending", "queued", "processing", "in_progress", "in progress", "uploading", "scheduled", "retrying")


class PlatformAnswers:
    """The outcome on each platform, from its own result and its history entry.

    Publishing twice is worse than not at all: a platform is published if one of the two says so, and failed only if
    one of them says that. Any other is unconfirmed.
    """

    def __init__(self, requested: Sequence[str], status: Json, sanitize: Callable[[object], str]) -> None:
        results = _results(status.get("results"))
        self.names = list(dict.fromkeys((*requested, *results)))
        self._status, self._sanitize = status, sanitize
        self._answers = {name: [results[name]] if name in results else [] for name in self.names}

    def add_history(self, body: Json, request_id: str) -> None:
        """Add the history entries of this upload. An entry without its request id belongs to another."""
        for entry in (entry for name in ("history", "uploads") for entry in _objects(body.get(name))):
            if entry.get("request_id") == request_id and entry.get("platform") in self._answers:
                self._answers[entry["platform"]].append(entry)

    @property
    def published(self) -> dict[str, dict[str, Any]]:
        """Return the links of the platforms that published the film."""
        return {name: _link(answers) for name, answers in self._answers.items() if True in map(own_word, answers)}

    @property
    def failed(self) -> dict[str, str]:
        """Return the reasons of the platforms that say that they did not publish the film."""
        return {
            name: self._reason(answers)
            for name, answers in self._answers.items()
            if {own_word(answer) for answer in answers} & {True, False} == {False}
        }

    @property
    def unconfirmed(self) -> list[str]:
        """Return the platforms that say neither."""
        return [name for name in self.names if {True, False}.isdisjoint(map(own_word, self._answers[name]))]

    @property
    def error_code(self) -> str:
        """Return the first error code of a platform, or a general one."""
        codes = (error_code(answer.get("error_code")) for answers in self._answers.values() for answer in answers)
        return next(filter(None, codes), "publication_failed")

    def facts(self, accepted: Json) -> dict[str, Any]:
        """Return the outcome as JSON. `accepted` is the answer to the upload, whose warnings count too."""
        sources = [accepted, self._status, *(answer for answers in self._answers.values() for answer in answers)]
        rest = {"failed": self.failed, "unconfirmed": self.unconfirmed, "warnings": self._warnings(sources)}
        return {"platforms": self.published, **{name: value for name, value in rest.items() if value}}

    def _reason(self, answers: Sequence[Json]) -> str:
        texts = (self._sanitize(each.get(name)) for each in answers for name in ("error_message", "message", "error"))
        reason = next(filter(None, texts), "no reason given")
        code = next(filter(None, (error_code(answer.get("error_code")) for answer in answers)), None)
        return f"{reason.rstrip('.')} ({code})" if code else reason

    def _warnings(self, sources: Sequence[Json]) -> list[str]:
        """Return the warnings as sentences, each once; one about an AI label says so first."""
        texts = [self._sanitize(_warning_text(each)) for source in sources for each in _as_list(source.get("warnings"))]
        return list(dict.fromkeys(_mark_label(text) for text in texts if text))


def _results(value: object) -> dict[str, Json]:
    """Return the results by platform: Upload-Post sends them as a list, or as an object by platform."""
    if isinstance(value, dict):
        value = [{"platform": name, **result} for name, result in value.items() if isinstance(result, dict)]
    return {each["platform"]: each for each in _objects(value) if isinstance(each.get("platform"), str)}


def own_word(result: Json) -> bool | None:
    """Return whether a platform says that it has published the film; None if it says neither.

    A platform whose work is not finished has `success: false` as well, with a status or message such as "processing".
    """
    state = str(result.get("status") or "").lower()
    if state in _UNFINISHED:
        return None
    if result.get("success") is True:
        return True
    if str(result.get("message") or "").strip(" .").lower() in _UNFINISHED:
        return None
    return False if result.get("success") is False or state in ("failed", "error") else None


def _link(answers: Sequence[Json]) -> dict[str, Any]:
    """Return URL and id of a film on one platform; those of the history come last and count first."""
    newest = list(reversed(answers))
    urls = (answer.get("post_url") or answer.get("url") for answer in newest)
    ids = (answer.get("platform_post_id") or answer.get("post_id") for answer in newest)
    is_draft = any(answer.get("fallback_to_inbox") is True for answer in answers)
    return {
        "url": next(filter(None, urls), None),
        "post_id": next(filter(None, ids), None),
        **({"fallback_to_inbox": True} if is_draft else {}),
    }


def _warning_text(warning: object) -> str:
    if not isinstance(warning, dict):
        return str(warning)
    return ": ".join(str(warning[name]) for name in ("field", "code", "message", "warning") if warning.get(name))


def _mark_label(warning: str) -> str:
    return f"The AI label was not applied: {warning}" if any(label in warning for label in AI_LABELS) else warning


def _as_list(value: object) -> list[object]:
    if isinstance(value, dict):
        return [{"field": field, "message": text} for field, text in value.items()]
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
