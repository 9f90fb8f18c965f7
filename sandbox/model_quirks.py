"""Quirks of language model servers other than OpenAI's: what they refuse, and how they wrap a complete answer."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi.responses import HTMLResponse, JSONResponse, Response

from sandbox.faults import FaultQueue
from sandbox.responses import HTML_ERROR_PAGE

#: The schema of an answer in JSON mode, where no words state another one.
ANY_OBJECT: Mapping[str, Any] = {"type": "object", "properties": {"answer": {"type": "string"}}}
#: The schema of an answer from a server that takes a strict schema and does not apply it.
IGNORED_SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"result": {"type": "string"}}}

#: How servers refuse a form of `response_format`: status and body, as read in their source or in reports of users.
FORMAT_REFUSALS: dict[str, tuple[int, str]] = {
    "openai": (
        400,
        """{"error": {"message": "Invalid parameter: 'response_format' of type '{form}' is not supported with this
        model.", "type": "invalid_request_error", "param": "response_format", "code": null}}""",
    ),
    "llama.cpp": (
        500,
        """{"error": {"code": 500, "message": "response_format type must be one of \\"text\\" or \\"json_object\\",
        but got: {form}", "type": "server_error"}}""",
    ),
    "lm_studio": (400, """{"error": "'response_format.type' must be 'text'"}"""),
    "vllm": (
        400,
        """{"object": "error", "message": "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'),
        'input': '{form}'}]", "type": "BadRequestError", "param": null, "code": 400}""",
    ),
    "fastapi": (422, '{"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]}'),
    "litellm": (
        400,
        """{"error": {"message": "litellm.UnsupportedParamsError: dummy does not support parameters:
        ['response_format']", "type": "None", "param": null, "code": "400"}}""",
    ),
    "silent": (400, '{"error": {"message": "Bad Request"}}'),
}

#: How models wrap the JSON of an answer.
WRAPPINGS: dict[str, Callable[[str], str]] = {
    "fence": lambda text: f"```json\n{text}\n```",
    "plain_fence": lambda text: f"```\n{text}\n```\n",
    "prose": lambda text: f"Sure! Here is the answer you wanted:\n\n{text}",
    "prose_around": lambda text: f"Of course. The result {{as requested}} is:\n{text}\nLet me know if it helps!",
    "example": lambda text: f'The form is {{"fits": "yes or no"}}, so:\n{text}',
    "think": lambda text: f'<think>\nPerhaps {{"fits": false, "reason": "no"}}? No.\n</think>\n\n{text}',
    "thinking": lambda text: f"<thinking>Let me see: {{}}.</thinking>{text}",
    "unopened_think": lambda text: f'Is it {{"fits": false, "reason": "x"}}?\n</think>\n{text}',
    "mistral_think": lambda text: f'[THINK]{{"fits": false, "reason": ""}}[/THINK]{text}',
    "harmony": lambda text: f"<|channel|>analysis<|message|>We answer {{}}.<|channel|>final<|message|>{text}",
    "bom": lambda text: f"\ufeff{text}",
    "newlines": lambda text: f"\r\n\n   {text}\n\n<|im_end|>",
    "list": lambda text: f"[{text}]",
    "extra_field": lambda text: _with_fields(text, confidence=0.9),
    "extra_fields": lambda text: _with_fields(text, thoughts={"first": "…"}, language=["en"], id=None),
    "extra_inside": lambda text: _change_inside(text, lambda value: {**value, "camera": "wide", "id": 1}),
    "null_text": lambda text: _change_inside(text, _without_optional_texts),
}

#: What models send instead of an answer.
NO_ANSWERS: dict[str, Callable[[str], str]] = {
    "null_title": lambda text: text.replace('"title": "', '"title": null, "was": "'),
    "long_overlay": lambda text: text.replace('"overlay": "', '"overlay": "' + 60 * "very "),
    "only_thought": lambda text: f"<think>{text}</think>\n\n",
    "no_json": lambda text: "I am sorry, but I would rather talk about the weather.",
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
    refused = faults.get_active("llm_refused_formats")
    forms = str(refused["forms"]).split() if refused else []
    has_lengths = "maxLength" in json.dumps(response_format)  # strict servers refuse them
    if refused is None or not (form in forms or ("lengths" in forms and has_lengths)):
        return None
    status, body = FORMAT_REFUSALS[refused["style"]]
    return Response(" ".join(body.replace("{form}", form).split()), status, media_type="application/json")


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
    """Return the JSON schema that the texts state in words, the last one, or None."""
    decoder, found = json.JSONDecoder(), None
    for text in texts:
        start = text.find("{")
        while start >= 0:
            try:
                value, end = decoder.raw_decode(text, start)
            except ValueError:
                value, end = None, start + 1
            if isinstance(value, dict) and "properties" in value and "title" in value:
                found = value
            start = text.find("{", end)
    return found
