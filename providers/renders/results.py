"""The result of a render, the same for every renderer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from providers.base import Failed, Json, Succeeded
from providers.renders.manifest import Manifest


def accept_film(manifest: Manifest, result: Json, rendered: Path, film: Path, *, renderer: str) -> Failed | Succeeded:
    """Move the rendered file to `film` if it conforms to the delivery rules; `result` is its `RenderResult`.

    The facts are seconds, width, height, fps, codec, lufs (None for silence), size_bytes, renderer, and warnings: the
    failed rules that do not reject the film.
    """
    failed = [each for each in result["rule_results"] if not each["ok"]]
    if errors := [_format_rule(each) for each in failed if each["severity"] == "error"]:
        return Failed("film_not_conformant", f"The film fails the delivery rules: {'; '.join(errors)}.")
    os.replace(rendered, film)
    facts = {
        "seconds": result["seconds"],
        "width": manifest.width,
        "height": manifest.height,
        "fps": manifest.fps,
        "codec": "h264",
        "lufs": result["lufs"],
        "size_bytes": film.stat().st_size,
        "renderer": renderer,
        "warnings": [_format_rule(each) for each in failed],
    }
    return Succeeded(film, facts=facts)


def _format_rule(result: dict[str, Any]) -> str:
    return f"{result['rule']} ({result['observed']})"
