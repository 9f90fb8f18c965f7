"""Films designed and rendered by our Remotion service (the folder `remotion/`), finished and judged here."""

from __future__ import annotations

import hashlib
import heapq
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import av
import httpx
from av.packet import Packet
from av.stream import Stream
from pydantic import ValidationError

from providers.base import (
    Failed,
    Json,
    NotSent,
    OutcomeUnknown,
    Pending,
    PollResult,
    Progress,
    ProviderError,
    Refused,
    Succeeded,
    Unavailable,
)
from providers.http import ApiClient, ApiResponse
from providers.media import subprocess_worker
from providers.media.audio import AAC_BITRATE, AAC_FRAME_SAMPLES, decode_audio, master_audio
from providers.media.conformance import MAX_FILM_BYTES, RuleResult, check_film
from providers.media.film import METADATA_COMMENT
from providers.media.loudness import SAMPLE_RATE, SILENCE_LUFS
from providers.media.mp4_writer import MP4_OPTIONS
from providers.media.overlay import strip_missing_glyphs
from providers.media.probe import open_mp4, select_video_stream
from providers.media.subprocess_client import SubprocessDied, run_in_subprocess
from providers.media.timeline import build_timeline
from providers.orders import digest_of
from providers.renders.manifest import Manifest

WHO = "The render service"
SUBMIT_SECONDS = 30.0
DOWNLOAD_SECONDS = 300.0
IDLE_SECONDS = 30.0


class RemotionRenders:
    """The renderer in a service of its own. The request is a manifest, as for the embedded renderer.

    A render costs nothing and has its id before it is placed, so one that the service no longer knows is
    placed again under the same id.
    """

    name = "remotion"
    #: The service writes an order down before it answers.
    lookup_window = timedelta(seconds=2 * SUBMIT_SECONDS)

    def __init__(
        self,
        base_url: str,
        client: httpx.AsyncClient,
        *,
        service_key: str | None = None,
        submit_seconds: float = SUBMIT_SECONDS,
        limit_seconds: float | None = None,
    ) -> None:
        """`limit_seconds` ends the finishing of a film early; by default its length decides."""
        self._line = ApiClient(client, base_url, f"Bearer {service_key}" if service_key else "", WHO)
        self._submit_seconds = submit_seconds
        self._limit_seconds = limit_seconds

    async def submit(self, request: Json, *, key: str) -> str:
        """Place the order; the id is the same for the same manifest under the same key.

        Raises NotSent, Refused or OutcomeUnknown.
        """
        render_id = _render_id(request, key)
        await self._place(render_id, request)
        return render_id

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """The id `submit` returns, if the service knows it. Raises Unavailable."""
        render_id = _render_id(request, key)
        answer = await self._line.read(f"/renders/{render_id}")
        if answer.status == 404:
            return []
        if answer.status != 200:
            raise self._line.odd(answer)
        return [render_id]

    def lookup_url(self, request: Json, *, key: str) -> str:
        """The render at the service, under the id that it was given before the call."""
        return f"{self._line.base_url}/renders/{_render_id(request, key)}"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """How far the render is; once done, the film: fetched into `into`, its sound mastered, and judged.

        The facts are those of an embedded render. Raises Unavailable.
        """
        answer = await self._line.read(f"/renders/{task_id}")
        told = answer.json()
        if answer.status == 404 or told.get("state") == "lost":
            return await self._again(task_id, request)
        if answer.status != 200:
            raise self._line.odd(answer)
        match told.get("state"):
            case "queued" | "rendering" | "encoding" | "checking":
                return Pending(_share(told.get("progress")))
            case "failed" | "cancelled" as state:
                code, message = self._line.reason(told, f"render_{state}")
                return Failed(code, message or f"The render service says that the render {state}.")
            case "done":
                return await self._fetched(answer, task_id, request, into, progress)
        raise self._line.odd(answer)

    async def _place(self, render_id: str, request: Json) -> None:
        try:
            manifest = Manifest.model_validate(request)
            build_timeline(manifest)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, fault["loc"])) or "the top" for fault in error.errors()[:5])
            raise Refused("manifest_invalid", f"The manifest is wrong at {places}.") from error
        except ProviderError as error:
            raise Refused(error.code, error.message) from error
        await self._line.place(
            "/renders", refused="render_refused", seconds=self._submit_seconds, json=_order(render_id, manifest)
        )

    async def _again(self, render_id: str, request: Json) -> Pending | Failed:
        """Place a render that the service has lost once more: the same id is the same render."""
        try:
            await self._place(render_id, request)
        except Refused as error:
            return Failed(error.code, error.message)
        except NotSent:
            raise
        except OutcomeUnknown as error:
            raise Unavailable("unreachable", f"{WHO} did not take the render again; it will be asked.") from error
        return Pending(0.0)

    async def _fetched(
        self, answer: ApiResponse, task_id: str, request: Json, into: Path, progress: Progress
    ) -> Failed | Succeeded:
        output = answer.json().get("output")
        digest = output.get("sha256") if isinstance(output, dict) else None
        work = Path(tempfile.mkdtemp(prefix=".render-", dir=into.resolve()))
        try:
            rendered = work / "rendered.mp4"
            got = await self._line.download(
                f"/renders/{task_id}/file",
                {},
                to=rendered,
                limit=MAX_FILM_BYTES,
                seconds=DOWNLOAD_SECONDS,
                idle_seconds=IDLE_SECONDS,
            )
            if got.status != 200:
                raise self._line.odd(got)
            if _sha256(rendered) != digest:
                raise Unavailable("download_cut", f"{WHO} sent another film than it says it made.")
            return await self._finished(Manifest.model_validate(request), work, into / f"{task_id}.mp4", progress)
        except Unavailable:
            raise
        except ProviderError as error:  # a file too large to be a film
            return Failed(error.code, error.message)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    async def _finished(self, manifest: Manifest, work: Path, film: Path, progress: Progress) -> Failed | Succeeded:
        made = work / "film.mp4"
        try:
            told = await run_in_subprocess(
                "providers.renders.remotion",
                {
                    "manifest": manifest.model_dump(mode="json"),
                    "rendered": str(work / "rendered.mp4"),
                    "target": str(made),
                },
                work_dir=work,
                limit_seconds=self._limit_seconds or 60 + 5 * manifest.seconds,
                progress=progress,
            )
        except (TimeoutError, SubprocessDied) as error:
            raise Unavailable("finish_broke_off", "The film could not be finished; it will be tried again.") from error
        broken = [finding for finding in told["findings"] if not finding["ok"]]
        wrong = [_said(finding) for finding in broken if finding["severity"] == "error"]
        if wrong:
            return Failed("film_not_conformant", f"The film breaks the rules: {'; '.join(wrong)}.")
        os.replace(made, film)
        return Succeeded(
            film,
            facts={
                "seconds": told["seconds"],
                "width": manifest.width,
                "height": manifest.height,
                "fps": manifest.fps,
                "codec": "h264",
                "lufs": told["lufs"],
                "size_bytes": film.stat().st_size,
                "renderer": self.name,
                "warnings": [_said(finding) for finding in broken],
            },
        )


