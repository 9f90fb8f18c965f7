"""`myloware clips check` and `films check`: show what would be done with a file, without a run."""

import asyncio
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from providers.base import Json
    from providers.film_mark import Provenance

clips = typer.Typer(help="Files of clips.", no_args_is_help=True)
films = typer.Typer(help="Files of films.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)]
Size = Annotated[str, typer.Option(help="Width and height in pixels.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _parse_size(size: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", size)
    sides = [int(side) for side in match.groups()] if match else [0, 0]
    if any(side % 2 or not 16 <= side <= 2160 for side in sides):
        raise typer.BadParameter("Write it as 720x1280; both are even, and from 16 to 2160.", param_hint="--size")
    return sides[0], sides[1]


@clips.command("check")
def check_clip(
    file: File,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="The length that is ordered.")],
    size: Size,
    as_json: AsJson = False,
) -> None:
    """Show whether a delivered clip would be copied, coded, cut or refused. Exits with 1 if it is refused."""
    width, height = _parse_size(size)
    from providers.base import ProviderError
    from providers.media.intake import accept_clip

    with tempfile.TemporaryDirectory() as folder:
        try:
            order = accept_clip(file, seconds=seconds, width=width, height=height, into=Path(folder))
            report = {"file": str(file), "action": "", **asyncio.run(order).facts}
            is_cut = any("was cut" in warning for warning in report["warnings"])
            report["action"] = "cut" if is_cut else "copied" if report["how"] == "kept" else "coded"
        except ProviderError as error:
            report = {"file": str(file), "action": "refused", "code": error.code, "message": error.message}
    _print_report(report, as_json=as_json)


@films.command("check")
def check_film_file(file: File, size: Size = "1080x1920", as_json: AsJson = False) -> None:
    """Check a film against the delivery rules, and its C2PA manifest. Exits with 1 if it fails or is not as signed."""
    width, height = _parse_size(size)
    from providers.media.conformance import FilmSpec, check_film, failed_errors
    from providers.media.provenance import read_provenance

    results = check_film(file, FilmSpec(None, width, height))
    found = read_provenance(file)
    errors = list(map(str, failed_errors(results)))
    warnings = [str(result) for result in results if not result.ok and result.severity == "warning"]
    if found and not found.valid:
        errors.append(f"c2pa (the signature does not hold: {', '.join(found.problems)})")
    warnings += _warnings_about_mark(found)
    report = {
        "file": str(file),
        "action": "refused" if errors else "accepted",
        "errors": errors,
        "warnings": warnings,
        "c2pa": {"marked": bool(found), **(found.model_dump(mode="json") if found else {})},
        "measured": {result.rule: str(result.observed) for result in results},
    }
    _print_report(report, as_json=as_json)


def _warnings_about_mark(found: "Provenance | None") -> list[str]:
    if found is None:
        return ["c2pa (no manifest: the film is not marked as generated)"]
    if found.development:
        return ["c2pa (signed with a certificate for development, which readers call untrusted)"]
    return []


def _print_report(report: "Json", *, as_json: bool) -> None:
    """Print the report, and exit with 1 if the file is refused."""
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    for name, value in () if as_json else report.items():
        lines = [f"{key}: {each}" for key, each in value.items()] if isinstance(value, dict) else value
        typer.echo(f"{name}: {'; '.join(lines) if isinstance(lines, list) else lines}")
    raise typer.Exit(report["action"] == "refused")
