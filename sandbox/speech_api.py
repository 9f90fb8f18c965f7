"""OpenAI-compatible `/v1/audio/speech`: a tone for each syllable, which nobody takes for a person."""

import io
import math
import re
import struct
import wave
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from sandbox.faults import FaultQueue
from sandbox.responses import ApiError
from sandbox.routing import build_router, read_object, require_bearer_token
from sandbox.store import Store

RATE = 24_000
SYLLABLE_SECONDS, PAUSE_SECONDS = 0.16, 0.09
USD_PER_1000_CHARACTERS = 0.015
MARK = b"LIST" + struct.pack("<I", 28) + b"INFOICMT" + struct.pack("<I", 16) + b"SANDBOX: tones.\0"


class SpeechApi:
    """Handler of the speech API. Each answer is a charge."""

    def __init__(self, store: Store, faults: FaultQueue) -> None:
        self._store, self._faults = store, faults
        self.router = build_router("/v1", {"POST /audio/speech": self.speak}, require_bearer_token)

    async def speak(self, request: Request) -> Response:
        """Return a WAV file of the `input`, marked as one of the sandbox."""
        body = await read_object(request)
        words, voice = str(body.get("input") or ""), str(body.get("voice") or "")
        if not words or not voice:
            raise ApiError(400, "Missing required parameter: 'input' or 'voice'.", param="input")
        usd = len(words) * USD_PER_1000_CHARACTERS / 1000
        self._store.execute("INSERT INTO speech VALUES (?, ?, ?)", voice, words, usd)
        if self._faults.trigger("speech_lost"):
            return Response(status_code=502)
        return Response(_speak(words, voice), media_type="audio/wav")


def _speak(words: str, voice: str) -> bytes:
    syllables: list[Any] = re.findall(r"[aeiouyäöü]+|\s", words.lower()) or ["a"]
    samples = []
    for syllable in syllables:
        pitch = 0 if syllable.isspace() else 110 + 30 * (sum(map(ord, voice)) % 4) + 7 * (ord(syllable[0]) % 9)
        length = round((SYLLABLE_SECONDS if pitch else PAUSE_SECONDS) * RATE)
        for at in range(length):
            tones = sum(math.sin(2 * math.pi * pitch * part * at / RATE) / part for part in (1, 3, 5))
            samples.append(round(7_000 * tones * math.sin(math.pi * at / length)))
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, RATE, len(samples), "NONE", ""))
        wav.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    content = file.getvalue() + MARK
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
