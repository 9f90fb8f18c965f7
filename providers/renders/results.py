"""The result of a render, the same for every renderer."""

import os
from pathlib import Path

from providers.base import Failed, Json, Succeeded


def accept_film(result: Json, rendered: Path, film: Path, *, renderer: str) -> Failed | Succeeded:
    """Move the rendered file to `film` if it conforms to the delivery rules; `result` is its `RenderResult`."""
    if result["errors"]:
        return Failed("film_not_conformant", f"The film fails the delivery rules: {'; '.join(result['errors'])}.")
    os.replace(rendered, film)
    return Succeeded(film, facts={**result["facts"], "renderer": renderer})
