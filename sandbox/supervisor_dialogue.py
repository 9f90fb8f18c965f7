"""Rule-based supervisor: chooses a tool from the wording of a message and reports the tool results.

What starts, decides or cancels has to match a rule as a whole, and its run has to be clear: a wrong preparation is
worse than none. Any other message that no rule reads is answered with what the rules can do.
"""

import json
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from sandbox.briefs import LANGUAGES, content_words, find_language
from sandbox.completions import Function, Message, ModelReply, ToolCall
from sandbox.schema_values import fill_schema
from sandbox.text import ORDINALS, capitalize, read_table, shorten

SUGGESTIONS: list[str] = LANGUAGES["en"]["suggestions"]

Messages = Sequence[Message]
#: The name of a tool and the arguments of a call.
Call = tuple[str, dict[str, str]]

_TABLE, _RULES = read_table("supervisor"), dict[str, str]()
INTRODUCTION: str = _TABLE["introduction"]


def _expand(rule: str | list[str]) -> str:
    """Return the pattern of a rule, or of several that are alternatives, with the earlier rules that it names."""
    pattern = rule if isinstance(rule, str) else "|".join(rule)
    return re.sub(r"\{([a-z]+)\}", lambda name: f"(?:{_RULES[name[1]]})", pattern)


for _name, _rule in _TABLE["rules"].items():
    _RULES[_name] = _expand(_rule)
_READING = [(row["tool"], _expand(row["pattern"])) for row in _TABLE["read"]]


def build_reply(messages: Messages, functions: Sequence[Function], forced_tool: str | None) -> ModelReply:
    """Return the next reply: calls or text. `forced_tool` names the function that must be called."""
    last = max((n for n, message in enumerate(messages) if message.role == "user"), default=0)
    text = messages[last].text.replace("’", "'")
    if forced_tool is None and messages[-1].role == "tool":
        results = [*takewhile(lambda message: message.role == "tool", reversed(messages))][::-1]
        return ModelReply(content="\n\n".join(_report_result(result.text) for result in results))
    earlier = [message for message in messages[:last] if message.role != "system"]
    earlier += [each for each in messages[:last] if each.role == "system" and _TABLE["open_page"] in each.text]
    if request := re.match(_TABLE["client_request"], messages[last].text):
        return ModelReply(content=_answer_client(request))
    parameters = {function.name: function.parameters for function in functions}
    calls = _start_run(messages[last].text, earlier) or _change_run(messages[last].text, earlier)
    calls = calls or _read(" ".join(text.lower().split()), earlier)
    if forced_tool and forced_tool not in dict(calls):
        calls = [(forced_tool, fill_schema({"type": "object", "properties": {}, **parameters[forced_tool]}))]
    if calls and calls[0][0] in parameters:
        return ModelReply(calls=[ToolCall(name, json.dumps(arguments)) for name, arguments in calls])
    problem = "I cannot do that here. " if calls else "I did not understand. "
    return ModelReply(content=INTRODUCTION if _match("greetings", text) else problem + INTRODUCTION)


def _answer_client(request: re.Match[str]) -> str:
    """Return the answer to a chat client's own request about the conversation that it quotes, in the form it names."""
    lines = [words for words in re.findall(_TABLE["quoted_words"], request.string) if not _match("greetings", words)]
    briefs = [arguments["brief"] for words in lines for _, arguments in _start_run(words, [])]
    topic = shorten([*briefs, *map(capitalize, lines), "Videos"][0].rstrip(" .?!"), 40)
    tags = ["Video", *map(capitalize, content_words(topic, find_language(topic))[:3])]
    answers = {"title": topic, "prompt": topic, "tags": tags, "follow_ups": _TABLE["follow_ups"]}
    return json.dumps({name: answers.get(name, [])}, ensure_ascii=False) if (name := request["name"]) else topic


def _match(rule: str, text: str) -> re.Match[str] | None:
    """Return the match of a whole text, of the same length as the text."""
    return re.fullmatch(_RULES[rule], text.replace("’", "'"), re.IGNORECASE | re.DOTALL)


def _start_run(text: str, earlier: Messages) -> list[Call]:
    """Return the call that starts a run, from a numbered suggestion of the last answer or from a brief."""
    text = " ".join(text.split())
    if choice := _match("choice", text):
        answer = next((message.text for message in reversed(earlier) if message.role == "assistant"), "")
        found = re.findall(r"^(\d+)\. ([a-z0-9_-]+): (.+)$", answer, re.MULTILINE)
        numbers = _numbers_in(choice[0].lower().replace("idea", "number"))
        return [("start_run", {"project": name, "brief": brief}) for n, name, brief in found if int(n) in numbers]
    named, rest = (re.search(_RULES["project"], text.lower()), re.sub(_RULES["project"], "", text, flags=re.IGNORECASE))
    if not (request := _match("brief", rest)) or re.search(_RULES["doubt"], text.lower().replace("’", "'")):
        return []
    project = "aismr" if re.search(r"\b(aismr|zodiac)\b", text.lower()) else _TABLE["default_project"]
    brief = rest[request.start("whole" if request["kind"] else "subject") : request.end("subject")].strip(" .,:?!“”\"'")
    return [("start_run", {"project": named[1] or named[2] if named else project, "brief": capitalize(brief)})]


