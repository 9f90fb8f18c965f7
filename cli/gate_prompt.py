"""The prompt at a gate: reads commands, collects edits, and sends one decision about what was shown."""

import difflib
import re
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import typer
from pydantic import TypeAdapter

from cli.display import describe_quote, print_review
from cli.lines import LineReader
from cli.output import stderr
from cli.running import LOCAL_CONTEXT
from graph.decisions import ClipNote, DecisionInput, Gate
from graph.review_content import EditError, FilmContent, IdeasContent, Review, ReviewContent, edited_content
from runs.decide import decide, quote
from runs.errors import GateNotOpen, RunError, StaleReview
from runs.services import Services

#: How similar the first word of a line must be to a command to count as a typing error.
TYPING_ERROR_CUTOFF = 0.8

IDEA_FIELDS = ("title", "scene", "sound", "overlay", "narration", "image")


@dataclass(frozen=True)
class Command:
    """A command of the prompt, with an example for its help."""

    gates: tuple[Gate, ...]
    example: str
    meaning: str


_FILE = Path(__file__).with_name("gate_commands.toml")
COMMANDS = TypeAdapter(dict[str, Command]).validate_python(tomllib.loads(_FILE.read_text(encoding="utf-8")))
SYNONYMS = {"yes": "approve", "y": "approve", "?": "help", "exit": "quit", "q": "quit"}


class InputError(ValueError):
    """A line cannot be understood; the message names what to type instead."""


def parse_line(line: str, gate: Gate) -> tuple[str, str]:
    """Return the command and its arguments. A sentence that is no command is a `change`. Raises InputError."""
    word, _, rest = line.strip().partition(" ")
    name, rest = SYNONYMS.get(word.lower(), word.lower()), rest.strip()
    if not name:
        raise InputError("Nothing was decided. Type approve, reject or what to change; help lists the commands.")
    if name in ("no", "n") and not rest:
        raise InputError("Type reject to end the run, or say what to change, such as: more rain in the second clip.")
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, [*COMMANDS, *SYNONYMS], n=1, cutoff=TYPING_ERROR_CUTOFF)
        if near or len(line.split()) == 1:
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(f"{word!r} is no command.{hint} To request changes in words, start with: change")
        return "change", line.strip()
    if gate not in COMMANDS[name].gates:
        raise InputError(f"`{name}` works only at the {COMMANDS[name].gates[0]} gate.")
    if bool(rest) != (" " in COMMANDS[name].example):
        raise InputError(f"Type it as: {COMMANDS[name].example}. To request changes in words, start with: change")
    return name, rest


