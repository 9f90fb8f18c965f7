"""OpenAI-compatible `/v1/moderations` that flags a short list of words."""

import re
import secrets
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from sandbox.faults import FaultQueue
from sandbox.responses import ApiError, require_bearer_token, server_error

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)

#: Patterns that are flagged, with the categories they belong to.
FLAGGED_PATTERNS: dict[str, tuple[str, ...]] = {
    r"\bgore\b|\bgory\b|\bbeheading\b": ("violence", "violence/graphic"),
    r"\bnude\b|\bnudity\b|\bnaked\b|\bporn\b": ("sexual",),
    r"\bkill (people|them|him|her|everyone)\b|\bmassacre\b": ("violence", "harassment/threatening"),
    r"\bbuild a bomb\b|\bbomb[- ]making\b": ("illicit", "illicit/violent"),
    r"#flagged\b": ("illicit",),
}

CLEAN_SCORE, FLAGGED_SCORE = 0.0001, 0.97


class ModerationApi:
    """Handler of the moderation API."""

    def __init__(self, faults: FaultQueue) -> None:
        self._faults = faults

    def routes(self) -> APIRouter:
        """Return the router of the moderation API."""
        router = APIRouter(prefix="/v1", dependencies=[Depends(require_bearer_token)])
        router.add_api_route("/moderations", self.moderate, methods=["POST"])
        return router

    async def moderate(self, request: Request) -> Response:
        """Return one result for each string of a list, and a single one for any other input."""
        if self._faults.trigger("moderation_500"):
            raise server_error()
        if missing := self._faults.consume("moderation_missing"):
            return JSONResponse({"error": {"code": 404, "message": "File Not Found"}}, int(missing["status"]))
        try:
            body = await request.json()
            material = body["input"]
        except (ValueError, KeyError, TypeError) as error:
            raise ApiError(400, "Missing required parameter: 'input'.", param="input") from error
        results = [_classify(text, input_types) for text, input_types in _parse_input(material)]
        model = body.get("model") or "omni-moderation-latest"
        return JSONResponse({"id": f"modr-{secrets.token_hex(12)}", "model": model, "results": results})


def _parse_input(material: Any) -> list[tuple[str, list[str]]]:
    """Return the text and the input types of each item to classify."""
    if isinstance(material, str):
        return [(material, ["text"])]
    if _is_list_of(str, material):
        return [(text, ["text"]) for text in material]
    if _is_list_of(dict, material):
        text = " ".join(str(part.get("text", "")) for part in material)
        input_types = {"text" if part.get("type") == "text" else "image" for part in material}
        return [(text, sorted(input_types, reverse=True))]
    raise ApiError(400, "input must be a string, a list of strings or a list of parts.", param="input")


def _is_list_of(kind: type, material: Any) -> bool:
    return isinstance(material, list) and bool(material) and all(isinstance(item, kind) for item in material)


def _classify(text: str, input_types: list[str]) -> dict[str, Any]:
    lower = text.lower()
    found = {name for pattern, names in FLAGGED_PATTERNS.items() if re.search(pattern, lower) for name in names}
    return {
        "flagged": bool(found),
        "categories": {name: name in found for name in CATEGORIES},
        "category_scores": {name: FLAGGED_SCORE if name in found else CLEAN_SCORE for name in CATEGORIES},
        "category_applied_input_types": dict.fromkeys(CATEGORIES, input_types),
    }
