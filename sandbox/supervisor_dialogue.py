"""Rule-based supervisor: chooses a tool from the wording of a message and reports the tool results."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.completions import ModelReply, ToolCall
from sandbox.schema_values import fill_schema
from sandbox.text import capitalize, shorten

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_POLITE_PREFIX = (
    r"(?:please|can you|could you|would you|let's|i want you to|i want to|i'd like to|i'd like you to|now|and)"
)
_START_REQUEST = rf"^\W*(?:{_POLITE_PREFIX}[\s,]+)*(?:make|create|start|produce|generate|film)\b"
_PREPOSITION = r"\s*\b(?:(?:in|for|with|to|as)\s+)?(?:the\s+)?"
_NAME = r"['\"`]?([a-z0-9_-]+)['\"`]?"
_PROJECT_PHRASE = rf"(?:{_PREPOSITION}project\s+{_NAME}|{_PREPOSITION}{_NAME}\s+project\b)"
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_SUGGESTION_CHOICE = (
    rf"^\W*(?:{_POLITE_PREFIX}[\s,]+)*(?:make|create|start|produce|do|take)\s+(?:the\s+)?"
    rf"(?:({'|'.join(_ORDINALS)})(?:\s+(?:one|idea|video))?|(?:number|no\.?|idea)\s*(\d))\W*$"
)
_SUGGESTION_REQUEST = r"\b(what|which)\b.*\b(make|create|videos?|produce)\b"
_VIDEO_REQUEST = r"\b(make|create|start|produce|generate|want|need)\b.*\b(video|short|film|clip|run)s?\b"
#: Patterns of a message and the tool each of them selects; the first match decides.
_INTENTS = (
    (_START_REQUEST, "start_run"),
    (_SUGGESTION_CHOICE, "start_run"),
    (r"\b(cancel|abort|stop)\b.*\b(it|run|film|video)\b", "cancel_run"),
    (r"\b(approve|reject|looks? good|go ahead|publish it|ask for changes?)\b", "prepare_decision"),
    (r"\b(costs?|spent|spend|how much|budget)\b", "get_costs"),
    (r"\b(waiting for me|open (gates?|reviews?)|reviews|to decide)\b", "list_reviews"),
    (r"\b(link|download|watch|see (it|the film|my film))\b", "get_media_link"),
    (_UUID, "get_run"),
    (r"\b(where|how)('s| is) (my|the|this|that) (film|video|run)\b", "get_run"),
    (r"\b(status|where is|where are|how is|how are|how's|progress|runs|running)\b", "list_runs"),
    (rf"\bprojects?\b|{_SUGGESTION_REQUEST}", "list_projects"),
)
#: Tools that require a run id; without one the runs are listed instead.
_RUN_TOOLS = ("get_run", "cancel_run", "prepare_decision", "get_media_link")

KNOWN_PROJECTS = ("aismr", "shorts")
DEFAULT_PROJECT = "shorts"
MAX_LISTED_ROWS = 20
INTRODUCTION = (
    "I am the sandbox's language model: a set of rules, no real model. I can list the projects, suggest videos, start"
    " one from a brief (“make a video about rain in a quiet city”), list the runs, report the status and the costs of"
    " a run, prepare a decision (“approve it”), cancel a run and find its film."
)
SUGGESTIONS = (
    "Rain on a quiet window at night",
    "Fog over a lake at dawn",
    "Snow on a wooden bridge",
    "Leaves turning in a slow stream",
    "A lamp in an empty café",
    "Waves around a small lighthouse",
)

Message = Mapping[str, Any]
Tool = Mapping[str, Any]


def build_reply(messages: Sequence[Message], tools: Sequence[Tool], forced_tool: str | None) -> ModelReply:
    """Return the next reply: a tool call or text. `forced_tool` names the tool that must be called."""
    text = _last_user_text(messages)
    if forced_tool is None and messages and messages[-1].get("role") == "tool":
        return ModelReply(content=_report_tool_results(messages))
    name = forced_tool or _choose_tool(text, messages)
    tool = next((tool for tool in tools if tool["name"] == name), {"name": forced_tool} if forced_tool else None)
    if tool is None:
        return ModelReply(content=INTRODUCTION)
    return ModelReply(calls=[ToolCall(tool["name"], _build_arguments(tool, text, messages))])


def message_text(message: Message) -> str:
    """Return the text of a message with either a string or a list of parts as content."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def _last_user_text(messages: Sequence[Message]) -> str:
    return next((message_text(message) for message in reversed(messages) if message.get("role") == "user"), "")


