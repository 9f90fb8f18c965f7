"""Spoken words from any server with `POST {base_url}/audio/speech` (the OpenAI contract).

The answer to the call is the audio, and the contract has neither ids nor lookups. `submit` stores the answer before it
returns; a call whose answer was not stored cannot be found again, and a person decides about it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from decimal import ROUND_UP, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from pydantic import BaseModel

from providers.base import Files, Json, Progress, Provider, Refused, Unavailable, Unusable
from providers.http import ApiClient, Limits, endpoint_label
from providers.media.intake import accept_sound
from providers.orders import digest_of
from providers.results import Failed, PollResult, Succeeded

Store = Callable[[Path], Awaitable[str]]
LIMITS = Limits(submit_seconds=120.0, response_bytes=32 * 1024 * 1024)


class SpeechOffer(BaseModel, extra="forbid", frozen=True):
    """A voice of a model, and the price of its words in USD."""

    model: str
    voice: str = ""
    usd_per_1000_characters: Decimal

    def usd_of(self, texts: Collection[str]) -> Decimal:
        """Return the price of these texts, each rounded up to what the ledger stores."""
        prices = [self.usd_per_1000_characters * len(words) / 1000 for words in texts]
        return sum((usd.quantize(Decimal("0.0001"), ROUND_UP) for usd in prices if usd), Decimal(0))

    def request_for(self, words: str) -> dict[str, str]:
        """Return the body of the call that orders these words."""
        return {"model": self.model, "voice": self.voice, "input": words, "response_format": "wav"}


class Speech(Provider):
    """A server of voices. Without a URL it refuses every order."""

    #: There is nothing to look up: the time for another process to finish the call.
    lookup_window = timedelta(seconds=2 * LIMITS.submit_seconds)
    lookup_proof = "The server lists no calls: compare its usage or its log with the time of the call."

    def __init__(
        self, base_url: str | None, key: str, client: httpx.AsyncClient, files: Files, store: Store, scratch: Path
    ) -> None:
        """`store` adds a file to `files` durably and returns its digest; `scratch` is a folder for temporary files."""
        self.name = f"speech:{endpoint_label(base_url or '')}"
        self._api = ApiClient(client, base_url or "http://", f"Bearer {key}", "The speech server", LIMITS)
        self._files, self._store, self._scratch, self._is_configured = files, store, scratch, base_url is not None

    async def submit(self, request: Json, *, key: str) -> str:
        """Call the server once, store its answer, and return an id of this order with the digest of the answer."""
        if not self._is_configured:
            raise Refused("speech_not_configured", "No speech server is configured. Set SPEECH_BASE_URL.")
        response = await self._api.submit("/audio/speech", json=dict(request))
        if error := self._api.submit_error(response, "speech_refused"):
            raise error
        try:
            with TemporaryDirectory(prefix="speech-", dir=self._scratch) as folder:
                path = Path(folder) / "answer"
                await asyncio.to_thread(path.write_bytes, response.body)
                digest = await self._store(path)
        except (Unavailable, OSError) as error:
            raise self._api.outcome_unknown("its answer could not be stored") from error
        # Equal words of two orders may have equal answers.
        return f"{digest_of(key)[:16]}-{digest}"

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the URL of the server."""
        return self._api.base_url

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Return the stored answer as a sound. Raises Unavailable."""
        try:
            answer = await self._files.local_path(task_id.rpartition("-")[2])
            file, facts = await accept_sound(answer, into=into)
        except (Refused, Unusable) as error:  # no audio, or the file is gone: the call is charged all the same
            return Failed(error.code, f"The speech server: {error.message}", charged=True)
        return Succeeded(file, facts=dict(facts))
