"""`myloware make`: make a video in one terminal, with live progress and prompts at the gates."""

import asyncio
import gc
import time
from collections.abc import Sequence
from decimal import Decimal
from importlib import import_module

import typer

from api.checked_settings import check_settings
from api.listening import listen, url_of
from api.settings import OPENAI_URL, Settings
from cli.display import ProgressReporter
from cli.local_services import sandbox_notice, with_local_services
from cli.output import exit_with_error, program
from cli.running import freeze_imports


def check_unattended(settings: Settings) -> None:
    """Exit with a message if approving without a person could cost money or publish."""
    paid = []
    is_openai = settings.openai_base_url in (None, OPENAI_URL)
    missing = settings.missing_services
    if "language model and moderation" not in missing and (is_openai or settings.usd_of_tokens(1, 1)):
        paid.append("the language model (OPENAI_API_KEY)")
    if "video" not in missing and _clip_prices(settings) != {Decimal(0)}:
        paid.append("the video server (VIDEO_MODEL)")
    if "publishing" not in missing and settings.upload_post_api_key:
        paid.append("the publisher (UPLOAD_POST_API_KEY)")
    is_speech_paid = settings.speech_base_url is not None and settings.speech_price > 0
    paid += ["the speech server (SPEECH_USD_PER_1000_CHARACTERS)"] * is_speech_paid
    if paid:
        exit_with_error(
            f"--yes is refused because of {', '.join(paid)}: a person approves what costs or is published."
            " Leave --yes out, or add --sandbox."
        )


def _clip_prices(settings: Settings) -> set[Decimal]:
    checked = check_settings(settings)
    projects = [checked.projects[name] for name in checked.offered - checked.refusals().keys()]
    return {checked.video.offer(each.clip_seconds, each.clip_size, each.video).usd_per_clip for each in projects}


async def make(
    settings: Settings, brief: str, project: str, go_on: str | None, *, flags: Sequence[str], yes: bool, as_json: bool
) -> None:
    """Make a film from the brief, or go on with the run whose id starts with `go_on`. Exits with 1 if it fails.

    `flags` are the options that a command which goes on with the run needs too.
    """
    started_at = time.monotonic()
    listening = listen()
    reporter = ProgressReporter(as_json, sandbox_notice(settings))
    command = " ".join([program(), "make", *flags, "--run"])
    with reporter.status:
        reporter.status.update("Starting the database" + (" and the sandbox" if settings.missing_services else ""))
        # These modules take seconds to import: as long as the services take to start.
        importing = asyncio.create_task(asyncio.to_thread(_import_driver))
        async with with_local_services(settings, webhooks_to=url_of(listening)) as complete:
            await importing
            from cli.serve import drive_run

            run, film = await drive_run(complete, listening, reporter, brief, project, go_on, command=command, yes=yes)
    reporter.report_end(run, film, time.monotonic() - started_at)
    if film is None:
        raise typer.Exit(1)


def _import_driver() -> None:
    gc.disable()
    import_module("cli.serve")
    freeze_imports()