def _change_run(text: str, earlier: Messages) -> list[Call]:
    """Return the calls that prepare decisions or ends of runs, or that show what is open where that is not clear."""
    if revision := _match("revision", text):
        if revision["but"] and re.search(_RULES["doubt"], revision["but"].lower()):
            return []
        comment = text[revision.start("but" if revision["but"] else "comment") :].strip()
        words = (revision["runs"] or revision["these"] or "").lower()
        return _call("prepare_decision", words, earlier, verdict="revise", comment=comment)
    if not (command := _match("command", text)):
        return []
    words = command["runs"].lower()
    if command["cancel"]:
        return _call("cancel_run", words, earlier)
    if any(_is_other_gate(command[0].lower(), run, earlier) for run in _find_runs(words, earlier)):
        return _call("get_review", words, earlier)
    return _call("prepare_decision", words, earlier, verdict="approve" if command["approve"] else "reject")


def _is_other_gate(words: str, run_id: str, earlier: Messages) -> bool:
    """Return whether the words name a gate and, as far as the conversation tells, the run waits at the other one."""
    history = "\n".join(message.text.lower() for message in earlier)
    # An approval of the ideas leads to the publish gate.
    status = rf"{run_id}(?: is |\",\"status\":\")(?:awaiting[ _])?(ideation|pending|publish)|^(approved).*{run_id}"
    states = re.findall(status, history, re.MULTILINE)
    other = "of_publish" if states and states[-1][0] in ("ideation", "pending") else "of_ideation"
    return bool(states and re.search(_RULES[other], words))


def _read(text: str, earlier: Messages) -> list[Call]:
    """Return the call that reads what a message asks about; none for a request that was not understood."""
    tool = next((tool for tool, pattern in _READING if re.search(pattern, text)), None)
    if tool is None or re.fullmatch(_RULES["unread"], text):
        return []
    if tool == "get_costs":
        runs = [] if re.search(_RULES["all_runs"], text) else _find_runs(text, earlier)
        return [(tool, {"run_id": runs[0]} if runs else {})]
    return [(tool, {})] if tool.startswith("list_") or tool == "get_planning_facts" else _call(tool, text, earlier)


def _call(tool: str, words: str, earlier: Messages, **arguments: str) -> list[Call]:
    """Return a call about each run that the words name, or the call that lists what they can mean."""
    fallback = "list_reviews" if tool in ("get_review", "prepare_decision") else "list_runs"
    return [(tool, {"run_id": run, **arguments}) for run in _find_runs(words, earlier)] or [(fallback, {})]


def _find_runs(words: str, earlier: Messages) -> list[str]:
    """Return the ids of the runs that the words name; none if “it” could be one of several."""
    if named := re.findall(_RULES["uuid"], words):
        return list(dict.fromkeys(named))
    numbers = _numbers_in(words)  # they count in the conversation, not on the page
    texts = (message.text.lower() for message in reversed(earlier) if not (numbers and message.role == "system"))
    last = list(dict.fromkeys(next(filter(None, (re.findall(_RULES["uuid"], text) for text in texts)), [])))
    if numbers:
        return [last[number - 1] for number in numbers if number <= len(last)]
    return last if len(last) == 1 else []


def _numbers_in(words: str) -> list[int]:
    return [ORDINALS[ordinal] if ordinal else int(digit) for ordinal, digit in re.findall(_RULES["number"], words)]


def _report_result(content: str) -> str:
    """Return the result of a tool as text; the planning facts as proposals."""
    try:
        value = json.loads(content)
    except ValueError:
        return shorten(content, 600) or "Done."
    if not isinstance(value, list):
        return _propose(value) if "today" in value else _describe(value) or "No results."
    head = "There is one:" if len(value) == 1 else f"There are {len(value)}:"
    return head + _describe(value) if value else "No results."


def _propose(facts: dict[str, Any]) -> str:
    """Return three videos for today that no recent run has, for the projects that published least lately."""
    made = " ".join(run["brief"] for run in facts["runs"]).lower()
    briefs = [brief for brief in SUGGESTIONS if brief.lower() not in made]
    projects = [row for row in facts["projects"] if row.get("usd_per_film", row["left_usd"] + 1) <= row["left_usd"]]
    projects.sort(key=lambda row: row.get("last_published", ""))
    if not projects:
        return f"No film fits today: the caps leave {facts['left_usd']:.2f} USD."
    lines = [f"For today, {facts['today']} (by rule, I am no real model):"]
    for number, (brief, row) in enumerate(zip(briefs[:3], projects * 3, strict=False), 1):
        price = f"{row['usd_per_film']:.2f} USD of the {row['left_usd']:.2f} USD left today"
        price += f"; last published: {row.get('last_published', 'never')}."
        lines.append(f"{number}. {row['project']}: {brief}\n   {price}")
    return "\n".join([*lines, "", "Say “make the second one”."])


def _describe(value: Any) -> str:
    """Return a value in words, each object of a list on a line. A URL is never shortened: it would be invalid."""
    if isinstance(value, list) and isinstance(value[0], dict):
        return "".join(f"\n- {_describe(row)}" for row in value[:20])
    if not isinstance(value, dict):
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        return text if text.startswith("http") else shorten(text, 200)
    if "prepared" in value:
        return "I prepared it, and only you can confirm it."
    fields = {name: _describe(each) for name, each in value.items() if each or type(each) in (int, float)}
    is_run = {"run_id", "status"} <= fields.keys()
    head = f"Run {fields.pop('run_id')} is {fields.pop('status').replace('_', ' ')}" if is_run else ""
    rows = sorted(fields.items(), key=lambda row: "\n" in row[1])  # lists come last
    details = [f"{name.replace('_', ' ')}: {text}" for name, text in rows if name not in _TABLE["hidden_fields"]]
    return " – ".join(filter(None, (head, ", ".join(details))))
