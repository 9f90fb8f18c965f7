"""Moderation: flags a small list of words, in the shape of OpenAI's moderations."""

import re
import secrets
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from sandbox.answers import ApiError, require_bearer, server_error
from sandbox.faults import Faults

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

WORDS: dict[str, tuple[str, ...]] = {
    r"\bgore\b|\bgory\b|\bbeheading\b": ("violence", "violence/graphic"),
    r"\bnude\b|\bnudity\b|\bnaked\b|\bporn\b": ("sexual",),
    r"\bkill (people|them|him|her|everyone)\b|\bmassacre\b": ("violence", "harassment/threatening"),
    r"\bbuild a bomb\b|\bbomb[- ]making\b": ("illicit", "illicit/violent"),
    r"#flagged\b": ("illicit",),
}

CALM, SURE = 0.0001, 0.97


class Moderation:
    """`/v1/moderations`."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def routes(self) -> APIRouter:
        """Its route."""
        router = APIRouter(prefix="/v1", dependencies=[Depends(require_bearer)])
        router.add_api_route("/moderations", self.moderate, methods=["POST"])
        return router

    async def moderate(self, request: Request) -> Response:
        """One result for each string of a list, and one for everything else."""
        if self._faults.happens("moderation_500"):
            raise server_error()
        try:
            body = await request.json()
            material = body["input"]
        except (ValueError, KeyError, TypeError) as error:
            raise ApiError(400, "Missing required parameter: 'input'.", param="input") from error
        results = [_judged(text, kinds) for text, kinds in _items(material)]
        model = body.get("model") or "omni-moderation-latest"
        return JSONResponse({"id": f"modr-{secrets.token_hex(12)}", "model": model, "results": results})


def _items(material: Any) -> list[tuple[str, list[str]]]:
    """Each thing to judge: its text and the kinds of input it came as."""
    if isinstance(material, str):
        return [(material, ["text"])]
    if isinstance(material, list) and material and all(isinstance(one, str) for one in material):
        return [(text, ["text"]) for text in material]
    if isinstance(material, list) and material and all(isinstance(one, dict) for one in material):
        text = " ".join(str(one.get("text", "")) for one in material)
        kinds = {"text" if one.get("type") == "text" else "image" for one in material}
        return [(text, sorted(kinds, reverse=True))]
    raise ApiError(400, "input must be a string, a list of strings or a list of parts.", param="input")


def _judged(text: str, kinds: list[str]) -> dict[str, Any]:
    found = {name for words, names in WORDS.items() if re.search(words, text.lower()) for name in names}
    return {
        "flagged": bool(found),
        "categories": {name: name in found for name in CATEGORIES},
        "category_scores": {name: SURE if name in found else CALM for name in CATEGORIES},
        "category_applied_input_types": dict.fromkeys(CATEGORIES, kinds),
    }
