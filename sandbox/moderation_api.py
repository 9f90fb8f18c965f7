"""OpenAI-compatible `/v1/moderations` that flags a short list of words."""

import re
import secrets
from typing import Annotated, Any

from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from sandbox.faults import FaultQueue
from sandbox.routing import build_router, require_bearer_token
from sandbox.text import read_table

_TABLE = read_table("moderation")
CATEGORIES = _TABLE["categories"].split()
#: The categories of the patterns that are flagged.
FLAGGED_PATTERNS: dict[str, list[str]] = _TABLE["flagged"]
CLEAN_SCORE, FLAGGED_SCORE = 0.0001, 0.97


class ModerationRequest(BaseModel):
    """Request to moderate a text, several texts, or the parts of a message."""

    model: str = "omni-moderation-latest"
    input: str | Annotated[list[str], Field(min_length=1)] | Annotated[list[dict[str, Any]], Field(min_length=1)]


class ModerationApi:
    """Handler of the moderation API."""

    def __init__(self, faults: FaultQueue) -> None:
        self._faults = faults
        self.router = build_router("/v1", {"POST /moderations": self.moderate}, require_bearer_token)

    async def moderate(self, request: ModerationRequest) -> Response:
        """Return one result for each string of a list, and a single one for any other input."""
        self._faults.raise_error("moderation_500")
        if missing := self._faults.consume("moderation_missing"):
            return JSONResponse({"error": {"code": 404, "message": "File Not Found"}}, int(missing["status"]))
        results = [_classify(text, input_types) for text, input_types in _split_input(request.input)]
        return JSONResponse({"id": f"modr-{secrets.token_hex(12)}", "model": request.model, "results": results})


def _split_input(material: str | list[str] | list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the text and the input types of each item to classify; the parts of a message are one."""
    parts = [part for part in material if isinstance(part, dict)]
    if not parts:
        return [(str(text), ["text"]) for text in ([material] if isinstance(material, str) else material)]
    input_types = {"text" if part.get("type") == "text" else "image" for part in parts}
    return [(" ".join(str(part.get("text", "")) for part in parts), sorted(input_types, reverse=True))]


def find_categories(text: str) -> set[str]:
    """Return the categories under which a text is flagged."""
    return {name for pattern, names in FLAGGED_PATTERNS.items() if re.search(pattern, text.lower()) for name in names}


def _classify(text: str, input_types: list[str]) -> dict[str, Any]:
    found = find_categories(text)
    return {
        "flagged": bool(found),
        "categories": {name: name in found for name in CATEGORIES},
        "category_scores": {name: FLAGGED_SCORE if name in found else CLEAN_SCORE for name in CATEGORIES},
        "category_applied_input_types": dict.fromkeys(CATEGORIES, input_types),
    }
