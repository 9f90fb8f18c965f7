"""Quirks of language model servers other than OpenAI's: what they refuse, and how they wrap a complete answer."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from fastapi.responses import HTMLResponse, JSONResponse, Response

from sandbox.faults import FaultQueue
from sandbox.responses import HTML_ERROR_PAGE
from sandbox.text import read_table

#: The schema of an answer in JSON mode, where no words state another one.
ANY_OBJECT: Mapping[str, Any] = {"type": "object", "properties": {"answer": {"type": "string"}}}
#: The schema of an answer from a server that takes a strict schema and does not apply it.
IGNORED_SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"result": {"type": "string"}}}

_TABLE = read_table("model_quirks")
#: How servers refuse a form of `response_format`: status and body, by the name of the server.
FORMAT_REFUSALS: dict[str, dict[str, Any]] = _TABLE["refusals"]
#: How models wrap the JSON of an answer.
WRAPPINGS: dict[str, Callable[[str], str]] = {
    **{name: partial(str.replace, template, "{text}") for name, template in _TABLE["wrappings"].items()},
    "extra_field": lambda text: _with_fields(text, confidence=0.9),
    "extra_fields": lambda text: _with_fields(text, thoughts={"first": "…"}, language=["en"], id=None),
    "extra_inside": lambda text: _change_inside(text, lambda value: {**value, "camera": "wide", "id": 1}),
    "null_text": lambda text: _change_inside(text, _without_optional_texts),
}
#: What models send instead of an answer.
NO_ANSWERS: dict[str, Callable[[str], str]] = {
    **{name: partial(str.replace, template, "{text}") for name, template in _TABLE["no_answers"].items()},
    "null_title": lambda text: text.replace('"title": "', '"title": null, "was": "'),
    "long_overlay": lambda text: text.replace('"overlay": "', '"overlay": "' + 60 * "very "),
}


def _with_fields(text: str, **fields: object) -> str:
    return json.dumps({**json.loads(text), **fields}, ensure_ascii=False)


def _without_optional_texts(value: dict[str, Any]) -> dict[str, Any]:
    return {key: None if key in ("reason", "overlay") else each for key, each in value.items()}


def _change_inside(text: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """Return the JSON text with every object in it changed, the innermost first."""
    return json.dumps(json.loads(text, object_hook=change), ensure_ascii=False)


def refuse(faults: FaultQueue, response_format: Mapping[str, Any]) -> Response | None:
    """Return the response of a server that does not take the request at all, or None."""
    if html := faults.consume("llm_html_page"):
        return HTMLResponse(HTML_ERROR_PAGE, int(html["status"]))
    if missing := faults.consume("llm_model_missing"):
        return JSONResponse(json.loads(missing["body"]), 404)
    form = response_format.get("type", "text")
    refused = faults.consume("llm_refused_formats")
    forms = str(refused["forms"]).split() if refused else []
    has_lengths = "maxLength" in json.dumps(response_format)  # strict servers refuse them
    if refused is None or not (form in forms or ("lengths" in forms and has_lengths)):
        return None
    refusal = FORMAT_REFUSALS[refused["style"]]
    return Response(refusal["body"].replace("{form}", form), refusal["status"], media_type="application/json")


def change_completion(faults: FaultQueue, completion: dict[str, Any]) -> None:
    """Change a complete answer as the pending faults say: its text, its finish reason, its usage."""
    choice = completion["choices"][0]
    message = choice["message"]
    if (wrapped := faults.consume("llm_wrapped")) and message["content"]:
        message["content"] = (WRAPPINGS | NO_ANSWERS)[wrapped["wrapping"]](message["content"])
    if (field := faults.consume("llm_reasoning_only")) and message["content"]:
        message |= {"content": None, str(field["field"]): message["content"]}
    if reason := faults.consume("llm_finish_reason"):
        choice["finish_reason"] = None if reason["reason"] == "null" else reason["reason"]
    if usage := faults.consume("llm_usage"):
        completion |= {"usage": json.loads(usage["usage"])}
    if faults.trigger("llm_no_usage"):
        del completion["usage"]


def schema_in_words(texts: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the JSON schema that the texts state on a line of its own, the last one, or None."""
    found = None
    for line in "\n".join(texts).splitlines():
        with suppress(ValueError):
            value = json.loads(line)
            found = value if isinstance(value, dict) and {"properties", "title"} <= value.keys() else found
    return found
