"""Catalogue of the video models: accepted durations and sizes, prices, and validation of create requests."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.responses import ApiError
from sandbox.text import read_table

MAX_PROMPT_LENGTH = 32_000

DEFAULT_MODEL, DEFAULT_SECONDS, DEFAULT_SIZE = "sora-2", "4", "720x1280"


@dataclass(frozen=True)
class VideoModel:
    """Price and limits of a video model; without `sizes` it accepts any even size from 128 to 1920 pixels a side."""

    usd_per_second: float
    seconds: str
    sizes: str = ""

    def supports_size(self, size: str) -> bool:
        """Return whether the model accepts the size, given as "WIDTHxHEIGHT"."""
        if self.sizes:
            return size in self.sizes.split()
        match = re.fullmatch(r"([1-9]\d{2,3})x([1-9]\d{2,3})", size)
        return match is not None and all(128 <= int(n) <= 1920 and int(n) % 2 == 0 for n in match.groups())


#: The models of every vendor by their names, and those of the OpenAI API.
VIDEO_MODELS = read_table("video_models")
MODELS = {name: VideoModel(**limits) for name, limits in VIDEO_MODELS["openai"].items()}


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
    prompt = _parse_text(fields, "prompt")
    if not 1 <= len(prompt) <= MAX_PROMPT_LENGTH:
        raise _invalid_value("prompt", f"prompt must have 1 to {MAX_PROMPT_LENGTH} characters, it has {len(prompt)}.")
    name = _parse_text(fields, "model", DEFAULT_MODEL)
    if name not in MODELS:
        raise _unsupported("model", name, MODELS)
    model = MODELS[name]
    seconds = _parse_text(fields, "seconds", DEFAULT_SECONDS)
    if seconds not in model.seconds.split():
        raise _unsupported("seconds", seconds, model.seconds.split())
    size = _parse_text(fields, "size", DEFAULT_SIZE)
    if not model.supports_size(size):
        raise _unsupported("size", size, model.sizes.split() or ["any even size from 128x128 to 1920x1920"])
    return VideoOrder(name, prompt, seconds, size, model.usd_per_second)


def parse_data_uri(uri: object) -> bytes:
    """Return the content of a Base64 data URI. Raises ApiError 400."""
    try:
        return base64.b64decode(str(uri).split(";base64,")[1], validate=True)
    except (ValueError, IndexError):
        raise _invalid_value("image_url", "The image is not a Base64 data URI.") from None


def _parse_text(fields: Mapping[str, Any], name: str, default: str = "") -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise _invalid_value(name, f"Invalid type for '{name}': expected a string.")
    return value


def _invalid_value(param: str, message: str) -> ApiError:
    return ApiError(400, message, code="invalid_value", param=param)


def _unsupported(param: str, value: str, supported: Iterable[str]) -> ApiError:
    values = ", ".join(f"'{each}'" for each in supported)
    return _invalid_value(param, f"Invalid value: '{value}'. Supported values are: {values}.")
