"""`myloware providers`: the known providers of clips, and a check of one. Imports what it needs when it is called."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.output import exit_with_error, stdout

providers = typer.Typer(help="The providers of clips.", no_args_is_help=True)


@providers.command("list")
def list_providers(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the known providers of clips, configured or not, with their models and prices. Uses no network."""
    from cli import provider_check, running

    running.run(provider_check.print_providers(as_json=as_json))


@providers.command("check")
def check_provider(
    name: Annotated[str, typer.Argument(help="The name of the provider.")],
    spend: Annotated[bool, typer.Option("--spend", help="Order one clip, the shortest, after asking.")] = False,
    model: Annotated[str | None, typer.Option(help="The model; by default the cheapest.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Order it without asking.")] = False,
    record: Annotated[Path | None, typer.Option(help="Write the exchange to this file, without keys.")] = None,
) -> None:
    """Check that a server keeps its contract, free of charge unless --spend. Exits with 1 if a step failed."""
    from cli import provider_check, running
    from cli.local_services import checked_settings

    settings = checked_settings()
    account, offer = provider_check.choose(settings, name, model)
    if spend:
        stdout.print(provider_check.describe_price(offer), soft_wrap=True)
        if not (yes or sys.stdin.isatty()):
            exit_with_error("--spend asks before it orders. Without a terminal it needs --yes.")
        if not yes:
            typer.confirm("Order it?", abort=True)
    if not running.run(provider_check.check(settings, account, offer, spend=spend, record=record)):
        raise typer.Exit(1)