class GatePrompt:
    """Prompts a person for the decision at a gate. A command returns the decision to send, or None to continue."""

    def __init__(self, services: Services, run_id: UUID, lines: LineReader) -> None:
        self._services, self._run_id, self._lines = services, run_id, lines
        self._edits: Any = None
        self._takes: dict[int, int] = {}

    async def decide(self, review: Review) -> None:
        """Show the review and read commands until one decides it. Exits when the person leaves."""
        self._lines.discard_typed_ahead()
        self._review = review
        await self._reset("")
        while True:
            try:
                line = await self._ask("[bold]approve[/], [bold]reject[/], the changes you want, or [bold]help[/]")
                name, arguments = parse_line(line, review.gate)
                command: Callable[[str], Awaitable[DecisionInput | None]] = getattr(self, f"_{name}")
                if (decision := await command(arguments)) is not None:
                    await decide(self._services, self._run_id, review.gate, decision, LOCAL_CONTEXT)
                    return
            except (GateNotOpen, StaleReview) as error:
                _say(f"{error.message} Here is what is open now.")
                return
            except (InputError, EditError, RunError) as error:
                _say(str(error))

    async def _ask(self, question: str) -> str:
        stderr.print(f"{question}:", end=" ")
        line = await self._lines.read_line()
        if line is None:
            raise typer.Exit(1)
        return line

    async def _confirm(self, question: str) -> bool:
        is_confirmed = (await self._ask(f"{question} [bold]yes[/] or [bold]no[/]")).strip().lower() in ("yes", "y")
        if not is_confirmed:
            _say("Nothing was ordered.")
        return is_confirmed

    def _content(self, edits: Any, sample: list[int] | None = None) -> ReviewContent:
        return edited_content(self._review.content, edits, sample or [])

    def _decision(self, **fields: Any) -> DecisionInput:
        return DecisionInput(digest=self._review.digest, **{"edits": self._edits, **fields})

    def _show(self) -> None:
        print_review(stderr, self._content(self._edits))
        for clip, take in self._takes.items():
            _say(f"  clip {clip} gets take {take} with the next render")

    def _set_edits(self, edits: Any) -> None:
        """Keep these edits if they fit, and show the content with them. Raises EditError."""
        self._content(edits)
        self._edits = edits
        self._show()

    async def _approve(self, _: str) -> DecisionInput | None:
        if self._takes or any(name in (self._edits or ()) for name in ("overlays", "music")):
            raise InputError("Takes, overlays and music need another render: type render, or reset.")
        return self._decision(verdict="approve")

    async def _reject(self, _: str) -> DecisionInput | None:
        return self._decision(verdict="reject", edits=None)

    async def _change(self, comment: str) -> DecisionInput | None:
        if self._edits and self._review.gate == "ideation":
            raise InputError("Edited ideas go with an approval only: type approve, or reset.")
        _say(f"Requested: {comment}")
        return self._decision(verdict="revise", comment=comment, takes=self._takes)

    async def _keep(self, arguments: str) -> None:
        self._set_edits([self._ideas()[number - 1] for number in self._idea_numbers(arguments)])

    async def _drop(self, arguments: str) -> None:
        dropped = self._idea_numbers(arguments)
        self._set_edits([idea for number, idea in enumerate(self._ideas(), start=1) if number not in dropped])

    async def _edit(self, arguments: str) -> None:
        match = re.fullmatch(rf"(\d+)\s+({'|'.join(IDEA_FIELDS)})\b[:\s]*(.*)", arguments)
        if not match:
            raise InputError(f"Type it as: {COMMANDS['edit'].example}, with one of {', '.join(IDEA_FIELDS)}.")
        [number], (_, field, text), ideas = self._idea_numbers(match[1]), match.groups(), self._ideas()
        ideas[number - 1][field] = text
        self._set_edits(ideas)

    async def _sample(self, arguments: str) -> DecisionInput | None:
        sample = _numbers(arguments)
        offer = self._content(self._edits, sample)
        price = f"{offer.estimated_usd} USD" if isinstance(offer, IdeasContent) else ""
        question = f"Order clip {', '.join(map(str, sample))} for {price}, and see it before the rest?"
        return self._decision(verdict="approve", sample=sample) if await self._confirm(question) else None

    async def _redo(self, arguments: str) -> DecisionInput | None:
        match = re.fullmatch(r"([\d,\s]*\d)(?:\s+(\D.*))?", arguments)
        if not match:
            raise InputError(f"Type it as: {COMMANDS['redo'].example}")
        clips = sorted(set(_numbers(match[1])))
        price = await quote(self._services, self._run_id, clips)
        if not await self._confirm(f"{describe_quote(price, len(clips))} Order again?"):
            return None
        notes = [ClipNote(clip=clip, comment=match[2] or "") for clip in clips]
        return self._decision(verdict="revise", clips=notes, takes=self._takes)

    async def _take(self, arguments: str) -> None:
        clip, take = [*_numbers(arguments), None, None][:2]
        content = self._review.content
        takes = {each.clip: each.takes for each in content.clips} if isinstance(content, FilmContent) else {}
        if clip is None or take not in takes.get(clip, []):
            known = "; ".join(f"clip {number}: {', '.join(map(str, each))}" for number, each in takes.items())
            raise InputError(f"Type it as: {COMMANDS['take'].example}. The takes are {known}.")
        self._takes = {**self._takes, clip: take}
        self._show()

    async def _overlay(self, arguments: str) -> None:
        number, _, text = arguments.partition(" ")
        [clip] = _numbers(number)
        self._edit_film(overlays={**(self._edits or {}).get("overlays", {}), clip: text.strip()})

    async def _render(self, _: str) -> DecisionInput | None:
        if not self._takes and not self._edits:
            raise InputError("There is nothing to render: change a take, an overlay or the music first.")
        return self._decision(verdict="revise", takes=self._takes)

    async def _caption(self, caption: str) -> None:
        self._edit_film(caption=caption)

    async def _hashtags(self, hashtags: str) -> None:
        self._edit_film(hashtags=hashtags.split())

    async def _schedule(self, publish_at: str) -> None:
        self._edit_film(publish_at=publish_at)

    async def _music(self, music: str) -> None:
        digest, _, licence = music.partition(" ")
        self._edit_film(music=None if music == "none" else {"digest": digest, "licence": licence})

    def _edit_film(self, **edits: Any) -> None:
        self._set_edits({**(self._edits or {}), **edits})

    async def _reset(self, _: str) -> None:
        self._edits, self._takes = None, {}
        self._show()

    async def _help(self, _: str) -> None:
        for command in (each for each in COMMANDS.values() if self._review.gate in each.gates):
            _say(f"  {command.example:33}{command.meaning}")

    async def _quit(self, _: str) -> None:
        raise typer.Exit(0)

    def _ideas(self) -> list[dict[str, Any]]:
        content = self._content(self._edits)
        return [idea.model_dump() for idea in content.ideas] if isinstance(content, IdeasContent) else []

    def _idea_numbers(self, arguments: str) -> list[int]:
        numbers, count = _numbers(arguments), len(self._ideas())
        if len(set(numbers)) != len(numbers) or not all(1 <= number <= count for number in numbers):
            raise InputError(f"Give each number once, from 1 to {count}.")
        return numbers


def _numbers(text: str) -> list[int]:
    """Return the numbers of a text such as `1 3` or `1,3`. Raises InputError."""
    found = re.split(r"[,\s]+", text.strip())
    if not all(re.fullmatch("[0-9]{1,4}", part) for part in found):
        raise InputError(f"{text!r} are no numbers: give them as 1 3. To request changes in words, start with: change")
    return [int(part) for part in found]


def _say(text: str) -> None:
    stderr.print(text, markup=False, soft_wrap=True)
