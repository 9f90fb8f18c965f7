"""Render films on this machine, in a subprocess: no service to install, no cost."""

from __future__ import annotations

import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from prompts.validation import describe_validation_error
from providers.base import Failed, Files, Json, PollResult, Progress, ProviderError, Unavailable
from providers.media.subprocess_client import SubprocessDied, run_in_subprocess
from providers.media.timeline import build_timeline
from providers.orders import digest_of
from providers.renders.manifest import Manifest
from providers.renders.results import accept_film

_PROGRESS_INTERVAL_SECONDS = 0.5


class EmbeddedRenders:
    """The renderer that needs no service. The request is a manifest; the film is rendered when it is polled."""

    name = "embedded"
    #: The id is computed from the request, so a lookup finds every order immediately.
    lookup_window = timedelta(seconds=1)

    def __init__(self, files: Files, *, limit_seconds: float | None = None) -> None:
        """`files` are the stored clips. `limit_seconds` ends a render; the default depends on the film's length."""
        self._files = files
        self._limit_seconds = limit_seconds

    async def submit(self, request: Json, *, key: str) -> str:
        """Return the id of this render: the same for the same manifest and key."""
        return f"rnd_{digest_of({'manifest': request, 'key': key})[:24]}"

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the id that `submit` returns: a render does not have to be submitted first."""
        return [await self.submit(request, key=key)]

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return a description instead of an address: the render runs here, and its outcome is never unknown."""
        return "this machine"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Render the film into the folder `into` and check it.

        The facts are those of `accept_film`. Raises Unavailable when the render was interrupted.
        """
        try:
            manifest = Manifest.model_validate(request)
            build_timeline(manifest)
            clips = [str(await self._files.local_path(clip.digest)) for clip in manifest.clips]
            with tempfile.TemporaryDirectory(
                prefix=".render-", dir=into.resolve(), ignore_cleanup_errors=True
            ) as folder:
                result = await self._render(manifest, clips, Path(folder), progress)
                return accept_film(
                    manifest, result, Path(folder, "film.mp4"), into / f"{task_id}.mp4", renderer=self.name
                )
        except ValidationError as error:
            problems = describe_validation_error(error, limit=5)
            return Failed("manifest_invalid", f"The manifest is invalid: {problems}.")
        except Unavailable:
            raise
        except ProviderError as error:  # an invalid timeline, or a clip that is corrupt or no longer stored
            return Failed(error.code, error.message)

    async def _render(self, manifest: Manifest, clips: list[str], work_dir: Path, progress: Progress) -> Json:
        """Render `film.mp4` in the folder `work_dir` and return its `RenderResult`."""
        try:
            return await run_in_subprocess(
                "providers.media.film",
                {"manifest": manifest.model_dump(mode="json"), "clips": clips, "target": str(work_dir / "film.mp4")},
                work_dir=work_dir,
                limit_seconds=self._limit_seconds or 120 + 15 * manifest.seconds,
                progress=_throttle(progress),
            )
        except TimeoutError as error:
            raise Unavailable("render_timeout", "The render took too long; it will be retried.") from error
        except SubprocessDied as error:
            raise Unavailable("render_crashed", "The render was interrupted; it will be retried.") from error


def _throttle(progress: Progress) -> Progress:
    """Report progress at most twice per second, and never a smaller value than before."""
    reported_at, reported = -_PROGRESS_INTERVAL_SECONDS, 0.0

    async def report(share: float) -> None:
        nonlocal reported_at, reported
        now = time.monotonic()
        if share > reported and now - reported_at >= _PROGRESS_INTERVAL_SECONDS:
            reported_at, reported = now, min(share, 1.0)
            await progress(reported)

    return report
