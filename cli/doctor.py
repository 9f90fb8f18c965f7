"""`myloware doctor`: show the settings, and ask the database, the store and every service whether they work."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import typer
from rich.table import Table

from api.checks import Check, run_checks
from api.settings import Service, Settings, read_settings, variables
from cli.local_services import with_local_services
from cli.output import stdout
from storage.migrate import migrate

SECRET_WORDS = ("KEY", "SECRET", "DATABASE_URL")


async def examine(*, as_json: bool) -> None:
    """Print every setting and the result of every check. Exits with 1 if a check failed. Raises SettingsError."""
    settings = read_settings()
    found = await run_checks(settings, {"database" if settings.database_url else "embedded database": _check_database})
    visible, sandbox, warnings = _visible_settings(settings), settings.missing_services, settings.weak_keys()
    if as_json:
        checks = [check.model_dump() for check in found]
        stdout.print_json(data={"settings": visible, "sandbox": sandbox, "warnings": warnings, "checks": checks})
    else:
        _print_report(visible, sandbox, warnings, found)
    if not all(check.ok for check in found):
        raise typer.Exit(1)


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


def _print_report(
    settings: Mapping[str, str | None], sandbox: Sequence[Service], warnings: Sequence[str], checks: Sequence[Check]
) -> None:
    table = Table("setting", "value", title=f"Settings on {datetime.now(UTC):%Y-%m-%d}", title_justify="left")
    for variable, value in settings.items():
        table.add_row(variable, "[dim]not set[/]" if value is None else value)
    stdout.print(table)
    if sandbox:
        stdout.print(f"[yellow]SANDBOX[/] replaces {', '.join(sandbox)}.")
    for warning in warnings:
        stdout.print(f"[yellow]Warning:[/] {warning}", soft_wrap=True)
    for check in checks:
        mark = "[green]ok[/]    " if check.ok else "[red]failed[/]"
        stdout.print(f"{mark} {check.check}: {check.message}", soft_wrap=True)