def _choose_tool(text: str, messages: Sequence[Message]) -> str | None:
    lower = text.lower()
    requests_video = "start_run" if "?" not in text and re.search(_VIDEO_REQUEST, lower) else None
    tool = next((tool for pattern, tool in _INTENTS if re.search(pattern, lower)), requests_video)
    return "list_runs" if tool in _RUN_TOOLS and not _find_run_id(text, messages) else tool


def _build_arguments(tool: Tool, text: str, messages: Sequence[Message]) -> str:
    """Return the arguments of a tool call as JSON: values found in the conversation, or minimal valid ones."""
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    properties = schema.get("properties", {})
    required = set(schema.get("required", []))
    suggestion = _find_chosen_suggestion(text, messages)
    project, brief = suggestion or (_find_project(text, properties, messages), _extract_brief(text))
    known: dict[str, Any] = {"project": project, "brief": brief}
    if (run_id := _find_run_id(text, messages)) and "today" not in text.lower():
        known["run_id"] = run_id
    if "verdict" in properties:
        known |= _parse_verdict(text)
    minimal = {name: value for name, value in fill_schema(schema).items() if name in required}
    return json.dumps(minimal | {name: value for name, value in known.items() if name in properties})


def _find_run_id(text: str, messages: Sequence[Message]) -> str | None:
    """Return the run id in the text, or else the last one in the conversation."""
    texts = (text, *(message_text(message) for message in reversed(messages) if message.get("role") != "system"))
    return next((found[-1] for one in texts if (found := re.findall(_UUID, one.lower()))), None)


def _parse_verdict(text: str) -> dict[str, Any]:
    changes = re.search(r"\bask for changes?\W*(.*)", text, re.IGNORECASE | re.DOTALL)
    if changes:
        return {"verdict": "revise", "comment": changes[1].strip() or "Other ideas"}
    return {"verdict": "reject" if "reject" in text.lower() else "approve"}


def _find_chosen_suggestion(text: str, messages: Sequence[Message]) -> tuple[str, str] | None:
    """Return the project and the brief of the numbered suggestion that the text chooses."""
    match = re.search(_SUGGESTION_CHOICE, text.lower())
    if not match:
        return None
    chosen = _ORDINALS.index(match[1]) + 1 if match[1] else int(match[2])
    for message in reversed(messages):
        suggestions = re.findall(r"^(\d+)\. ([a-z0-9_-]+): (.+)$", message_text(message), re.MULTILINE)
        if message.get("role") == "assistant" and suggestions:
            return next(((project, brief) for number, project, brief in suggestions if int(number) == chosen), None)
    return None


def _suggest_videos(content: str) -> str | None:
    """Return one numbered suggestion for each project of a tool result, or None if it lists no projects."""
    try:
        names = [one["project"] for one in json.loads(content)]
    except (ValueError, TypeError, KeyError):
        return None
    pairs = enumerate(zip(names, SUGGESTIONS, strict=False), 1)
    lines = [f"{number}. {name}: {brief}" for number, (name, brief) in pairs]
    return "\n".join(["Suggestions (by rule, I am no real model):", *lines, "Say “make the second one”."])


