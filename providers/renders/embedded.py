"""Render films on this machine, in a subprocess: no service to install, no cost."""

import os
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from providers.base import ArtifactMissing, Files, Json, Progress, Provider, Refused, Unavailable, Unusable
from providers.media.certificates import SigningKey
from providers.media.subprocess_client import SubprocessDied, create_work_folder, run_in_subprocess
from providers.orders import digest_of
from providers.renders.manifest import Manifest, ManifestClip, parse_manifest
from providers.results import Failed, PollResult, Succeeded


@dataclass(frozen=True)
class FilmSigner:
    """Signs the films of a renderer with a key; `files` are the stored clips."""

    files: Files
    key: SigningKey

    async def request(self, manifest: Manifest) -> Json:
        """Return what the subprocess needs to sign the film. Raises the errors of `Files`."""
        return {"clips": [await self._delivered(clip) for clip in manifest.clips], "key": asdict(self.key)}

    async def _delivered(self, clip: ManifestClip) -> str:
        """Return the path of the provider's own file, which may have a manifest, or of the clip without it."""
        try:
            return str(await self.files.local_path(clip.source.delivered_sha256 or clip.digest))
        except ArtifactMissing:
            return str(await self.files.local_path(clip.digest))


class FilmRenders(Provider):
    """What renderers have in common: the subprocess that makes a film. `files` are the stored clips and sounds.

    Without a signer, as in tests, films have no C2PA manifest.
    """

    def __init__(self, files: Files, signer: FilmSigner | None = None) -> None:
        self._files, self._signer = files, signer

    async def _make_film(
        self, work: Json, folder: Path, film: Path, *, limit_seconds: float, progress: Progress
    ) -> Failed | Succeeded:
        """Run `providers.media.film` in the work folder, and move its film to `film` if it conforms.

        It renders the `clips` of `work` by its `manifest`, or masters the film of another renderer, and signs it.
        Raises Unavailable when the work was interrupted, Unusable, and the errors of `Files`.
        """
        manifest = Manifest.model_validate(work["manifest"])
        sounds = {digest: str(await self._files.local_path(digest)) for digest in manifest.sounds}
        request = {**work, "sounds": sounds}
        if self._signer:
            request["signing"] = await self._signer.request(manifest)
        try:
            result = await run_in_subprocess(
                "providers.media.film", request, work_dir=folder, limit_seconds=limit_seconds, progress=progress
            )
        except (TimeoutError, SubprocessDied) as error:
            if isinstance(error, SubprocessDied) and error.is_crash:
                return Failed("media_failed", "The program that renders the film crashes; the log has the details.")
            raise Unavailable("render_interrupted", "The render was interrupted or took too long.") from error
        if result["errors"]:
            return Failed("film_not_conformant", f"The film fails the delivery rules: {'; '.join(result['errors'])}.")
        os.replace(folder / "film.mp4", film)
        return Succeeded(film, facts={**result["facts"], "renderer": self.name}, subtitles=result["subtitles"])


class EmbeddedRenders(FilmRenders):
    """The renderer that needs no service. The request is a manifest; the film is rendered when it is polled."""

    name = "embedded"
    #: The id is computed from the request, so a lookup finds every order immediately.
    lookup_window = timedelta(seconds=1)
    #: The time limit of a render; by default it depends on the length of the film.
    limit_seconds: float | None = None

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
        """Render the film into `into`, with the facts of `check_render` and the renderer. Raises Unavailable."""
        try:
            manifest = parse_manifest(request)
            clips = [str(await self._files.local_path(clip.digest)) for clip in manifest.clips]
            limit_seconds = self.limit_seconds or 120 + 15 * manifest.seconds
            work, film = {"manifest": request, "clips": clips}, into / f"{task_id}.mp4"
            with create_work_folder(into) as folder:
                return await self._make_film(work, folder, film, limit_seconds=limit_seconds, progress=progress)
        except (Refused, Unusable) as error:  # an invalid manifest, or a clip that is corrupt or no longer stored
            return Failed(error.code, error.message)
