"""`myloware keys`: add, list and revoke API keys."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import exit_with_error, stdout
from storage.actors import Right

if TYPE_CHECKING:
    from storage.api_keys import ApiKeyRow

keys = typer.Typer(help="Add, list and revoke API keys.", no_args_is_help=True)


@keys.command("add")
def add_command(
    name: Annotated[str, typer.Argument(help="A name, which the history shows.")],
    can: Annotated[Right, typer.Option(help="Its rights; each includes those before it.")],
    expires: Annotated[str | None, typer.Option(help="When it ends: 30d, or a date such as 2027-01-31 (UTC).")] = None,
) -> None:
    """Add an API key and print it, once."""
    from cli.running import LOCAL_CONTEXT, read
    from storage import api_keys

    if not re.fullmatch(api_keys.NAME_PATTERN, name):
        exit_with_error("The name must have 1 to 64 letters, digits, dots, hyphens, underscores or @.")
    expires_at = _parse_end(expires) if expires else None
    added = read(lambda db: api_keys.add_key(db, name, can, expires_at, context=LOCAL_CONTEXT))
    if added is None:
        exit_with_error(f"There is a key named {name}: revoke it, or choose another name.")
    typer.echo(added[0])


@keys.command("list")
def list_command() -> None:
    """List all API keys: name, id, rights, end, last use and origin."""
    from rich.table import Table

    from cli.running import read
    from storage import api_keys

    table = Table("name", "id", "can", "ends", "last used", "origin")
    for row in read(api_keys.list_keys):
        table.add_row(row.name, row.id, row.can, _describe_end(row), _format_time(row.last_used_at), row.origin)
    stdout.print(table)


@keys.command("revoke")
def revoke_command(name_or_id: Annotated[str, typer.Argument(help="The name or the id of the key.")]) -> None:
    """End an API key at once."""
    from cli.running import LOCAL_CONTEXT, read
    from storage import api_keys

    row = read(lambda db: api_keys.revoke_key(db, name_or_id, context=LOCAL_CONTEXT))
    if row is None:
        exit_with_error(f"There is no key {name_or_id}. `myloware keys list` shows names and ids.")
    typer.echo(f"Revoked: {row.name} ({row.id})")
    if row.origin == "settings":
        advice = "Remove it from the settings too: the next start of `myloware serve` makes it valid again."
        typer.echo(advice, err=True)


def _parse_end(text: str) -> datetime:
    """Return the time that the text means. Exits with an error for one that is past or cannot be read."""
    try:
        days = re.fullmatch(r"(\d{1,5})d", text)
        end = datetime.now(UTC) + timedelta(days=int(days[1])) if days else datetime.fromisoformat(text)
    except ValueError:
        exit_with_error("--expires must be a number of days such as 30d, or a date such as 2027-01-31.")
    end = end if end.tzinfo else end.replace(tzinfo=UTC)
    if end <= datetime.now(UTC):
        exit_with_error(f"--expires {text} is past.")
    return end


def _describe_end(row: "ApiKeyRow") -> str:
    if row.revoked_at:
        return f"revoked {_format_time(row.revoked_at)}"
    return f"{'expired ' if row.has_ended else ''}{_format_time(row.expires_at)}" if row.expires_at else "never"


def _format_time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" if at else "never"
