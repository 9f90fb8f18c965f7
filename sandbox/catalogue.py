"""Catalogue of the video models: accepted durations and sizes, prices, and validation of create requests."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.responses import ApiError

SMALL_SIZES = ("720x1280", "1280x720")
LARGE_SIZES = (*SMALL_SIZES, "1024x1792", "1792x1024", "1080x1920", "1920x1080")
SORA_SECONDS = ("4", "8", "12", "16", "20")
SANDBOX_SECONDS = tuple(str(n) for n in range(1, 21))
MAX_PROMPT_LENGTH = 32_000

DEFAULT_MODEL, DEFAULT_SECONDS, DEFAULT_SIZE = "sora-2", "4", "720x1280"


@dataclass(frozen=True)
class VideoModel:
    """Price and limits of a video model; `sizes` None accepts any even size from 128 to 1920 pixels a side."""

    usd_per_second: float
    seconds: tuple[str, ...]
    sizes: tuple[str, ...] | None

    def supports_size(self, size: str) -> bool:
        """Return whether the model accepts the size, given as "WIDTHxHEIGHT"."""
        if self.sizes is not None:
            return size in self.sizes
        match = re.fullmatch(r"([1-9]\d{2,3})x([1-9]\d{2,3})", size)
        return match is not None and all(128 <= int(n) <= 1920 and int(n) % 2 == 0 for n in match.groups())


_SORA = VideoModel(0.10, SORA_SECONDS, SMALL_SIZES)
_SORA_PRO = VideoModel(0.30, SORA_SECONDS, LARGE_SIZES)
MODELS = {
    "sandbox-video": VideoModel(0.10, SANDBOX_SECONDS, None),
    "sora-2": _SORA,
    "sora-2-2025-10-06": _SORA,
    "sora-2-2025-12-08": _SORA,
    "sora-2-pro": _SORA_PRO,
    "sora-2-pro-2025-10-06": _SORA_PRO,
}


@dataclass(frozen=True)
class VideoOrder:
    """Valid request to create a video."""

    model: str
    prompt: str
    seconds: str
    size: str
    usd_per_second: float
    #: The image that the video starts from.
    image: bytes = b""

    @property
    def price_usd(self) -> float:
        """Return the price of the video in USD."""
        return round(self.usd_per_second * int(self.seconds), 3)


def parse_video_order(fields: Mapping[str, Any]) -> VideoOrder:
    """Return the order described by the fields of a create request.

    Raises ApiError 400 that names the invalid parameter.
    """
    prompt = _parse_text(fields, "prompt", None)
    if not 1 <= len(prompt) <= MAX_PROMPT_LENGTH:
        raise _invalid_value("prompt", f"prompt must have 1 to {MAX_PROMPT_LENGTH} characters, it has {len(prompt)}.")
    name = _parse_text(fields, "model", DEFAULT_MODEL)
    model = MODELS.get(name)
    if model is None:
        raise _invalid_value("model", f"Invalid value: '{name}'. Supported values are: {_quote_all(MODELS)}.")
    seconds = _parse_text(fields, "seconds", DEFAULT_SECONDS)
    if seconds not in model.seconds:
        supported = _quote_all(model.seconds)
        raise _invalid_value("seconds", f"Invalid value: '{seconds}'. Supported values are: {supported}.")
    size = _parse_text(fields, "size", DEFAULT_SIZE)
    if not model.supports_size(size):
        supported = _quote_all(model.sizes) if model.sizes else "any even size from 128x128 to 1920x1920"
        raise _invalid_value("size", f"Invalid value: '{size}'. Supported values are: {supported}.")
    return VideoOrder(name, prompt, seconds, size, model.usd_per_second)


def parse_data_uri(uri: str) -> bytes:
    """Return the content of a Base64 data URI. Raises ApiError 400."""
    try:
        return base64.b64decode(uri.partition(";base64,")[2], validate=True)
    except ValueError:
        raise _invalid_value("image_url", "The image is not a Base64 data URI.") from None


def _parse_text(fields: Mapping[str, Any], name: str, default: str | None) -> str:
    value = fields.get(name, default)
    if value is None:
        message = f"Missing required parameter: '{name}'."
        raise ApiError(400, message, code="missing_required_parameter", param=name)
    if not isinstance(value, str):
        message = f"Invalid type for '{name}': expected a string."
        raise ApiError(400, message, code="invalid_type", param=name)
    return value


def _invalid_value(param: str, message: str) -> ApiError:
    return ApiError(400, message, code="invalid_value", param=param)


def _quote_all(values: Any) -> str:
    return ", ".join(f"'{value}'" for value in values)
