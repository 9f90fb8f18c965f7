"""`myloware doctor`: what is set, what is missing, and what is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import psutil
import typer
from rich.table import Table

from api.settings import Settings, SettingsError, read_settings, variables
from api.wiring import check_settings
from cli.local_services import sandboxed_services, with_local_services
from cli.output import fail, out
from storage.migrate import DatabaseUnusable, migrate

SECRETIVE = ("KEY", "SECRET", "DATABASE_URL")


async def examine(*, as_json: bool) -> None:
    """Print every setting and the result of every check; ends with status 1 if one of them failed."""
    try:
        settings = read_settings()
    except SettingsError as error:
        fail(str(error))
    checks = [await _database(settings), _video(settings), _projects(settings), _disk(settings)]
    if as_json:
        out.print_json(
            json.dumps({"settings": _told(settings), "sandbox": sandboxed_services(settings), "checks": checks})
        )
    else:
        _print(settings, checks)
    if not all(each["ok"] for each in checks):
        raise typer.Exit(1)


def _told(settings: Settings) -> dict[str, str | None]:
    """Every variable with its value; of a secret only that it is set."""
    told: dict[str, str | None] = {}
    for variable, field in sorted(variables().items()):
        value = getattr(settings, field)
        secret = any(word in variable for word in SECRETIVE)
        told[variable] = None if value is None else "set" if secret else str(value)
    return told


async def _database(settings: Settings) -> dict[str, Any]:
    name = "database" if settings.database_url else "embedded database"
    try:
        async with with_local_services(settings, with_sandbox=False) as whole:
            assert whole.database_url is not None  # noqa: S101 - completed says so
            await migrate(whole.database_url.get_secret_value())
    except (SettingsError, DatabaseUnusable) as error:
        return _check(name, False, str(error))
    except Exception as error:
        # Whatever the driver says is what the person needs to read; secrets are not in it.
        return _check(name, False, f"it cannot be used: {type(error).__name__}: {str(error).splitlines()[0]}")
    return _check(name, True, "answers, and its tables are up to date")


def _video(settings: Settings) -> dict[str, Any]:
    if settings.video_missing:
        return _check("video", True, "the sandbox makes the clips")
    try:
        server = check_settings(settings).video
    except SettingsError as error:
        return _check("video", False, str(error))
    profile = server.video.profile
    ends = f", shut down on {profile.shutdown}" if profile.shutdown else ""
    calls = "webhooks and polling" if profile.webhooks and server.webhook_secrets else "polling only"
    return _check("video", True, f"{server.video.model} at {server.base_url}, {calls}{ends}")


def _projects(settings: Settings) -> dict[str, Any]:
    try:
        projects = settings.projects()
    except ValueError as error:
        return _check("projects", False, str(error))
    return _check("projects", True, ", ".join(sorted(projects)))


def _disk(settings: Settings) -> dict[str, Any]:
    folder = settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = psutil.disk_usage(str(folder)).free / 2**30
    return _check("disk", free > 2, f"{free:.1f} GiB free for {settings.data_dir}")


def _check(name: str, ok: bool, said: str) -> dict[str, Any]:
    return {"check": name, "ok": ok, "said": said}


def _print(settings: Settings, checks: list[dict[str, Any]]) -> None:
    table = Table("setting", "value", title=f"Settings on {datetime.now(UTC):%Y-%m-%d}", title_justify="left")
    for variable, value in _told(settings).items():
        table.add_row(variable, "[dim]not set[/]" if value is None else value)
    out.print(table)
    if missing := sandboxed_services(settings):
        out.print(f"[yellow]SANDBOX[/] stands in for {', '.join(missing)}.")
    for each in checks:
        mark = "[green]ok[/]    " if each["ok"] else "[red]wrong[/] "
        out.print(f"{mark} {each['check']}: {each['said']}", soft_wrap=True)
