"""`myloware doctor`: show the settings, and ask the database, the store and every service whether they work."""

from datetime import UTC, datetime

import psutil
import typer
from pydantic import BaseModel
from rich.table import Table

from api.settings import Service, Settings, read_settings, variables
from api.settings_types import SettingsError
from api.vendor_checks import VENDOR_CHECKS, VendorCheck
from cli.local_services import with_local_services
from cli.output import exit_with_error, stdout
from providers.base import ProviderError
from storage.migrate import DatabaseUnusable, migrate

SECRET_WORDS = ("KEY", "SECRET", "DATABASE_URL")
MIN_FREE_GIB = 2
MODELS: Service = "language model and moderation"
#: The service that the sandbox can replace, by the name of its check.
SERVICES = {"language model": MODELS, "moderation": MODELS, "video": "video", "publisher": "publishing"}


class Check(BaseModel):
    """The result of a check."""

    check: str
    ok: bool
    message: str


class Report(BaseModel):
    """The settings by variable, the services that the sandbox replaces, warnings, and the checks."""

    settings: dict[str, str | None]
    sandbox: list[Service]
    warnings: list[str]
    checks: list[Check]


async def examine(*, as_json: bool) -> None:
    """Print every setting and the result of every check. Exits with status 1 if a check failed."""
    try:
        settings = read_settings()
    except SettingsError as error:
        exit_with_error(str(error))
    checks = {
        "database" if settings.database_url else "embedded database": (_check_database, ""),
        "projects": (_check_projects, ""),
        "disk": (_check_disk, ""),
        **VENDOR_CHECKS,
    }
    found = [await _run_check(name, check, settings, to_set) for name, (check, to_set) in checks.items()]
    visible, sandbox, warnings = _visible_settings(settings), settings.missing_services, settings.weak_keys()
    report = Report(settings=visible, sandbox=sandbox, warnings=warnings, checks=found)
    if as_json:
        stdout.print_json(report.model_dump_json())
    else:
        _print_report(report)
    if not all(check.ok for check in report.checks):
        raise typer.Exit(1)


async def _run_check(name: str, check: VendorCheck, settings: Settings, to_set: str) -> Check:
    """Run a check, which returns what it found and raises an error with what is wrong; `to_set` are its settings."""
    try:
        is_replaced = SERVICES.get(name) in settings.missing_services
        message = "sandbox" if is_replaced else await check(settings)
        return Check(check=name, ok=True, message=message)
    except ProviderError as error:
        message = f"{error.message} Check {to_set}." if to_set else error.message
    except (ValueError, DatabaseUnusable) as error:
        message = str(error)
    except Exception as error:
        # The driver's message is what a person needs; it contains no password.
        message = f"not usable: {type(error).__name__}: {str(error).splitlines()[0]}"
    return Check(check=name, ok=False, message=message)


def _visible_settings(settings: Settings) -> dict[str, str | None]:
    """Return every variable with its value; a secret is shown as "set"."""
    visible: dict[str, str | None] = {}
    for variable, field in sorted(variables().items()):
        value = getattr(settings, field)
        is_secret = any(word in variable for word in SECRET_WORDS)
        visible[variable] = None if value is None else "set" if is_secret else str(value)
    return visible


async def _check_database(settings: Settings) -> str:
    async with with_local_services(settings, with_sandbox=False) as complete:
        await migrate(complete.session_url)
    return "reachable, schema up to date"


async def _check_projects(settings: Settings) -> str:
    return ", ".join(sorted(settings.projects()))


async def _check_disk(settings: Settings) -> str:
    folder = settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free_gib = psutil.disk_usage(str(folder)).free / 2**30
    message = f"{free_gib:.1f} GiB free for {settings.data_dir}"
    if free_gib <= MIN_FREE_GIB:
        raise ValueError(message)
    return message


def _print_report(report: Report) -> None:
    table = Table("setting", "value", title=f"Settings on {datetime.now(UTC):%Y-%m-%d}", title_justify="left")
    for variable, value in report.settings.items():
        table.add_row(variable, "[dim]not set[/]" if value is None else value)
    stdout.print(table)
    if report.sandbox:
        stdout.print(f"[yellow]SANDBOX[/] replaces {', '.join(report.sandbox)}.")
    for warning in report.warnings:
        stdout.print(f"[yellow]Warning:[/] {warning}", soft_wrap=True)
    for check in report.checks:
        mark = "[green]ok[/]    " if check.ok else "[red]failed[/]"
        stdout.print(f"{mark} {check.check}: {check.message}", soft_wrap=True)
