"""Generate the marked parts of README.md and docs/video-servers.md, docs/licences.md and .env.example: `make docs`."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from importlib.metadata import distributions, metadata
from pathlib import Path
from typing import Any

import typer.main
from pydantic import SecretStr

from api.settings import Settings, variables
from cli.main import app
from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from providers.video_profiles import BUILT_IN_PROFILES, Profile

ROOT = Path(__file__).resolve().parents[1]

#: Headings, and each setting with its description; the text after `$` is the example.
SETTINGS = """
# Storage
MYLOWARE_DATA_DIR  Data folder: the embedded database, clips, films and logs.
DATABASE_URL  Postgres database; without it an embedded server starts in the data folder. $ postgresql://…
MYLOWARE_DATABASE_DIRECT_URL  Address of the same database without the pooler, if DATABASE_URL is one of PgBouncer. $ postgresql://…
MYLOWARE_STORE_URL  Store of clips and films; without it a folder in the data folder. $ s3://bucket/films
MYLOWARE_CACHE_BYTES  Most bytes of files of an object store that a machine keeps at hand, the last used ones.
MYLOWARE_KEEP_DAYS  Days after which words and files of ended runs and idle chats are removed; by default never. $ 90
# Logs and metrics
MYLOWARE_LOG  Form of the log lines of `serve` and `worker`: `text` or `json`. $ json
MYLOWARE_LOG_LEVEL  `debug`, `info`, `warning` or `error`; by default `info` if JSON, else `warning`. $ info
MYLOWARE_METRICS_PORT  Port of the metrics of `serve` and `worker`, for Prometheus; without it there are none. $ 9464
MYLOWARE_METRICS_HOST  Address that the metrics listen on.
OTEL_EXPORTER_OTLP_ENDPOINT  OpenTelemetry collector that traces are sent to; needs the extra `otel`. $ http://127.0.0.1:4318
# Access
MYLOWARE_API_KEYS  API keys, comma-separated, for `serve`; without any, its first start generates one. $ a-long-secret
MYLOWARE_LIMITED_API_KEYS  API keys that can read, start runs and cancel those, but not approve. $ another-secret
MYLOWARE_PUBLIC_URL  Address under which others reach this server, for links. $ https://films.example.com
MYLOWARE_ALLOWED_HOSTS  Further host names under which pages and API are served. $ films.internal
MYLOWARE_CORS_ORIGINS  Origins of web pages that may send requests, comma-separated. $ https://chat.example.com
MYLOWARE_TRUSTED_PROXIES  Addresses of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` count. $ 10.0.0.2
MYLOWARE_RATE_LIMIT  Requests per minute and API key.
# Notifications
MYLOWARE_NOTIFY_URLS  URLs notified when a gate opens and when a run ends, comma-separated. $ https://…
MYLOWARE_NOTIFY_ESCALATE_URLS  URLs notified in addition when a review is overdue. $ https://…
MYLOWARE_NOTIFY_SECRET  Secret that signs notifications, by Standard Webhooks. $ whsec_…
MYLOWARE_NOTIFY_PRIVATE_HOSTS  Hosts that may be notified although they are private or use plain http. $ chat.local
SLACK_WEBHOOK_URL  Incoming webhook of a Slack channel that is told what needs a person; needs MYLOWARE_PUBLIC_URL. $ https://hooks.slack.com/services/…
TELEGRAM_BOT_TOKEN  Token of a bot that writes the same in the chat below. $ 123456:ABC-…
TELEGRAM_CHAT_ID  Id of that chat, or `@name` of a public channel. $ -1001234567890
TELEGRAM_BASE_URL  Server of Telegram's Bot API.
# Projects and caps
MYLOWARE_PROJECTS_DIR  Folder with additional projects, one Markdown file each. $ projects
MYLOWARE_PROJECTS  Names of the projects that can be started, comma-separated; without any, all. $ aismr,my-shop
MYLOWARE_DAY_CAP_USD  Most that may be spent per day (UTC), in USD; each run has a cap of its own as well.
# Language model and moderation
OPENAI_API_KEY  API key of OpenAI, or of the server below. $ sk-…
OPENAI_BASE_URL  Server with OpenAI's chat completions. $ http://127.0.0.1:8080/v1
OPENAI_MODEL  Language model.
OPENAI_TIMEOUT_SECONDS  Time limit of a question to the language model; a slow local model needs more.
OPENAI_MAX_TOKENS  Token limit of an answer, with the model's reasoning.
OPENAI_USD_PER_MILLION_INPUT_TOKENS  Price of a million input tokens, in USD.
OPENAI_USD_PER_MILLION_OUTPUT_TOKENS  Price of a million output tokens, in USD.
MODERATION  Who moderates instead of a service: `model`, the language model, or `none`, as every review shows. $ model
MODERATION_BASE_URL  Server with OpenAI's moderations; by default that of the language model. $ https://api.openai.com/v1
MODERATION_API_KEY  API key of the moderation; without one, OPENAI_API_KEY is used. $ sk-…
MODERATION_MODEL  Model that moderates at that server.
# Narration
SPEECH_BASE_URL  Server with OpenAI's speech contract (`/v1/audio/speech`), for projects with a `voice`. $ http://127.0.0.1:8880/v1
SPEECH_API_KEY  API key of the speech server. $ sk-…
SPEECH_MODEL  Model that speaks.
SPEECH_USD_PER_1000_CHARACTERS  Price of 1,000 characters, in USD; 0 for a server of your own.
# Video
VIDEO_BASE_URL  Server with OpenAI's videos contract (`/v1/videos`). $ http://127.0.0.1:8091/v1
VIDEO_MODEL  Model that generates the clips. $ sora-2
VIDEO_API_KEY  API key of the video server; without one, OPENAI_API_KEY is used. $ sk-…
VIDEO_WEBHOOK_SECRETS  Secrets of its webhooks, comma-separated; without any, it is polled. $ whsec_…
VIDEO_PROFILES  TOML file with limits and prices of further servers and models. $ video_profiles.toml
VIDEO_PROVIDERS  Providers of new clips, the preferred first; `videos` is that server. All by default. $ kling,videos
REPLICATE_API_TOKEN  API token of Replicate. $ r8_…
REPLICATE_BASE_URL  Other address of Replicate. $ https://api.replicate.com/v1
REPLICATE_WEBHOOK_SECRETS  Secrets of its webhooks, comma-separated; without any, they are read from its API. $ whsec_…
KLING_API_KEY  API key of Kling. $ key
KLING_BASE_URL  Other address of Kling. $ https://api-beijing.klingai.com
KLING_WEBHOOK_SECRETS  Secrets of its webhooks, comma-separated; without any, it is polled. $ whsec_…
HIGGSFIELD_KEY_ID  Id of the API key of Higgsfield. $ id
HIGGSFIELD_KEY_SECRET  The API key itself. $ secret
HIGGSFIELD_BASE_URL  Other address of Higgsfield. $ https://api.higgsfield.ai
HIGGSFIELD_WEBHOOK_SECRETS  Secrets of its webhooks, comma-separated; without any, it is polled. $ whsec_…
# Render
REMOTION_URL  Remotion render service; without it films are rendered on this machine. $ http://127.0.0.1:8400
REMOTION_SERVICE_KEY  API key of the render service. $ a-long-secret
REMOTION_WEBHOOK_SECRETS  Secrets of its callbacks, comma-separated. $ whsec_…
# Provenance
C2PA_CERTIFICATE  PEM file with the certificates that sign films; by default one for development. $ films.pem
C2PA_KEY  PEM file with the private key of the first certificate in it. $ films.key
# Publishing
UPLOAD_POST_API_KEY  API key of Upload-Post. $ key
UPLOAD_POST_URL  Other address of Upload-Post. $ https://api.upload-post.com/api
UPLOAD_POST_USER  Profile at Upload-Post whose accounts publish the films.
MYLOWARE_PUBLISH_FOLDER  Folder to copy films into, instead of Upload-Post, and for projects that name it. $ published
# Sandbox
MYLOWARE_SANDBOX_URL  A sandbox that several machines share; without it each data folder has one of its own. $ http://sandbox:8900
SANDBOX_WEBHOOK_SECRET  Secret that the shared sandbox signs its webhooks with. $ whsec_…
"""


def described() -> Iterator[tuple[str, str, str]]:
    """Yield name, description and example of each heading (named "#") and setting."""
    for line in SETTINGS.strip().splitlines():
        name, _, rest = line.partition(" ")
        description, _, example = rest.strip().partition(" $ ")
        yield name, description, example


def _default(variable: str) -> str:
    value: Any = Settings.model_fields[variables()[variable]].default
    # The stand-in for a missing key is no value to write into a page.
    if value is None or isinstance(value, SecretStr):
        return ""
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def settings_table() -> str:
    """Return the table of settings with their defaults."""
    lines = ["| Setting | Meaning | Default |", "|---|---|---|"]
    for name, description, _ in described():
        if name == "#":
            lines.append(f"| **{description}** | | |")
        else:
            lines.append(f"| `{name}` | {description} | {f'`{_default(name)}`' if _default(name) else ''} |")
    return "\n".join(lines)


def env_example() -> str:
    """Return `.env.example`: every setting, commented out."""
    parts = [
        "# Copy this file to .env and uncomment what you need. Everything works without it:",
        "# an embedded database starts, and the sandbox simulates every vendor.",
    ]
    for name, description, example in described():
        parts += (
            ["", f"# ---- {description} ----"]
            if name == "#"
            else ["", f"# {description}", f"#{name}={example or _default(name)}"]
        )
    return "\n".join(parts) + "\n"


def diagram() -> str:
    """Return the diagram of the run graph, drawn from the graph."""
    nothing: dict[str, Any] = dict.fromkeys(field.name for field in fields(Dependencies))  # the graph is only drawn
    deps = Dependencies(**nothing)
    drawn = build_run_graph(deps).compile().get_graph().draw_mermaid()
    return f"```mermaid\n{drawn.strip()}\n```"


def commands() -> dict[str, str]:
    """Return each command of `myloware` with the first sentence of its help."""
    return dict(_commands(typer.main.get_command(app), "myloware"))


def _commands(command: Any, name: str) -> Iterator[tuple[str, str]]:
    if not hasattr(command, "commands"):
        yield name, command.help.split("\n\n")[0].replace("\n", " ")
        return
    for part, each in command.commands.items():
        yield from _commands(each, f"{name} {part}")


def commands_table() -> str:
    """Return the table of commands."""
    return "\n".join(["| Command | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in commands().items())])


def targets_table() -> str:
    """Return the table of make targets, from the Makefile."""
    found = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return "\n".join(["| | |", "|---|---|", *(f"| `make {name}` | {text} |" for name, text in found)])


LICENCES = """# Licences

MyloWare is under the [MIT licence](../LICENSE). These packages are installed with it, each under the licence that its
metadata states; the [README](../README.md#licences) names what else is worth knowing.
"""

#: What each kind of server does with a create of its own accord, as read in its source or documentation.
CREATES = {
    "openai": "The published contract has no idempotency key and does not repeat a create.",
    "vllm-omni": "One process accepts a create once and queues it; it has no idempotency key and no retries.",
    "sglang": "One process accepts a create once and queues it; it has no idempotency key and no retries.",
    "litellm": "Its router repeats a failed create twice and then tries a fallback, unless the request forbids both.",
    "openrouter": "One create is one job and one bill; the contract has no idempotency key.",
}


def video_kinds() -> dict[str, Profile]:
    """Return a profile of each kind of server with the open contract, with the properties of the kind."""
    kinds = {n: kind for n, kind in tomllib.loads(BUILT_IN_PROFILES.read_text())["kinds"].items() if n in CREATES}
    clip = {"hosts": ["*"], "models": ["any"], "sizes": ["720x1280"], "seconds": [4], "usd_per_second": 0}
    return {name: Profile.model_validate({**clip, "kind": name, **fields}) for name, fields in kinds.items()}


def video_servers_table() -> str:
    """Return the table of the kinds of video servers."""
    lines = [
        "| Kind | What protects a create | How a lost one is found | What a person is told |",
        "|---|---|---|---|",
    ]
    for name, profile in video_kinds().items():
        if profile.list_echoes_prompt:
            lookup = (
                f"by its prompt in `GET /videos`, for {profile.lookup_window_seconds} s and once a minute after that"
            )
        elif profile.list_shows_jobs:
            lookup = (
                "not by us: the list has no prompts. Jobs of the same model, size and length since the call are shown"
            )
        else:
            lookup = "not by us: there is no list to search"
        advice = f"{profile.lookup_proof} Price and confirmation before another order."
        lines.append(f"| `{name}` | {_protection(name, profile)} | {lookup} | {advice} |")
    return "\n".join(lines)


def _protection(name: str, profile: Profile) -> str:
    sent = [f"`{header}: {value}`" for header, value in profile.create_headers.items()]
    sent += [f"`{field}: {json.dumps(value)}`" for field, value in profile.create_fields.items()]
    texts = ", ".join(f"`{pattern.pattern.replace('|', chr(92) + '|')}`" for pattern in profile.not_accepted)
    refused = f" Certainly not accepted, and placed again: {texts}." if texts else ""
    return f"{CREATES[name]} Sent with every create: {', '.join(sent)}.{refused}"


def video_servers(text: str) -> str:
    """Return docs/video-servers.md with its table replaced."""
    return _replace_parts(text, {"video-servers": video_servers_table()})


def licence_of(package: str) -> str:
    """Return the licence that the metadata of an installed package states."""
    stated = metadata(package)
    classifiers = [text.split(" :: ")[-1] for text in stated.get_all("Classifier") or [] if "License ::" in text]
    return stated.get("License-Expression") or " or ".join(classifiers) or str(stated.get("License"))


def licences(text: str) -> str:
    """Return docs/licences.md: every package of requirements.lock with its version and licence.

    The rows of packages that this platform does not install in that version are kept. Raises ValueError if one is new.
    """
    locked = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    installed = {each.metadata["Name"].lower().replace("_", "-"): each.version for each in distributions()}
    rows = []
    for package, version in locked:
        begin = f"| {package} | {version} | "
        if installed.get(package) == version:
            rows.append(f"{begin}{licence_of(package)} |")
        elif kept := re.search(rf"^{re.escape(begin)}.*$", text, re.MULTILINE):
            rows.append(kept[0])
        else:
            raise ValueError(f"{package} {version} is not installed here: add its row to docs/licences.md by hand.")
    return "\n".join([LICENCES, "| Package | Version | Licence |", "|---|---|---|", *rows, ""])


def readme(text: str) -> str:
    """Return the README with its marked parts replaced."""
    return _replace_parts(
        text,
        {
            "settings": settings_table(),
            "diagram": diagram(),
            "commands": commands_table(),
            "targets": targets_table(),
        },
    )


def _replace_parts(text: str, parts: Mapping[str, str]) -> str:
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"The page must have {shlex.quote(begin)} and {shlex.quote(end)} once.")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{part}\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    """Write README.md, docs/video-servers.md, docs/licences.md and .env.example."""
    pages = {"README.md": readme, "docs/video-servers.md": video_servers, "docs/licences.md": licences}
    for name, generate in pages.items():
        (ROOT / name).write_text(generate((ROOT / name).read_text()))
    (ROOT / ".env.example").write_text(env_example())


if __name__ == "__main__":
    main()
