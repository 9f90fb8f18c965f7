"""The catalogue: which video models there are, what they accept and what they cost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.answers import ApiError

SMALL_SIZES = ("720x1280", "1280x720")
LARGE_SIZES = (*SMALL_SIZES, "1024x1792", "1792x1024", "1080x1920", "1920x1080")
SORA_SECONDS = ("4", "8", "12", "16", "20")
SANDBOX_SECONDS = tuple(str(n) for n in range(1, 21))
PROMPT_LENGTH = 32_000

DEFAULT_MODEL, DEFAULT_SECONDS, DEFAULT_SIZE = "sora-2", "4", "720x1280"


@dataclass(frozen=True)
class Model:
    """What one model makes. Without sizes it makes any even size up to 1920 a side."""

    usd_per_second: float
    seconds: tuple[str, ...]
    sizes: tuple[str, ...] | None

    def makes(self, size: str) -> bool:
        """Whether the model makes pictures of that size."""
        if self.sizes is not None:
            return size in self.sizes
        match = re.fullmatch(r"([1-9]\d{2,3})x([1-9]\d{2,3})", size)
        return match is not None and all(128 <= int(n) <= 1920 and int(n) % 2 == 0 for n in match.groups())


_SORA = Model(0.10, SORA_SECONDS, SMALL_SIZES)
_PRO = Model(0.30, SORA_SECONDS, LARGE_SIZES)
MODELS = {
    "sandbox-video": Model(0.10, SANDBOX_SECONDS, None),
    "sora-2": _SORA,
    "sora-2-2025-10-06": _SORA,
    "sora-2-2025-12-08": _SORA,
    "sora-2-pro": _PRO,
    "sora-2-pro-2025-10-06": _PRO,
}


@dataclass(frozen=True)
class VideoOrder:
    """A create request that is in order."""

    model: str
    prompt: str
    seconds: str
    size: str

    @property
    def usd(self) -> float:
        """What it costs."""
        return round(MODELS[self.model].usd_per_second * int(self.seconds), 2)


def checked(fields: Mapping[str, Any]) -> VideoOrder:
    """The fields of a create request as an order, or ApiError 400 naming the one that is wrong."""
    prompt = _text(fields, "prompt", None)
    if not 1 <= len(prompt) <= PROMPT_LENGTH:
        raise _invalid("prompt", f"prompt must have 1 to {PROMPT_LENGTH} characters, it has {len(prompt)}.")
    name = _text(fields, "model", DEFAULT_MODEL)
    model = MODELS.get(name)
    if model is None:
        raise _invalid("model", f"Invalid value: '{name}'. Supported values are: {_listed(MODELS)}.")
    seconds = _text(fields, "seconds", DEFAULT_SECONDS)
    if seconds not in model.seconds:
        raise _invalid("seconds", f"Invalid value: '{seconds}'. Supported values are: {_listed(model.seconds)}.")
    size = _text(fields, "size", DEFAULT_SIZE)
    if not model.makes(size):
        sizes = _listed(model.sizes) if model.sizes else "any even size from 128x128 to 1920x1920"
        raise _invalid("size", f"Invalid value: '{size}'. Supported values are: {sizes}.")
    return VideoOrder(name, prompt, seconds, size)


def _text(fields: Mapping[str, Any], name: str, default: str | None) -> str:
    value = fields.get(name, default)
    if value is None:
        message = f"Missing required parameter: '{name}'."
        raise ApiError(400, message, code="missing_required_parameter", param=name)
    if not isinstance(value, str):
        message = f"Invalid type for '{name}': expected a string."
        raise ApiError(400, message, code="invalid_type", param=name)
    return value


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(400, message, code="invalid_value", param=param)


def _listed(values: Any) -> str:
    return ", ".join(f"'{value}'" for value in values)
