"""Whether a text may be used, by a moderation service: answered, or not answered, but never guessed."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from providers.http import ApiClient

MODEL = "omni-moderation-latest"


@dataclass(frozen=True)
class Verdict:
    """Whether any of the texts was flagged, and for which categories (sorted)."""

    flagged: bool
    categories: list[str]


class Moderation:
    """Moderation by `POST {base_url}/moderations` (the OpenAI contract)."""

    def __init__(self, base_url: str, api_key: str, client: httpx.AsyncClient, *, model: str = MODEL) -> None:
        self._line = ApiClient(client, base_url, f"Bearer {api_key}", "The moderation service")
        self._model = model

    async def check(self, texts: list[str]) -> Verdict:
        """Judge all texts in one question. Blank ones are left out; with none left nothing is asked.

        Raises Unavailable on any failure and on any answer that is not exactly one judgement per text: a
        caller treats that as not allowed.
        """
        asked = [text for text in texts if text.strip()]
        if not asked:
            return Verdict(False, [])
        answer = await self._line.ask("/moderations", json={"model": self._model, "input": asked})
        results = answer.json().get("results")
        if answer.status != 200 or not isinstance(results, list) or len(results) != len(asked):
            raise self._line.odd(answer)
        flagged, categories = False, set()
        for result in results:
            judged = result.get("categories") if isinstance(result, dict) else None
            if not isinstance(judged, dict) or not isinstance(result.get("flagged"), bool):
                raise self._line.odd(answer)
            found = {name for name, hit in judged.items() if hit is True}
            flagged = flagged or result["flagged"] or bool(found)
            categories |= found
        return Verdict(flagged, sorted(categories))
