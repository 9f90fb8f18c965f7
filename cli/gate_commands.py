"""The commands of the prompt at a gate."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from graph.decisions import Gate

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
