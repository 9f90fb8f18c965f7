"""A run as one page that loads nothing, to send or to keep."""

from base64 import b64encode
from datetime import UTC, datetime
from uuid import UUID

from console import pages
from runs import history, queries, reviews
from runs.messages import draw_picture
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
    picture = await draw_picture(services, digest, {"width": width, "height": height}, PICTURE_WIDTH_PX, "WEBP")
    return f"data:image/webp;base64,{b64encode(picture).decode()}" if picture else None
