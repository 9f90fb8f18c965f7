"""`myloware models check`: the product's own questions, sent to the language model of the settings."""

import time
from collections.abc import Awaitable
from typing import Any, cast

import httpx2
import typer
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from agents.caption_writer import write_caption
from agents.ideator import ideate
from agents.structured import AnswerError, form_of
from agents.supervisor import read_comment, respond, screen_brief
from agents.texts import Idea
from api.settings import read_settings
from api.settings_types import SettingsError
from api.wiring import open_chat_model
from chat.tools import tool_table
from cli.output import stdout
from prompts.project import FOLDER, read_project
from providers.base import ProviderError

QUESTIONS = ("screening", "ideas", "caption", "routing", "tool call")
BRIEF = "Rain on a quiet window at night"
IDEA = Idea(title="Window", scene="Rain runs down a window at night.", sound="Soft rain.", overlay="Stay in")


async def check(*, as_json: bool) -> None:
    """Ask every question and print the results as they arrive. Exits with 1 if one failed. Raises SettingsError."""
    settings = read_settings()
    if "language model and moderation" in settings.missing_services:
        raise SettingsError("No language model is configured. Set OPENAI_BASE_URL, or OPENAI_API_KEY for OpenAI.")
    results: list[dict[str, Any]] = []
    async with httpx2.AsyncClient() as client:
        model = open_chat_model(settings, client)
        for question in QUESTIONS:
            began, message = time.monotonic(), ""
            try:
                await _ask(model, question)
            except ProviderError as error:
                message = error.message
            form = None if message or question == "tool call" else form_of(model)
            seconds = round(time.monotonic() - began, 1)
            results.append({"question": question, "ok": not message, "seconds": seconds, "form": form})
            results[-1]["message"] = message
            if not as_json:
                mark = "[red]failed[/]" if message else "[green]ok[/]    "
                stdout.print(f"{mark} {question}: {seconds} s", message or form or "", soft_wrap=True)
    if as_json:
        stdout.print_json(data={"model": settings.openai_model, "questions": results})
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


def _ask(model: BaseChatModel, question: str) -> Awaitable[object]:
    shorts = read_project(FOLDER / "shorts.md")
    match question:
        case "screening":
            return screen_brief(model, shorts, BRIEF)
        case "ideas":
            return ideate(model, shorts, BRIEF)
        case "caption":
            return write_caption(model, BRIEF, "Rain", [IDEA])
        case "routing":
            return read_comment(model, [IDEA, IDEA], "Generate clip 2 again, with a brighter sky.")
    return _call_tool(model)


async def _call_tool(model: BaseChatModel) -> None:
    tools = {tool.name: tool.args for tool in tool_table(cast("Any", None))}  # they are only described
    answer = await respond(model, [*tools.values()], [HumanMessage("Which runs are there?")], may_call_tools=True)
    if not answer.tool_calls or not {call["name"] for call in answer.tool_calls} <= tools.keys():
        raise AnswerError("model_without_tools", "The model answered without a tool call. Check OPENAI_MODEL.")
