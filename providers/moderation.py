"""Moderation of texts by an external service, which either gives a result for every text or is unavailable."""

from dataclasses import dataclass
from typing import Any, Literal

import httpx
from pydantic import BaseModel, StrictBool, TypeAdapter, ValidationError

from providers.base import Unavailable
from providers.http import ApiClient, ApiResponse

#: Who moderates instead of a moderation service: the language model, or none.
Moderator = Literal["model", "none"]


@dataclass(frozen=True)
class ModerationResult:
    """Whether any of the texts was flagged, and the categories (sorted) that apply."""

    flagged: bool
    categories: list[str]


class _TextResult(BaseModel):
    flagged: StrictBool
    categories: dict[str, Any]


_RESULTS = TypeAdapter(list[_TextResult])


class Moderation:
    """Moderation by `POST {base_url}/moderations` (the OpenAI contract)."""

    def __init__(self, base_url: str, api_key: str, client: httpx.AsyncClient, model: str) -> None:
        self._model = model
        self._api = ApiClient(client, base_url, f"Bearer {api_key}", "The moderation service")

    async def check(self, texts: list[str]) -> ModerationResult:
        """Check all texts in one request. Blank texts are skipped; without any other text no request is sent.

        Raises Unavailable on any failure and on any response that does not contain exactly one result per text.
        Callers must treat it as not allowed.
        """
        inputs = list(filter(str.strip, texts))
        if not inputs:
            return ModerationResult(False, [])
        response = await self._api.query("POST", "/moderations", json={"model": self._model, "input": inputs})
        try:
            results = _RESULTS.validate_python(response.json().get("results"))
        except ValidationError as error:
            raise self._fault(response) from error
        if response.status != 200 or len(results) != len(inputs):
            raise self._fault(response)
        categories = {name for result in results for name, applies in result.categories.items() if applies is True}
        return ModerationResult(bool(categories) or any(result.flagged for result in results), sorted(categories))

    def _fault(self, response: ApiResponse) -> Unavailable:
        """Return the error for a response without results. Most servers of language models have no moderation."""
        fault = self._api.unexpected_response(response)
        if fault.code != "unexpected_response" or (response.status >= 500 and response.status != 501):
            return fault
        advice = (
            "Set MODERATION_BASE_URL and MODERATION_MODEL to a server that moderates, or MODERATION to model or none."
        )
        return Unavailable(fault.code, f"{fault.message} {advice}")
