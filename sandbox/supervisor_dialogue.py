"""Rule-based supervisor: chooses a tool from the wording of a message and reports the tool results.

What changes something must be said plainly, at the start of a message and without a "not" or "but": a wrong decision is
worse than none. Any other message that no rule reads is answered with what the rules can do.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from sandbox.briefs import LANGUAGES
from sandbox.completions import Function, Message, ModelReply, ToolCall
from sandbox.schema_values import fill_schema
from sandbox.text import ORDINALS, capitalize, shorten

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_REQUEST = (
    r"^\W*(?:(?:please|can you|could you|would you|let's|i want you to|i want to|i'd like to|i'd like you to|now|and"
    r"|yes)[\s,]+)*"
)
_FILM = r"(?:video|short|film|clip|reel|run)s?\b"
_START_REQUEST = (
    rf"{_REQUEST}(?:(?:make|create|start|produce|generate|film)\b(?!\s+(?:sure|it|this|that|them|changes?)\b)"
    rf"|i (?:want|need)\b(?=\s+(?:an?|another)\s+(?:\S+\s+){{0,2}}?{_FILM}))"
)
_PROJECT = (
    r"\s*\b(?:(?:in|for|with|to|as)\s+)?(?:the\s+)?"
    r"(?:project\s+['\"`]?([a-z0-9_-]+)['\"`]?|['\"`]?(?!(?:my|our|this|that|the|a)\b)([a-z0-9_-]+)['\"`]?\s+project\b)"
)
_SUGGESTION_CHOICE = (
    rf"{_REQUEST}(?:make|create|start|produce|do|take)\s+(?:the\s+)?"
    rf"(?:({'|'.join(ORDINALS)})(?:\s+(?:one|idea|video))?|(?:number|no\.?|idea)\s*(\d))\W*$"
)
_SUGGESTION_REQUEST = r"\b(what|which)\b.*\b(make|create|videos?|produce)\b"
#: Words that leave open whether a decision is meant.
_DOUBT = r"n['’]t\b|\b(?:not|no|never|but|except|unless|until|if|when|after|before|wait|yet|instead|or|only)\b|\?"
_VERDICTS = {
    "approve": r"(?:approve|(?:(?:it|this|that) )?looks? good|go ahead|publish it)\b",
    "reject": r"reject\b",
}
_REVISION = rf"{_REQUEST}ask for changes?\b\W*(.*)"
_CANCELLATION = (
    rf"{_REQUEST}(?:cancel|abort|stop)\s+(?:it|(?:(?:the|my|this)\s+)?{_FILM})\s*(?:{_UUID})?\W*(?:please)?\W*$"
)
#: Patterns of a message and the tool each of them selects; the first match decides. A decision is read before.
_INTENTS = (
    (_SUGGESTION_CHOICE, "start_run"),
    (_START_REQUEST, "start_run"),
    (_CANCELLATION, "cancel_run"),
    (r"\b(costs?|spent|spend|how much|budget)\b", "get_costs"),
    (r"\b(waiting for me|open (gates?|reviews?)|reviews|to decide)\b", "list_reviews"),
    (r"\b(link|download|watch|see (it|the film|my film))\b", "get_media_link"),
    (rf"{_UUID}|\b(where|how)('s| is) (my|the|this|that) (film|video|run)\b", "get_run"),
    (r"\b(status|where is|where are|how is|how are|how's|progress|runs|running)\b", "list_runs"),
    (rf"\bprojects?\b|{_SUGGESTION_REQUEST}", "list_projects"),
)
#: Tools that require a run id; without one the runs are listed instead.
_RUN_TOOLS = ("get_run", "cancel_run", "prepare_decision", "get_media_link")
_GREETING = (
    rf"{_REQUEST}(?:hello|hi|hey|good (?:morning|day|evening)|thanks|thank you|help|who are you|what can you do)\b"
)

DEFAULT_PROJECT = "shorts"
MAX_LISTED_ROWS = 20
INTRODUCTION = (
    "I am the sandbox's language model: a set of rules, no real model. I can list the projects, suggest videos, start"
    " one from a brief (“make a video about rain in a quiet city”), list the runs, report the status and the costs of"
    " a run, prepare a decision (“approve it”), cancel a run and find its film."
)
SUGGESTIONS: list[str] = LANGUAGES["en"]["suggestions"]

Messages = Sequence[Message]


def build_reply(messages: Messages, functions: Sequence[Function], forced_tool: str | None) -> ModelReply:
    """Return the next reply: a call or text. `forced_tool` names the function that must be called."""
    text = next((message.text for message in reversed(messages) if message.role == "user"), "")
    if forced_tool is None and messages[-1].role == "tool":
        return ModelReply(content=_report_tool_results(messages, text))
    name = forced_tool or _choose_tool(text, messages)
    if function := next((function for function in functions if function.name == name), None):
        return ModelReply(calls=[ToolCall(function.name, _build_arguments(function, text, messages))])
    if re.search(_GREETING, text.lower()):
        return ModelReply(content=INTRODUCTION)
    return ModelReply(content=f"{'I cannot do that here.' if name else 'I did not understand.'} {INTRODUCTION}")


def _choose_tool(text: str, messages: Messages) -> str | None:
    lower = text.lower()
    intent = next((tool for pattern, tool in _INTENTS if re.search(pattern, lower)), None)
    tool = "prepare_decision" if _parse_verdict(text) else intent
    return "list_runs" if tool in _RUN_TOOLS and not _find_run_id(text, messages) else tool


def _build_arguments(function: Function, text: str, messages: Messages) -> str:
    """Return the arguments of a call as JSON: values found in the conversation, or minimal valid ones."""
    schema = {"type": "object", "properties": {}, **function.parameters}
    project, brief = _find_chosen_suggestion(text, messages) or (_find_project(text), _extract_brief(text))
    known: dict[str, Any] = {"project": project, "brief": brief, **_parse_verdict(text)}
    if (run_id := _find_run_id(text, messages)) and "today" not in text.lower():
        known["run_id"] = run_id
    values = {name: value for name, value in fill_schema(schema).items() if name in schema.get("required", [])}
    return json.dumps(values | {name: known[name] for name in schema["properties"] if name in known})


def _find_run_id(text: str, messages: Messages) -> str | None:
    """Return the run id in the text, or else the last one in the conversation."""
    texts = (text, *(message.text for message in reversed(messages) if message.role != "system"))
    return next((found[-1] for one in texts if (found := re.findall(_UUID, one.lower()))), None)


def _parse_verdict(text: str) -> dict[str, str]:
    """Return the verdict that a text asks for, and its comment; nothing if it asks for none, or not plainly for one."""
    if changes := re.search(_REVISION, text, re.IGNORECASE | re.DOTALL):
        return {"verdict": "revise", "comment": changes[1].strip() or "Other ideas"}
    lower = text.lower()
    named = [verdict for verdict, pattern in _VERDICTS.items() if re.search(rf"\b{pattern}", lower)]
    is_plain = re.search(rf"{_REQUEST}(?:{'|'.join(_VERDICTS.values())})", lower) and not re.search(_DOUBT, lower)
    return {"verdict": named[0]} if is_plain and len(named) == 1 else {}


def _find_chosen_suggestion(text: str, messages: Messages) -> tuple[str, str] | None:
    """Return the project and the brief of the numbered suggestion that the text chooses."""
    if not (match := re.search(_SUGGESTION_CHOICE, text.lower())):
        return None
    chosen = ORDINALS[match[1]] if match[1] else int(match[2])
    for message in reversed(messages):
        suggestions = re.findall(r"^(\d+)\. ([a-z0-9_-]+): (.+)$", message.text, re.MULTILINE)
        if message.role == "assistant" and suggestions:
            return next(((project, brief) for number, project, brief in suggestions if int(number) == chosen), None)
    return None


def _find_project(text: str) -> str:
    if named := re.search(_PROJECT, text.lower()):
        return named[1] or named[2]
    return "aismr" if re.search(r"\b(aismr|zodiac)\b", text.lower()) else DEFAULT_PROJECT


def _extract_brief(text: str) -> str:
    """Return the subject of a request to make a video, without the request itself."""
    text = re.sub(_PROJECT, "", " ".join(text.split()), flags=re.IGNORECASE)
    request = rf"{_START_REQUEST}(?:\s+(?:me|us)\b)?(?:\s+(?:an?|the|new|another|short|aismr|shorts)\b)*(?:\s+{_FILM})?"
    subject = re.sub(rf"{request}(?:\s+(?:about|of|on|showing|where|for)\b)?[\s:,]*", "", text, flags=re.IGNORECASE)
    return capitalize(subject.strip(" .,:?!“”\"'")) or text or "Something quiet"


def _report_tool_results(messages: Messages, text: str) -> str:
    """Return the results of the last tool calls as text."""
    last = max((n for n, message in enumerate(messages, 1) if message.role != "tool"), default=0)
    suggests = re.search(_SUGGESTION_REQUEST, text.lower())
    return "\n\n".join(
        (_suggest_videos(message.text) if suggests else None) or _format_result(message.text)
        for message in messages[last:]
    )


def _suggest_videos(content: str) -> str | None:
    """Return one numbered suggestion for each project of a tool result, or None if it lists no projects."""
    try:
        names = [one["project"] for one in json.loads(content)]
    except (ValueError, TypeError, KeyError):
        return None
    pairs = enumerate(zip(names, SUGGESTIONS, strict=False), 1)
    lines = [f"{number}. {name}: {brief}" for number, (name, brief) in pairs]
    return "\n".join(["Suggestions (by rule, I am no real model):", *lines, "Say “make the second one”."])


def _format_result(content: str) -> str:
    try:
        value = json.loads(content)
    except ValueError:
        return shorten(content, 600) or "Done."
    rows = value
    if isinstance(value, dict) and "run_id" not in value:
        rows = next((inner for inner in value.values() if isinstance(inner, list) and inner), value)
    if not isinstance(rows, list):
        return _format_value(value) or "No results."
    if not rows:
        return "No results."
    count = "is one" if len(rows) == 1 else f"are {len(rows)}"
    return "\n".join([f"There {count}:", *(f"- {_format_value(row)}" for row in rows[:MAX_LISTED_ROWS])])


def _format_value(value: Any) -> str:
    """Return a value, or the fields of an object, on one line. A URL is never shortened: it would be invalid."""
    if not isinstance(value, dict):
        return shorten(str(value), 300)
    if "prepared" in value:
        return f"I prepared it, and only you can confirm it: {value['prepared']}"
    texts = {name: str(each) for name, each in value.items() if isinstance(each, str | int | float) and each != ""}
    run_id, status = (texts.pop("run_id"), texts.pop("status")) if {"run_id", "status"} <= texts.keys() else ("", "")
    details = ", ".join(
        f"{name.replace('_', ' ')}: {text if text.startswith('http') else shorten(text, 120)}"
        for name, text in list(texts.items())[:6]
    )
    head = f"Run {run_id} is {status.replace('_', ' ')}" if run_id else ""
    return f"{head} ({details})." if head and details else f"{head}{details}"
