"""What `myloware providers` lists and checks."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from pydantic import SecretStr
from rich.table import Table

from api.checked_settings import OPEN_PROVIDER, VideoAccount, check_settings, video_models
from api.settings import Settings, read_settings, variables
from api.wiring import VENDORS, open_video_provider
from cli.output import exit_with_error, stderr, stdout
from providers.base import Json
from providers.conformance_kit import Answer, ConformanceKit
from providers.exchange_record import ExchangeRecorder
from providers.public_hosts import CheckedClient
from providers.results import Pending
from providers.video_models import VideoOffer
from providers.video_profiles import Profile, load_profiles

MARKS = {"passed": "[green]passed[/] ", "failed": "[red]failed[/] ", "skipped": "[dim]skipped[/]"}


async def print_providers(*, as_json: bool) -> None:
    """Print all providers, with a table of the models of each. Raises SettingsError or ProfileError."""
    settings = read_settings()
    profiles = load_profiles(settings.video_profiles)
    found = [_describe_provider(name, settings, profiles) for name in (OPEN_PROVIDER, *VENDORS)]
    if as_json:
        stdout.print_json(data=found)
        return
    for each in found:
        names = ", ".join(f"{name} is {'set' if is_set else 'not set'}" for name, is_set in each["settings"].items())
        state = "configured" if each["configured"] else "not configured"
        stdout.print(f"\n[bold]{each['name']}[/], {state}: {names}. {each['protection']}", soft_wrap=True)
        table = Table(*(column.replace("_", " ") for column in each["models"][0]))
        for row in each["models"]:
            table.add_row(*map(_cell, row.values()))
        stdout.print(table)


def _describe_provider(name: str, settings: Settings, profiles: Sequence[Profile]) -> Json:
    """Return the settings, with whether each is set, what protects a create, and the models."""
    if name in VENDORS:
        adapter, prefix = VENDORS[name][0], f"{name.upper()}_"
        own = [each for each in profiles if each.kind == name]
        again = " The same order again returns the first task." * bool(adapter.replayable)
        protection = f"{adapter.lookup_proof}{again}"
    else:
        own, prefix = [each for each in profiles if not each.input_fields], "VIDEO_"
        protection = " ".join(dict.fromkeys(each.lookup_proof for each in own))
    names = {variable: field for variable, field in variables().items() if variable.startswith(prefix)}
    return {
        "name": name,
        "configured": name in settings.video_keys,
        "settings": {variable: getattr(settings, field) is not None for variable, field in names.items()},
        "protection": protection,
        "models": list(map(_describe_profile, own)),
    }


def _describe_profile(profile: Profile) -> Json:
    silent, loud = profile.usd_per_second, profile.usd_per_second | profile.usd_per_second_with_sound
    is_past = profile.shutdown is not None and profile.shutdown <= datetime.now(UTC).date()
    return {
        **profile.model_dump(include={"models", "hosts", "seconds", "sound"}),
        "usd_per_second": {size: str(silent.get(size, silent.get("*"))) for size in profile.sizes},
        "with_sound": {size: str(loud.get(size, loud.get("*"))) for size in profile.sizes},
        "kept_hours": profile.result_lifetime_hours,
        "webhooks": "yes" if profile.webhooks else "no",
        "shutdown": f"{profile.shutdown}{' (past)' * is_past}" if profile.shutdown else None,
    }


def _cell(value: Any) -> str:
    values = [f"{size}: {usd}" for size, usd in value.items()] if isinstance(value, dict) else value
    return ", ".join(map(str, values)) if isinstance(values, list | tuple) else str(values or "")


def choose(settings: Settings, name: str, model: str | None) -> tuple[VideoAccount, VideoOffer]:
    """Return the account of a provider, and its offer for the shortest clip of the model, or of the cheapest."""
    if name not in settings.video_keys:
        exit_with_error(f"The provider {name} is not configured. `myloware providers list` shows its settings.")
    account = next(each for each in check_settings(settings).accounts if each.provider == name)
    offers = [
        each.offer(min(each.profile.seconds), size, None)
        for each in video_models(settings, [replace(account, is_offered=True)]).models
        for size in each.profile.sizes
        if model in (None, each.profile.model) and not each.profile.refusal(min(each.profile.seconds), size)
    ]
    if not offers:
        exit_with_error(f"{name} has no model {model or ''} in the video profiles.")
    return account, min(offers, key=lambda offer: offer.usd_per_clip)


def describe_price(offer: VideoOffer) -> str:
    """Return what a check orders and spends, in words."""
    is_repeated = offer.provider in VENDORS and VENDORS[offer.provider][0].replayable is not None
    risk = " If the vendor does not recognise the order again, as it promises, it may charge twice." * is_repeated
    return f"One clip of {offer.model}: {offer.seconds} s, {offer.size}, ${offer.usd_per_clip:.3f}.{risk}"


async def check(
    settings: Settings, account: VideoAccount, offer: VideoOffer, *, spend: bool, record: Path | None
) -> bool:
    """Run the steps, print and record them, and return whether none failed."""
    recorder, public = ExchangeRecorder(), settings.public_url
    prompt = f"A paper boat drifts on a calm lake, with the sound of small waves. ({uuid4().hex[:8]})"
    request = {"model": offer.model, "prompt": prompt, "seconds": offer.seconds, "size": offer.size}
    request |= {} if offer.sound is None else {"sound": offer.sound}
    path = "sora" if account.provider == OPEN_PROVIDER else f"video/{account.provider}"
    polled = replace(account, webhook_secrets=())  # a clip that a webhook announces is polled rarely
    async with httpx.AsyncClient() as client, CheckedClient(httpx.Timeout(30)) as file_client:
        recorder.attach(file_client)
        recorder.attach(client)
        with tempfile.TemporaryDirectory() as folder:
            kit = ConformanceKit(
                lambda key: open_video_provider(
                    settings, replace(polled, api_key=SecretStr(key)), client, file_client=file_client
                ),
                *(account.api_key.get_secret_value(), request, offer.usd_per_clip, recorder, Path(folder)),
                webhook_url=f"{public}/v1/webhooks/{path}" if public else None,
                webhook_secrets=account.webhook_secrets,
                show_progress=_print_progress,
            )
            if record:  # a file that cannot be written is known before money is spent
                kit.write_record(record)
            try:
                async for result in kit.run(spend=spend):
                    stdout.print(f"{MARKS[result.outcome]} {result.step}: {result.reason}", soft_wrap=True)
            finally:
                if record:
                    kit.write_record(record)
    return all(result.outcome != "failed" for result in kit.results)


def _print_progress(answer: Answer) -> None:
    share = answer.progress if isinstance(answer, Pending) else None
    stderr.print("        waiting" if share is None else f"        {share:.0%}")
