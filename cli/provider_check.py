"""What `myloware providers` lists and checks."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
from pydantic import SecretStr
from rich.table import Table

from api.checked_settings import OPEN_PROVIDER, VideoAccount, check_settings, video_models
from api.settings import Settings, variables
from api.wiring import VENDORS, open_video_provider
from cli.output import exit_with_error, stderr, stdout
from providers.base import Json
from providers.conformance_kit import Answer, ConformanceKit, StepResult
from providers.exchange_record import ExchangeRecorder, write_record
from providers.foreign_files import ForeignFiles
from providers.public_hosts import stateless_client
from providers.results import Pending
from providers.video_models import VideoOffer
from providers.video_profiles import Profile, load_profiles

MARKS = {"passed": "[green]passed[/] ", "failed": "[red]failed[/] ", "skipped": "[dim]skipped[/]"}


def print_providers(settings: Settings, *, as_json: bool) -> None:
    """Print all providers: the settings with whether each is set, what protects a create, and the models by size."""
    found, profiles = list[Json](), load_profiles(settings.video_profiles)
    is_set = {name: getattr(settings, field) is not None for name, field in variables().items()}
    for name in (OPEN_PROVIDER, *VENDORS):
        adapter, prefix = VENDORS.get(name, (None, ""))[0], "VIDEO" if name == OPEN_PROVIDER else name.upper()
        own = [each for each in profiles if (each.kind == name if adapter else not each.input_fields)]
        proofs = [adapter.lookup_proof] if adapter else dict.fromkeys(each.lookup_proof for each in own)
        again = ["The same order again returns the first task."] if adapter and adapter.replayable else []
        values = {each: value for each, value in is_set.items() if each.startswith(f"{prefix}_")}
        head = {"name": name, "configured": name in settings.video_keys, "settings": values}
        models = [row for profile in own for row in _rows(profile)]
        found.append({**head, "protection": " ".join([*proofs, *again]), "models": models})
    if as_json:
        stdout.print_json(data=found)
    for each in () if as_json else found:
        state = "configured" if each["configured"] else "not configured"
        names = ", ".join(f"{name} is {'set' if value else 'not set'}" for name, value in each["settings"].items())
        stdout.print(f"\n[bold]{each['name']}[/], {state}: {names}. {each['protection']}", soft_wrap=True)
        table = Table(*(column.replace("_", " ") for column in each["models"][0]))
        for row in each["models"]:
            table.add_row(*(str(value or "") for value in row.values()))
        stdout.print(table)


def _rows(profile: Profile) -> Iterator[Json]:
    seconds, hours, today = profile.seconds[0], profile.result_lifetime_hours, datetime.now(UTC).date()
    for size in profile.sizes:
        yield {
            "model": ", ".join(profile.models),
            "hosts": ", ".join(profile.hosts),
            "size": size,
            "seconds": f"{seconds}–{profile.seconds[-1]}",
            "usd_per_second": f"{profile.price(seconds, size) / seconds:.3f}",
            "with_sound": f"{profile.price(seconds, size, with_sound=True) / seconds:.3f}",
            "sound": profile.sound,
            "kept_for": f"{hours} h" if hours else None,
            "webhooks": "yes" if profile.webhooks else "no",
            "shutdown": f"{profile.shutdown}{' (past)' if profile.shutdown <= today else ''}"
            if profile.shutdown
            else None,
        }


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
    return account, min(offers, key=lambda offer: offer.usd)


async def check(
    settings: Settings, account: VideoAccount, offer: VideoOffer, *, spend: bool, record: Path | None
) -> bool:
    """Run the steps, print and record them, and return whether none failed."""
    recorder, results, key, since = ExchangeRecorder(), list[StepResult](), f"{uuid4()}:clip:1:1", datetime.now(UTC)
    prompt = f"A paper boat drifts on a calm lake, with the sound of small waves. ({key[:8]})"
    request = {"model": offer.model, "prompt": prompt, "seconds": offer.seconds, "size": offer.size}
    request |= {} if offer.sound is None else {"sound": offer.sound}
    secret, public = account.api_key.get_secret_value(), settings.public_url
    path = "sora" if account.provider == OPEN_PROVIDER else f"video/{account.provider}"
    polled = replace(account, webhook_secrets=())  # a clip that a webhook announces is polled rarely
    async with httpx.AsyncClient() as client, stateless_client(httpx.Timeout(30)) as file_client:
        files = ForeignFiles(recorder.attach(file_client))
        recorder.attach(client)
        with tempfile.TemporaryDirectory() as folder:
            kit = ConformanceKit(
                lambda key: open_video_provider(settings, replace(polled, api_key=SecretStr(key)), client, files),
                api_key=secret,
                request=request,
                key=key,
                since=since,
                usd=offer.usd,
                sent=lambda: len(recorder.exchanges),
                folder=Path(folder),
                webhook_url=f"{public}/v1/webhooks/{path}" if public else None,
                webhook_secrets=account.webhook_secrets,
                show_progress=_print_progress,
            )
            order = {"request": request, "key": key, "since": since.isoformat(), "usd": str(offer.usd)}

            def write() -> None:
                content = {"provider": kit.provider.name, "order": order, "results": list(map(asdict, results))}
                if record:
                    write_record(record, {**content, "exchanges": recorder.exchanges}, [secret], prompt)

            write()  # before any money is spent
            try:
                async for result in kit.run(spend=spend):
                    results.append(result)
                    stdout.print(f"{MARKS[result.outcome]} {result.step}: {result.reason}", soft_wrap=True)
            finally:
                write()
    return all(result.outcome != "failed" for result in results)


def _print_progress(answer: Answer) -> None:
    share = answer.progress if isinstance(answer, Pending) else None
    stderr.print("        waiting" if share is None else f"        {share:.0%}")