def _render_id(request: Json, key: str) -> str:
    """The id says which run it is for, if the key does: the service tells that run when the render ends."""
    digest = digest_of({"manifest": request, "key": key})[:24]
    try:
        return f"rnd_{UUID(key.split(':', 1)[0])}_{digest}"
    except ValueError:
        return f"rnd_{digest}"


def _order(render_id: str, manifest: Manifest) -> dict[str, Any]:
    """What the service is sent. Its words are those that the embedded renderer would draw."""
    parts = render_id.split("_")
    plain = manifest.model_dump(mode="json", exclude={"composition", "title", "props"})
    props = {**manifest.props, **({"title": manifest.title} if manifest.title else {})}
    return {
        "render_id": render_id,
        "run_id": parts[1] if len(parts) == 3 else None,
        "composition": manifest.composition,
        "props": {name: strip_missing_glyphs(text) for name, text in props.items()},
        "manifest": {
            **plain,
            "clips": [{**clip, "overlay": strip_missing_glyphs(clip["overlay"])} for clip in plain["clips"]],
        },
    }


def _share(value: object) -> float | None:
    return min(max(float(value), 0.0), 1.0) if isinstance(value, int | float) else None


def _said(finding: dict[str, Any]) -> str:
    return f"{finding['rule']} ({finding['observed']})"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finish(order: Json, progress: subprocess_worker.ReportProgress) -> dict[str, Any]:
    """The order of a child: master the sound, write the film as ours are written, and look at it."""
    manifest = Manifest.model_validate(order["manifest"])
    rendered, target = Path(order["rendered"]), Path(order["target"])
    seconds = build_timeline(manifest)[-1].end_frame / manifest.fps
    sound, lufs = master_audio(decode_audio(rendered, seconds), lufs=manifest.loudness_lufs)
    _write(rendered, sound, target)
    progress(0.5)
    findings = check_film(
        target,
        seconds=manifest.seconds,
        width=manifest.width,
        height=manifest.height,
        fps=manifest.fps,
        lufs=manifest.loudness_lufs,
    )
    texts = [manifest.title, *manifest.props.values(), *(clip.overlay for clip in manifest.clips)]
    if left_out := sorted({letter for text in texts for letter in set(text) - set(strip_missing_glyphs(text))}):
        findings.append(RuleResult("overlay", False, f"left out {''.join(left_out)}", "warning"))
    return {
        "findings": [asdict(finding) for finding in findings],
        "lufs": round(lufs, 2) if lufs > SILENCE_LUFS else None,
        "seconds": round(seconds, 3),
    }


def _write(rendered: Path, sound: list[bytes], target: Path) -> None:
    """The rendered pictures as they are, with this sound."""
    with open_mp4(rendered) as source, av.open(str(target), "w", format="mp4", options=MP4_OPTIONS) as container:
        container.metadata["comment"] = METADATA_COMMENT
        pictures = select_video_stream(source)
        video = container.add_stream_from_template(pictures)
        audio = container.add_stream("aac", SAMPLE_RATE, options={"b": str(AAC_BITRATE)})
        audio.codec_context.layout = "stereo"
        audio.codec_context.format = "fltp"
        container.start_encoding()
        seen = _of(video, (packet for packet in source.demux(pictures) if packet.dts is not None))
        for packet in heapq.merge(seen, _of(audio, _packets(sound)), key=lambda each: (each.dts or 0) * each.time_base):
            container.mux(packet)


def _of(stream: Stream, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
    for packet in packets:
        packet.stream = stream
        yield packet


def _packets(sound: list[bytes]) -> Iterator[Packet[Any]]:
    for number, coded in enumerate(sound):
        packet = Packet(coded)
        packet.time_base = Fraction(1, SAMPLE_RATE)
        packet.pts = packet.dts = number * AAC_FRAME_SAMPLES
        packet.duration = AAC_FRAME_SAMPLES
        packet.is_keyframe = True
        yield packet


if __name__ == "__main__":
    subprocess_worker.serve_request(_finish)
