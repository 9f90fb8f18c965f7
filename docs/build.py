"""Writes what can be written from the code: the marked parts of README.md, and .env.example. Run it by `make docs`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer.main

from api.settings import Settings, variables
from cli.main import app
from graph.dependencies import Dependencies
from graph.graph import build_run_graph

ROOT = Path(__file__).resolve().parents[1]

#: Every setting: a heading, or a name with what it does. `$` begins what is shown as its example.
SETTINGS = """
# Keeping
MYLOWARE_DATA_DIR  Where everything is kept: the embedded database, files, films.
DATABASE_URL  A Postgres database; without it an embedded server starts in the data folder. $ postgresql://…
MYLOWARE_STORE_URL  Where clips and films are kept; without it a folder in the data folder. $ s3://bucket/films
# Doors
MYLOWARE_API_KEYS  The API keys, separated by commas; without any, one is made and shown once. $ a-long-secret
MYLOWARE_LIMITED_API_KEYS  Keys that look, start runs and cancel those, and decide nothing, by commas. $ another-secret
MYLOWARE_PUBLIC_URL  The address under which others reach this server, for links. $ https://films.example.com
MYLOWARE_RATE_LIMIT  Requests per minute and API key.
# Notices
MYLOWARE_NOTIFY_URLS  Addresses that are told when a gate opens and a run ends, separated by commas. $ https://…
MYLOWARE_NOTIFY_ESCALATE_URLS  Addresses that are told, too, when nobody decides in time. $ https://…
MYLOWARE_NOTIFY_SECRET  What notices are signed with, by Standard Webhooks. $ whsec_…
MYLOWARE_NOTIFY_PRIVATE_HOSTS  Hosts that may be told though they are private, or by plain http. $ chat.local
# Projects and money
MYLOWARE_PROJECTS_DIR  A folder with projects of your own, a Markdown file each. $ projects
MYLOWARE_DAY_CAP_USD  What may be spent in a day (UTC), in USD; each run has a cap of its own beside it.
# Language model and moderation
OPENAI_API_KEY  The key of OpenAI, or of the server below. $ sk-…
OPENAI_BASE_URL  A server that speaks OpenAI's chat completions and moderations. $ http://127.0.0.1:8080/v1
OPENAI_MODEL  The model that writes.
OPENAI_USD_PER_MILLION_INPUT_TOKENS  What a million tokens of questions cost, in USD.
OPENAI_USD_PER_MILLION_OUTPUT_TOKENS  What a million tokens of answers cost, in USD.
# Video
VIDEO_BASE_URL  A server that speaks OpenAI's videos contract (`/v1/videos`). $ http://127.0.0.1:8091/v1
VIDEO_MODEL  The model that makes the clips. $ sora-2
VIDEO_API_KEY  Its key; without one, OPENAI_API_KEY is used. $ sk-…
VIDEO_WEBHOOK_SECRETS  The secrets of its webhooks, separated by commas; without any, it is polled. $ whsec_…
VIDEO_PROFILES  A TOML file of what further servers and models can do, and what they cost. $ video_profiles.toml
# Render
REMOTION_URL  The optional Remotion service; without it films are rendered on this machine. $ http://127.0.0.1:8400
REMOTION_SERVICE_KEY  The key that the Remotion service asks for. $ a-long-secret
REMOTION_WEBHOOK_SECRETS  The secrets of its callbacks, separated by commas. $ whsec_…
# Publishing
UPLOAD_POST_API_KEY  The key of Upload-Post. $ key
UPLOAD_POST_URL  Another address of Upload-Post. $ https://api.upload-post.com/api
UPLOAD_POST_USER  The profile at Upload-Post on whose accounts films are published.
MYLOWARE_PUBLISH_FOLDER  A folder to lay films into, instead of Upload-Post. $ published
"""


def described() -> Iterator[tuple[str, str, str]]:
    """Of every heading ("#") and setting of SETTINGS: its name, what it does, its example."""
    for line in SETTINGS.strip().splitlines():
        name, _, rest = line.partition(" ")
        said, _, example = rest.strip().partition(" $ ")
        yield name, said, example


def _default(variable: str) -> str:
    value: Any = Settings.model_fields[variables()[variable]].default
    return "" if value is None else format(value, "f") if isinstance(value, Decimal) else str(value)


def settings_table() -> str:
    """Every setting with what it does and its default."""
    lines = ["| Setting | What it does | Default |", "|---|---|---|"]
    for name, said, _ in described():
        if name == "#":
            lines.append(f"| **{said}** | | |")
        else:
            lines.append(f"| `{name}` | {said} | {f'`{_default(name)}`' if _default(name) else ''} |")
    return "\n".join(lines)


def env_example() -> str:
    """`.env.example`: every setting, switched off."""
    parts = [
        "# Copy this file to .env and switch on what you need. Without any of it everything works:",
        "# an embedded database starts, and the sandbox stands in for every vendor.",
    ]
    for name, said, example in described():
        parts += (
            ["", f"# ---- {said} ----"] if name == "#" else ["", f"# {said}", f"#{name}={example or _default(name)}"]
        )
    return "\n".join(parts) + "\n"


def diagram() -> str:
    """The line, drawn from the graph itself."""
    nothing: Any = None
    deps = Dependencies(
        project=nothing, model=nothing, moderation=nothing, video=nothing, ledger=nothing, feedback=nothing
    )
    drawn = build_run_graph(deps).compile().get_graph().draw_mermaid()
    return f"```mermaid\n{drawn.strip()}\n```"


def commands() -> dict[str, str]:
    """Every command of `myloware` with the first sentence of its help."""
    return dict(_commands(typer.main.get_command(app), "myloware"))


def _commands(command: Any, name: str) -> Iterator[tuple[str, str]]:
    if not hasattr(command, "commands"):
        yield name, command.help.split("\n\n")[0].replace("\n", " ")
        return
    for part, each in command.commands.items():
        yield from _commands(each, f"{name} {part}")


def commands_table() -> str:
    """The commands as a table."""
    return "\n".join(["| Command | |", "|---|---|", *(f"| `{name}` | {said} |" for name, said in commands().items())])


def targets_table() -> str:
    """What `make` can make, as the Makefile says it."""
    found = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return "\n".join(["| | |", "|---|---|", *(f"| `make {name}` | {said} |" for name, said in found)])


def transcript() -> str:
    """The transcript of the README, which a test runs."""
    return (ROOT / "docs/first-run.sh").read_text().split("\n\n", 1)[1].strip()


def readme(text: str) -> str:
    """The README with its marked parts written anew."""
    parts = {
        "settings": settings_table(),
        "diagram": diagram(),
        "commands": commands_table(),
        "targets": targets_table(),
        "transcript": f"```bash\n{transcript()}\n```",
    }
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"README.md must have {shlex.quote(begin)} and {shlex.quote(end)} once.")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{part}\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    """Write them."""
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text()))
    (ROOT / ".env.example").write_text(env_example())


if __name__ == "__main__":
    main()
