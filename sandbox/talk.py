"""Talk: the rule-based supervisor, which uses the tools it is given by what a message asks for."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.completions import Call, Reply
from sandbox.schemas import filled
from sandbox.words import capitalised, shortened

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
POLITE = r"(?:please|can you|could you|would you|let's|i want you to|i want to|i'd like to|i'd like you to|now|and)"
STARTING = rf"^\W*(?:{POLITE}[\s,]+)*(?:make|create|start|produce|generate|film)\b"
_INTO = r"\s*\b(?:(?:in|for|with|to|as)\s+)?(?:the\s+)?"
_NAME = r"['\"`]?([a-z0-9_-]+)['\"`]?"
PROJECT = rf"(?:{_INTO}project\s+{_NAME}|{_INTO}{_NAME}\s+project\b)"
KNOWN_PROJECTS = ("aismr", "shorts")
DEFAULT_PROJECT = "shorts"
IDENTITY = (
    "I am the sandbox's language model: a set of rules, no real model. I can list the projects, suggest videos, start"
    " one from a brief (“make a video about rain in a quiet city”), list the runs, tell you how a run is doing and"
    " what it costs, prepare a decision (“approve it”), cancel a run and find its film."
)
SUGGESTIONS = (
    "Rain on a quiet window at night",
    "Fog over a lake at dawn",
    "Snow on a wooden bridge",
    "Leaves turning in a slow stream",
    "A lamp in an empty café",
    "Waves around a small lighthouse",
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
CHOOSING = (
    rf"^\W*(?:{POLITE}[\s,]+)*(?:make|create|start|produce|do|take)\s+(?:the\s+)?"
    rf"(?:({'|'.join(_ORDINALS)})(?:\s+(?:one|idea|video))?|(?:number|no\.?|idea)\s*(\d))\W*$"
)
ASKING_WHAT = r"\b(what|which)\b.*\b(make|create|videos?|produce)\b"
#: What a message asks for, first come first: a pattern, and the tool.
WISHES = (
    (r"\b(cancel|abort|stop)\b.*\b(it|run|film|video)\b", "cancel_run"),
    (r"\b(approve|reject|looks? good|go ahead|publish it|ask for changes?)\b", "prepare_decision"),
    (r"\b(costs?|spent|spend|how much|budget)\b", "get_costs"),
    (r"\b(waiting for me|open (gates?|reviews?)|reviews|to decide)\b", "list_reviews"),
    (r"\b(link|download|watch|see (it|the film|my film))\b", "get_media_link"),
)

Tool = Mapping[str, Any]


def reply(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], forced: str | None) -> Reply:
    """The next turn: a tool call or an answer. `forced` names the tool that has to be called."""
    said = _last_said(messages)
    if forced is not None:
        tool = next((tool for tool in tools if tool["name"] == forced), {"name": forced})
        return Reply(calls=[Call(forced, _arguments(tool, said, messages))])
    if messages and messages[-1].get("role") == "tool":
        return Reply(content=_told(messages))
    offered = {tool["name"]: tool for tool in tools}
    wanted = _wanted(said)
    if wanted in ("get_run", "cancel_run", "prepare_decision", "get_media_link") and not _run_id(said, messages):
        wanted = "list_runs"
    if wanted is not None and wanted in offered:
        return Reply(calls=[Call(wanted, _arguments(offered[wanted], said, messages))])
    return Reply(content=IDENTITY)


def text_of(message: Mapping[str, Any]) -> str:
    """What a message says, whether it came as a string or in parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def _last_said(messages: Sequence[Mapping[str, Any]]) -> str:
    return next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")


def _wanted(said: str) -> str | None:
    """Which tool a message asks for."""
    low = said.lower()
    if re.search(STARTING, low) or re.search(CHOOSING, low):
        return "start_run"
    for pattern, tool in WISHES:
        if re.search(pattern, low):
            return tool
    if re.search(UUID, low):
        return "get_run"
    if re.search(r"\b(where|how)('s| is) (my|the|this|that) (film|video|run)\b", low):
        return "get_run"
    if re.search(r"\b(status|where is|where are|how is|how are|how's|progress|runs|running)\b", low):
        return "list_runs"
    if re.search(rf"\bprojects?\b|{ASKING_WHAT}", low):
        return "list_projects"
    if (
        re.search(r"\b(make|create|start|produce|generate|want|need)\b.*\b(video|short|film|clip|run)s?\b", low)
        and "?" not in low
    ):
        return "start_run"
    return None


def _arguments(tool: Tool, said: str, messages: Sequence[Mapping[str, Any]]) -> str:
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    properties = schema.get("properties", {})
    required = set(schema.get("required", []))
    chosen = _chosen(said, messages)
    project, brief = chosen or (_project(said, properties, messages), _brief(said))
    known: dict[str, Any] = {"project": project, "brief": brief}
    if (found := _run_id(said, messages)) and "today" not in said.lower():
        known["run_id"] = found
    if "verdict" in properties:
        known |= _verdict(said)
    made = {name: value for name, value in filled(schema).items() if name in required}
    return json.dumps(made | {name: value for name, value in known.items() if name in properties})


