"""A run as one page that loads nothing, to send or to keep."""

import asyncio
from base64 import b64encode
from datetime import UTC, datetime
from uuid import UUID

from console import pages
from providers.base import ArtifactChanged, ArtifactMissing, InvalidClip
from providers.media.video_frames import draw_poster
from runs import history, queries, reviews
from runs.services import Services
from storage import decisions

PICTURE_WIDTH_PX = 240


async def replay_page(services: Services, run_id: UUID) -> str:
    """Return the page, with a picture of the film and of each take. Raises RunNotFound, and Unavailable for the store.

    It is no record that a review was served: a decision that names no digest does not count for what it shows.
    """
    db, ledger = services.db, services.ledger
    run, orders = await queries.get_run_view(db, run_id), await ledger.list_for_run(run_id)
    takes = [order for order in orders if order.kind == "clip"]
    sizes = {order.result["digest"]: order.request.get("size", "") for order in takes if "digest" in order.result}
    if film := run.artifacts.get("final_video"):
        sizes[film["digest"]] = f"{film.get('width')}x{film.get('height')}"
    return pages.console_page(
        "replay.html",
        now=datetime.now(UTC),
        run=run,
        takes=takes,
        history=await history.get_history(db, ledger, run_id),
        reviews=await reviews.list_reviews(services, run_id),
        pictures={digest: await _draw_picture(services, digest, size) for digest, size in sizes.items()},
        log=await decisions.chain_head(db),
    )


async def _draw_picture(services: Services, digest: str, size: str) -> str | None:
    """Return a picture of a stored file as a data URL; None if the file is missing or damaged."""
    width, _, height = size.partition("x")
    ratio = int(height) / int(width) if width.isdecimal() and height.isdecimal() else 16 / 9
    try:
        path = await services.artifacts.local_path(digest)
        picture = await asyncio.to_thread(draw_poster, path, PICTURE_WIDTH_PX, round(PICTURE_WIDTH_PX * ratio / 2) * 2)
    except (ArtifactChanged, ArtifactMissing, InvalidClip):
        return None
    return f"data:image/webp;base64,{b64encode(picture).decode()}"
