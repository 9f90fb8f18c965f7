"""The checks of the command line: `doctor` of the settings and every service, `models check` of the language model."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import httpx2
import typer
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from rich.table import Table

from agents.roles import ideate, moderate, read_comment, respond, screen_brief, write_caption
from agents.structured import AnswerError, form_of
from agents.texts import Idea
from api.checks import BRIEF, SHORTS, Check, run_checks
from api.settings import NO_KEY, Service, Settings, read_settings, variables
from api.settings_types import SettingsError
from api.wiring import open_chat_model
from chat.tools import tool_table
from cli.local_services import with_local_services
from cli.output import stdout
from providers.base import ProviderError
from storage.migrate import migrate

SECRET_WORDS = ("KEY", "SECRET", "DATABASE_URL")
IDEA = Idea(title="Window", scene="Rain runs down a window at night.", sound="Soft rain.", overlay="Stay in")


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
        visible[variable] = None if value in (None, NO_KEY) else "set" if is_secret else str(value)
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


async def check_model(*, as_json: bool) -> None:
    """Ask every question and print the results as they arrive. Exits with 1 if one failed. Raises SettingsError."""
    settings, results = read_settings(), list[dict[str, Any]]()
    if "language model and moderation" in settings.missing_services:
        raise SettingsError("No language model is configured. Set OPENAI_BASE_URL, or OPENAI_API_KEY for OpenAI.")
    async with httpx2.AsyncClient() as client:
        model = open_chat_model(settings, client)
        for name in list(QUESTIONS)[settings.moderation != "model" :]:  # moderation is the first
            results.append(result := await _send(name, model))
            if not as_json:
                mark = "[green]ok[/]    " if result["ok"] else "[red]failed[/]"
                outcome = result["message"] or result["form"] or ""
                stdout.print(f"{mark} {name}: {result['seconds']} s", outcome, soft_wrap=True)
    if as_json:
        stdout.print_json(data={"model": settings.openai_model, "questions": results})
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


async def _send(name: str, model: BaseChatModel) -> dict[str, Any]:
    began, error = time.monotonic(), ""
    try:
        await QUESTIONS[name](model)
    except ProviderError as failure:
        error = failure.message
    seconds, form = round(time.monotonic() - began, 1), None if error or name == "tool call" else form_of(model)
    return {"question": name, "ok": not error, "seconds": seconds, "form": form, "message": error}


async def _call_tool(model: BaseChatModel) -> None:
    tools = {tool.name: tool.args for tool in tool_table(cast("Any", None))}  # they are only described
    answer = await respond(model, [*tools.values()], [HumanMessage("Which runs are there?")], may_call_tools=True)
    if not answer.tool_calls or not {call["name"] for call in answer.tool_calls} <= tools.keys():
        raise AnswerError("model_without_tools", "The model answered without a tool call. Check OPENAI_MODEL.")


QUESTIONS: dict[str, Callable[[BaseChatModel], Awaitable[object]]] = {
    "moderation": lambda model: moderate(model, [BRIEF]),
    "screening": lambda model: screen_brief(model, SHORTS, BRIEF),
    "ideas": lambda model: ideate(model, SHORTS, BRIEF),
    "caption": lambda model: write_caption(model, BRIEF, "Rain", [IDEA]),
    "routing": lambda model: read_comment(model, [IDEA, IDEA], "Generate clip 2 again, with a brighter sky."),
    "tool call": _call_tool,
}
