"""Films rendered by the Remotion service (the folder `remotion/`), then mastered and checked here."""

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from providers.base import Files, Json, OutcomeUnknown, Progress, Refused, Unavailable, Unusable
from providers.http import ApiClient, Limits
from providers.media.conformance import MAX_FILM_BYTES
from providers.media.glyphs import strip_missing_glyphs
from providers.media.subprocess_client import create_work_folder
from providers.media.text_layout import break_lines
from providers.orders import OrderKey, digest_of
from providers.renders.embedded import FilmRenders, FilmSigner
from providers.renders.manifest import Manifest, parse_manifest
from providers.results import Failed, Pending, PollResult
from providers.values import parse_progress

SERVICE_NAME = "The render service"
LIMITS = Limits(submit_seconds=30.0, file_bytes=MAX_FILM_BYTES)


class RemotionRenders(FilmRenders):
    """The renderer as a separate service. The request is a manifest, as for the embedded renderer.

    A render costs nothing and its id is known before it is placed, so one that the service no longer knows is placed
    again under the same id.
    """

    name = "remotion"
    #: The service stores an order before it responds.
    lookup_window = timedelta(seconds=2 * LIMITS.submit_seconds)

    def __init__(
        self,
        base_url: str,
        client: httpx.AsyncClient,
        files: Files,
        *,
        service_key: str | None = None,
        signer: FilmSigner | None = None,
    ) -> None:
        super().__init__(files, signer)
        self._api = ApiClient(client, base_url, f"Bearer {service_key}" if service_key else "", SERVICE_NAME, LIMITS)

    async def check(self) -> None:
        """Read the health of the service. Raises Unavailable."""
        response = await self._api.query("GET", "/health")
        if response.status != 200 or not response.json():
            raise self._api.unexpected_response(response)

    async def submit(self, request: Json, *, key: str) -> str:
        """Place the order and return its id: the same for the same manifest and key."""
        return await self._place(_render_id(request, key), request)

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the id that `submit` returns, if the service knows it. Raises Unavailable."""
        render_id = _render_id(request, key)
        response = await self._api.query("GET", f"/renders/{render_id}", expected=(200, 404))
        return [render_id] if response.status == 200 else []

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the URL of the render, under the id that was chosen before the call."""
        return f"{self._api.base_url}/renders/{_render_id(request, key)}"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Return the status of the render; once it is done, the film, downloaded to `into`, mastered and checked.

        The facts are those of an embedded render. Raises Unavailable.
        """
        response = await self._api.query("GET", f"/renders/{task_id}")
        render = response.json()
        if response.status == 404 or render.get("state") == "lost":
            return await self._place_again(task_id, request)
        if response.status != 200:
            raise self._api.unexpected_response(response)
        match render:
            case {"state": "queued" | "rendering" | "encoding" | "checking"}:
                return Pending(parse_progress(render.get("progress")))
            case {"state": "failed" | "cancelled" as state}:
                code, message = self._api.error_details(render, f"render_{state}")
                return Failed(code, message or f"{SERVICE_NAME} reports the render as {state}.")
            case {"state": "done", "output": {"sha256": digest}}:
                return await self._download_film(task_id, digest, request, into, progress)
        raise self._api.unexpected_response(response)

    async def _place(self, render_id: str, request: Json) -> str:
        response = await self._api.submit("/renders", json=_build_order(render_id, parse_manifest(request)))
        if error := self._api.submit_error(response, "render_refused"):
            raise error
        return render_id

    async def _place_again(self, render_id: str, request: Json) -> Pending | Failed:
        """Place a render that the service has lost: the same id is the same render."""
        try:
            await self._place(render_id, request)
        except Refused as error:
            return Failed(error.code, error.message)
        except OutcomeUnknown as error:
            message = f"{SERVICE_NAME} did not confirm the render; the status will be polled again."
            raise Unavailable("unreachable", message) from error
        return Pending(0.0)

    async def _download_film(
        self, task_id: str, digest: object, request: Json, into: Path, progress: Progress
    ) -> PollResult:
        """Download the film with this sha256 and master it."""
        with create_work_folder(into) as folder:
            rendered = folder / "rendered.mp4"
            try:
                response = await self._api.download(f"/renders/{task_id}/file", rendered)
                if response.status != 200:
                    raise self._api.unexpected_response(response)
                with rendered.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        raise Unavailable("download_incomplete", f"{SERVICE_NAME} sent a film with another digest.")
                work, film = {"manifest": request}, into / f"{task_id}.mp4"
                limit_seconds = 60 + 5 * Manifest.model_validate(request).seconds
                return await self._make_film(work, folder, film, limit_seconds=limit_seconds, progress=progress)
            except (Refused, Unusable) as error:  # the file is too large, or its audio cannot be decoded
                return Failed(error.code, error.message)


def _render_id(request: Json, key: str) -> str:
    """Return an id that contains the run id, if the key does: the service calls the run's webhook with it."""
    digest = digest_of({"manifest": request, "key": key})[:24]
    try:
        return f"rnd_{UUID(OrderKey.parse(key).run_id)}_{digest}"
    except ValueError:
        return f"rnd_{digest}"


def _build_order(render_id: str, manifest: Manifest) -> dict[str, Any]:
    """Return the body of the request to the service. Texts and lines are those of the embedded renderer."""
    parts = render_id.split("_")
    plain = manifest.model_dump(mode="json", exclude={"composition", "title", "props", "look", "music"})
    drawn = [clip.model_dump(exclude={"source", "narration"}) for clip in manifest.clips]
    plain["clips"] = [{**clip, "overlay": break_lines(clip["overlay"])} for clip in drawn]
    props = {**manifest.props, **({"title": manifest.title} if manifest.title else {})}
    return {
        "render_id": render_id,
        "run_id": parts[1] if len(parts) == 3 else None,
        "composition": manifest.composition,
        "props": {name: strip_missing_glyphs(text) for name, text in props.items()},
        "manifest": plain,
    }
