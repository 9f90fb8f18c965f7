"""Films rendered on this machine, in a child process: nothing to install, nothing to pay."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from providers.base import Failed, Files, Json, PollResult, Progress, ProviderError, Succeeded, Unavailable
from providers.media.child import ChildDied, ask
from providers.media.timeline import timeline
from providers.orders import digest_of
from providers.renders.manifest import Manifest

_TELL_EVERY = 0.5  # seconds


class EmbeddedRenders:
    """The renderer that is always there. The request is a manifest; the film is made when it is looked for."""

    name = "embedded"
    #: An order is nothing but its id, so it is found as soon as it is placed.
    lookup_window = timedelta(seconds=1)

    def __init__(self, files: Files, *, limit_seconds: float | None = None) -> None:
        """`files` are the kept clips. `limit_seconds` ends a render early; by default its length decides."""
        self._files = files
        self._limit_seconds = limit_seconds

    async def submit(self, request: Json, *, key: str) -> str:
        """The id of this render: the same for the same manifest under the same key."""
        return f"rnd_{digest_of({'manifest': request, 'key': key})[:24]}"

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """The id `submit` returns: a render needs no placing."""
        return [await self.submit(request, key=key)]

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Nowhere: it is made on this machine, and never of unknown outcome."""
        return "this machine"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Render the film into `into` and judge it.

        The facts are seconds, width, height, fps, codec, lufs (None for silence), size_bytes, renderer, and
        warnings: the rules it breaks without harm. Raises Unavailable when the render broke off.
        """
        try:
            manifest = Manifest.model_validate(request)
            timeline(manifest)
            clips = [str(await self._files.local_path(clip.digest)) for clip in manifest.clips]
        except ValidationError as error:
            return Failed("manifest_invalid", f"The manifest is wrong at {_places(error)}.")
        except Unavailable:
            raise
        except ProviderError as error:  # a manifest that makes no film, or a clip that is no longer kept
            return Failed(error.code, error.message)
        work = Path(tempfile.mkdtemp(prefix=".render-", dir=into.resolve()))
        try:
            return await self._render(manifest, clips, work, into / f"{task_id}.mp4", progress)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    async def _render(
        self, manifest: Manifest, clips: list[str], work: Path, film: Path, progress: Progress
    ) -> Failed | Succeeded:
        made = work / "film.mp4"
        try:
            told = await ask(
                "providers.media.film",
                {"manifest": manifest.model_dump(mode="json"), "clips": clips, "target": str(made)},
                work=work,
                limit_seconds=self._limit_seconds or 120 + 15 * manifest.seconds,
                progress=_sparing(progress),
            )
        except TimeoutError as error:
            raise Unavailable("render_timeout", "The render took too long; it will be tried again.") from error
        except ChildDied as error:
            raise Unavailable("render_crashed", "The render broke off; it will be tried again.") from error
        except ProviderError as error:
            return Failed(error.code, error.message)
        broken = [finding for finding in told["findings"] if not finding["ok"]]
        wrong = [_said(finding) for finding in broken if finding["severity"] == "error"]
        if wrong:
            return Failed("film_not_conformant", f"The film breaks the rules: {'; '.join(wrong)}.")
        os.replace(made, film)
        return Succeeded(film, facts=_facts(manifest, told, film, [_said(finding) for finding in broken]))


def _facts(manifest: Manifest, told: dict[str, Any], film: Path, warnings: list[str]) -> dict[str, Any]:
    return {
        "seconds": told["seconds"],
        "width": manifest.width,
        "height": manifest.height,
        "fps": manifest.fps,
        "codec": "h264",
        "lufs": told["lufs"],
        "size_bytes": film.stat().st_size,
        "renderer": EmbeddedRenders.name,
        "warnings": warnings,
    }


def _said(finding: dict[str, Any]) -> str:
    return f"{finding['rule']} ({finding['observed']})"


def _places(error: ValidationError) -> str:
    return ", ".join(".".join(map(str, fault["loc"])) or "the top" for fault in error.errors()[:5])


def _sparing(progress: Progress) -> Callable[[float], Awaitable[None]]:
    """Tell of progress at most twice a second, and never backwards."""
    told_at, told = -_TELL_EVERY, 0.0

    async def tell(share: float) -> None:
        nonlocal told_at, told
        now = time.monotonic()
        if share > told and now - told_at >= _TELL_EVERY:
            told_at, told = now, min(share, 1.0)
            await progress(told)

    return tell