def _run_id(said: str, messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The run that is spoken of: the one the message names, or the last one that was."""
    texts = (said, *(text_of(message) for message in reversed(messages) if message.get("role") != "system"))
    return next((found[-1] for text in texts if (found := re.findall(UUID, text.lower()))), None)


def _verdict(said: str) -> dict[str, Any]:
    changes = re.search(r"\bask for changes?\W*(.*)", said, re.IGNORECASE | re.DOTALL)
    if changes:
        return {"verdict": "revise", "comment": changes[1].strip() or "Other ideas"}
    return {"verdict": "reject" if "reject" in said.lower() else "approve"}


def _chosen(said: str, messages: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The project and the brief of the suggestion that a message takes up."""
    match = re.search(CHOOSING, said.lower())
    if not match:
        return None
    number = _ORDINALS.index(match[1]) + 1 if match[1] else int(match[2])
    for message in reversed(messages):
        listed = re.findall(r"^(\d+)\. ([a-z0-9_-]+): (.+)$", text_of(message), re.MULTILINE)
        if message.get("role") == "assistant" and listed:
            return next(((project, brief) for at, project, brief in listed if int(at) == number), None)
    return None


def _suggested(content: str) -> str | None:
    """A suggestion for each project, numbered, so that one can be taken up."""
    try:
        names = [one["project"] for one in json.loads(content)]
    except (ValueError, TypeError, KeyError):
        return None
    lines = [f"{at}. {name}: {brief}" for at, (name, brief) in enumerate(zip(names, SUGGESTIONS, strict=False), 1)]
    return "\n".join(["These come to mind (by rule, I am no real model):", *lines, "Say “make the second one”."])


def _project(said: str, properties: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str:
    heard = " ".join(text_of(message) for message in messages if message.get("role") in ("tool", "system"))
    names = [*properties.get("project", {}).get("enum", []), *re.findall(r'"name": ?"([a-z0-9_-]+)"', heard)]
    words = re.findall(r"[a-z0-9_-]+", said.lower())
    for name in (*names, *KNOWN_PROJECTS):
        if name in words and (name != DEFAULT_PROJECT or re.search(PROJECT, said.lower())):
            return str(name)
    if named := re.search(r"\bproject ['\"`]?([a-z0-9_-]+)", said.lower()):
        return named[1]
    return "aismr" if "zodiac" in words else DEFAULT_PROJECT


def _brief(said: str) -> str:
    """The message without the asking: what the video is to be about."""
    text = re.sub(PROJECT, "", " ".join(said.split()), flags=re.IGNORECASE)
    about = re.sub(
        rf"{STARTING}(?:\s+(?:me|us)\b)?(?:\s+(?:an?|the|new|another|short|aismr|shorts)\b)*"
        r"(?:\s+(?:video|short|film|clip|reel|run)s?\b)?(?:\s+(?:about|of|on|showing|where|for)\b)?[\s:,]*",
        "",
        text,
        flags=re.IGNORECASE,
    )
    return capitalised(about.strip(" .,:?!“”\"'")) or text or "Something quiet"


def _told(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the tools answered to the last calls, in words."""
    answers = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        suggested = _suggested(text_of(message)) if re.search(ASKING_WHAT, _last_said(messages).lower()) else None
        answers.append(suggested or _readable(text_of(message)))
    return "\n\n".join(reversed(answers))


def _readable(content: str) -> str:
    try:
        value = json.loads(content)
    except ValueError:
        return shortened(content, 600) or "It is done."
    if isinstance(value, dict):
        rows = next((inner for inner in value.values() if isinstance(inner, list) and inner), None)
        value = rows if rows is not None and not _id_of(value) else value
    if not isinstance(value, list):
        return _line(value)
    if not value:
        return "There is nothing yet."
    return f"There {'is one' if len(value) == 1 else f'are {len(value)}'}:\n" + "\n".join(
        f"- {_line(one)}" for one in value[:20]
    )


def _line(value: Any) -> str:
    if not isinstance(value, dict):
        return shortened(str(value), 300)
    if "prepared" in value:
        return f"I prepared it, and only you can confirm it: {value['prepared']}"
    rest = {name: inner for name, inner in value.items() if isinstance(inner, (str, int, float)) and inner != ""}
    run_id, status = _id_of(value), rest.pop("status", None)
    if run_id and status:
        for name in ("run_id", "id"):
            rest.pop(name, None)
        tail = ", ".join(f"{_spoken(name)}: {_said(inner, 80)}" for name, inner in list(rest.items())[:4])
        return f"Run {run_id} is {_spoken(str(status))}" + (f" ({tail})." if tail else ".")
    if "name" in rest:
        about = rest.get("summary") or rest.get("description") or rest.get("title") or ""
        return f"{rest['name']}: {shortened(str(about), 200)}" if about else str(rest["name"])
    return ", ".join(f"{_spoken(name)}: {_said(inner, 120)}" for name, inner in list(rest.items())[:6])


def _said(value: Any, limit: int) -> str:
    """A value in a sentence; half an address would lead nowhere."""
    return str(value) if str(value).startswith("http") else shortened(str(value), limit)


def _id_of(value: Mapping[str, Any]) -> str | None:
    found = value.get("run_id") or value.get("id")
    return str(found) if found else None


def _spoken(word: str) -> str:
    return word.replace("_", " ")
