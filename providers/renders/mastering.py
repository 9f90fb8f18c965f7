"""Master the audio of a film that a service rendered, and check the film: the work of a subprocess."""

from pathlib import Path

from providers.base import Json
from providers.media import subprocess_worker
from providers.media.audio import decode_audio, master_audio
from providers.media.film import METADATA_COMMENT, RenderResult, check_render
from providers.media.mp4_writer import replace_audio
from providers.media.timeline import build_timeline
from providers.renders.manifest import Manifest


def _handle_request(request: Json, report_progress: subprocess_worker.ReportProgress) -> RenderResult:
    """Write `rendered.mp4` in the work folder with mastered audio to `film.mp4` and check it."""
    manifest, folder = Manifest.model_validate(request["manifest"]), Path(request["work_dir"])
    rendered, film = folder / "rendered.mp4", folder / "film.mp4"
    seconds = build_timeline(manifest)[-1].end_frame / manifest.fps
    aac_packets, lufs = master_audio(decode_audio(rendered, seconds), lufs=manifest.loudness_lufs)
    replace_audio(rendered, aac_packets, film, comment=METADATA_COMMENT)
    report_progress(0.5)
    texts = [manifest.title, *manifest.props.values(), *(clip.overlay for clip in manifest.clips)]
    return check_render(manifest, film, lufs, "".join(texts))


if __name__ == "__main__":
    subprocess_worker.serve_request(_handle_request)
