"""`myloware models check`: the product's own questions, sent to the language model of the settings."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httpx2
import typer
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from agents.structured import AnswerError, form_of
from agents.supervisor import moderate, read_comment, respond, screen_brief
from agents.texts import Idea
from agents.writers import ideate, write_caption
from api.checks import BRIEF, SHORTS
from api.settings import read_settings
from api.settings_types import SettingsError
from api.wiring import open_chat_model
from chat.tools import tool_table
from cli.output import stdout
from providers.base import ProviderError

IDEA = Idea(title="Window", scene="Rain runs down a window at night.", sound="Soft rain.", overlay="Stay in")


async def check(*, as_json: bool) -> None:
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