def _find_project(text: str, properties: Mapping[str, Any], messages: Sequence[Message]) -> str:
    context = " ".join(message_text(message) for message in messages if message.get("role") in ("tool", "system"))
    names = [*properties.get("project", {}).get("enum", []), *re.findall(r'"name": ?"([a-z0-9_-]+)"', context)]
    words = re.findall(r"[a-z0-9_-]+", text.lower())
    for name in (*names, *KNOWN_PROJECTS):
        if name in words and (name != DEFAULT_PROJECT or re.search(_PROJECT_PHRASE, text.lower())):
            return str(name)
    if named := re.search(r"\bproject ['\"`]?([a-z0-9_-]+)", text.lower()):
        return named[1]
    return "aismr" if "zodiac" in words else DEFAULT_PROJECT


def _extract_brief(text: str) -> str:
    """Return the subject of a request to make a video, without the request itself."""
    text = re.sub(_PROJECT_PHRASE, "", " ".join(text.split()), flags=re.IGNORECASE)
    subject = re.sub(
        rf"{_START_REQUEST}(?:\s+(?:me|us)\b)?(?:\s+(?:an?|the|new|another|short|aismr|shorts)\b)*"
        r"(?:\s+(?:video|short|film|clip|reel|run)s?\b)?(?:\s+(?:about|of|on|showing|where|for)\b)?[\s:,]*",
        "",
        text,
        flags=re.IGNORECASE,
    )
    return capitalize(subject.strip(" .,:?!“”\"'")) or text or "Something quiet"


def _report_tool_results(messages: Sequence[Message]) -> str:
    """Return the results of the last tool calls as text."""
    is_suggestion_request = re.search(_SUGGESTION_REQUEST, _last_user_text(messages).lower())
    reports = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        content = message_text(message)
        suggestions = _suggest_videos(content) if is_suggestion_request else None
        reports.append(suggestions or _format_result(content))
    return "\n\n".join(reversed(reports))


def _format_result(content: str) -> str:
    try:
        value = json.loads(content)
    except ValueError:
        return shorten(content, 600) or "Done."
    rows = value if isinstance(value, list) else _find_rows(value)
    if rows is None:
        return _format_value(value)
    if not rows:
        return "No results."
    count = "is one" if len(rows) == 1 else f"are {len(rows)}"
    return "\n".join([f"There {count}:", *(f"- {_format_value(row)}" for row in rows[:MAX_LISTED_ROWS])])


def _find_rows(value: Any) -> list[Any] | None:
    """Return the first list in an object that is not itself a record with an id."""
    if not isinstance(value, dict) or value.get("run_id") or value.get("id"):
        return None
    return next((inner for inner in value.values() if isinstance(inner, list) and inner), None)


def _format_value(value: Any) -> str:
    if not isinstance(value, dict):
        return shorten(str(value), 300)
    if "prepared" in value:
        return f"I prepared it, and only you can confirm it: {value['prepared']}"
    fields = {name: inner for name, inner in value.items() if isinstance(inner, (str, int, float)) and inner != ""}
    status, run_id = fields.pop("status", None), value.get("run_id") or value.get("id")
    if run_id and status:
        others = {name: inner for name, inner in fields.items() if name not in ("run_id", "id")}
        details = _format_fields(others, max_fields=4, max_length=80)
        return f"Run {run_id} is {_humanize(str(status))}" + (f" ({details})." if details else ".")
    if "name" in fields:
        summary = fields.get("summary") or fields.get("description") or fields.get("title")
        return f"{fields['name']}: {shorten(str(summary), 200)}" if summary else str(fields["name"])
    return _format_fields(fields, max_fields=6, max_length=120)


def _format_fields(fields: Mapping[str, Any], *, max_fields: int, max_length: int) -> str:
    # A URL is never shortened: it would be invalid.
    texts = {name: str(value) for name, value in list(fields.items())[:max_fields]}
    return ", ".join(
        f"{_humanize(name)}: {text if text.startswith('http') else shorten(text, max_length)}"
        for name, text in texts.items()
    )


def _humanize(name: str) -> str:
    return name.replace("_", " ")
