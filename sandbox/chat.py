"""`/v1/chat/completions` and `/v1/models`: a language model made of rules, with the faults that were ordered."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from sandbox import rules, talk
from sandbox.answers import HTML_PAGE, ApiError, CutResponse, rate_limited, require_bearer
from sandbox.catalogue import MODELS
from sandbox.completions import DONE, Call, Head, Reply, chunks, completion, event
from sandbox.faults import Faults

MODEL = "sandbox-rules"
REFUSAL = "I cannot help with that. (SANDBOX: an ordered fault.)"
LISTED_SINCE = 1_767_225_600


@dataclass(frozen=True)
class Question:
    """A chat request, parsed: what was said, and in which form an answer is wanted."""

    model: str
    messages: list[Mapping[str, Any]]
    stream: bool
    include_usage: bool
    tools: list[Mapping[str, Any]]
    forced: str | None
    schema_name: str | None
    schema: Mapping[str, Any] | None

    @property
    def request(self) -> str:
        """Everything the user said."""
        return "\n".join(talk.text_of(one) for one in self.messages if one.get("role") == "user")


class Chat:
    """The routes of the language model."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def routes(self) -> APIRouter:
        """Its routes."""
        router = APIRouter(prefix="/v1", dependencies=[Depends(require_bearer)])
        router.add_api_route("/chat/completions", self.complete, methods=["POST"])
        router.add_api_route("/models", self.models, methods=["GET"])
        router.add_api_route("/models/{model}", self.model, methods=["GET"])
        return router

    async def models(self) -> dict[str, Any]:
        """The models there are."""
        return {"object": "list", "data": [_model(name) for name in (MODEL, *MODELS)]}

    async def model(self, model: str) -> dict[str, Any]:
        """One model."""
        if model not in (MODEL, *MODELS):
            raise ApiError(404, f"The model '{model}' does not exist.", code="model_not_found", param="model")
        return _model(model)

    async def complete(self, request: Request) -> Response:
        """The next turn of a conversation."""
        question = _parsed(await _json(request))
        if slow := self._faults.take("llm_slow"):
            await asyncio.sleep(float(slow["seconds"]))
        if limited := self._faults.take("llm_429"):
            raise rate_limited(limited)
        if self._faults.happens("llm_500_html"):
            return HTMLResponse(HTML_PAGE, 500)
        reply = self._spoilt(_reply(question))
        said = sum(len(talk.text_of(message)) for message in question.messages)
        head = Head(question.model, prompt_tokens=said // 4 + len(question.messages) * 4 + 1)
        cut = self._faults.take("llm_cut_stream")
        unfinished = self._faults.happens("llm_no_finish_reason")
        if not question.stream:
            return _whole(completion(head, reply), cut=cut is not None, unfinished=unfinished)
        events = [event(chunk) for chunk in _pieces(head, reply, question.include_usage, unfinished)] + [DONE]
        if cut is not None:
            # Without its last events: the reason it stopped, the usage and the end.
            events = events[: max(2, (len(events) - 2) * 2 // 3)]
            if cut["abrupt"]:
                return CutResponse(b"".join(events), "text/event-stream")
        return StreamingResponse(_streamed(events), media_type="text/event-stream")

    def _spoilt(self, reply: Reply) -> Reply:
        """The reply as the faults of the day leave it."""
        if self._faults.happens("llm_content_filter"):
            return Reply(content="", finish="content_filter")
        if self._faults.happens("llm_refusal"):
            return Reply(refusal=REFUSAL)
        if self._faults.happens("llm_length"):
            return replace(_halved(reply), finish="length")
        if self._faults.happens("llm_invalid_json"):
            return _halved(reply)
        if self._faults.happens("llm_wrong_schema"):
            wrong = json.dumps({"sandbox": "this is not what was asked for"})
            calls = [replace(call, arguments=wrong) for call in reply.calls]
            return replace(reply, calls=calls, content=None if calls else wrong)
        return reply


def _reply(question: Question) -> Reply:
    if question.forced in rules.RULES:
        schema = next(tool["parameters"] for tool in question.tools if tool["name"] == question.forced)
        made = rules.answer(question.forced, schema, question.request)
        return Reply(calls=[Call(question.forced, json.dumps(made))])
    if question.schema is not None and question.forced is None:
        made = rules.answer(question.schema_name or "", question.schema, question.request)
        return Reply(content=json.dumps(made, ensure_ascii=False))
    return talk.reply(question.messages, question.tools, question.forced)


def _parsed(body: Mapping[str, Any]) -> Question:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise ApiError(400, "messages must be a list of messages.", code="invalid_value", param="messages")
    if not isinstance(body.get("model"), str):
        raise ApiError(400, "you must provide a model parameter", param="model")
    form = body.get("response_format") or {}
    named = form.get("json_schema") or {}
    schema = named.get("schema") if form.get("type") == "json_schema" else None
    if form.get("type") == "json_object":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    tools = [tool["function"] for tool in body.get("tools") or [] if tool.get("type") == "function"]
    return Question(
        model=body["model"],
        messages=messages,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        tools=[] if body.get("tool_choice") == "none" else tools,
        forced=_forced(body.get("tool_choice"), tools, messages),
        schema_name=named.get("name"),
        schema=schema,
    )


def _forced(choice: Any, tools: list[Mapping[str, Any]], messages: list[Mapping[str, Any]]) -> str | None:
    """The tool that has to be called: the named one, or under "required" the one that fits best."""
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        if name not in [tool["name"] for tool in tools]:
            raise ApiError(400, f"There is no tool '{name}'.", code="invalid_value", param="tool_choice")
        return str(name)
    if choice != "required" or not tools:
        return None
    called = talk.reply(messages, tools, None).calls
    return called[0].name if called else str(tools[0]["name"])


def _pieces(head: Head, reply: Reply, include_usage: bool, unfinished: bool) -> list[dict[str, Any]]:
    pieces = list(chunks(head, reply, include_usage=include_usage))
    if unfinished:
        pieces = [one for one in pieces if not one["choices"] or one["choices"][0]["finish_reason"] is None]
    return pieces


def _whole(body: dict[str, Any], *, cut: bool, unfinished: bool) -> Response:
    if unfinished:
        body["choices"][0]["finish_reason"] = None
    if not cut:
        return JSONResponse(body)
    text = json.dumps(body).encode()
    return CutResponse(text[: len(text) // 2], "application/json", declared_length=len(text))


def _halved(reply: Reply) -> Reply:
    """The reply broken off in the middle of what it says."""
    calls = [replace(call, arguments=call.arguments[: len(call.arguments) // 2]) for call in reply.calls]
    content = None if reply.content is None else reply.content[: len(reply.content) // 2]
    return replace(reply, content=content, calls=calls)


async def _streamed(events: list[bytes]) -> AsyncIterator[bytes]:
    for one in events:
        yield one
        await asyncio.sleep(0)


async def _json(request: Request) -> Mapping[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise ApiError(400, "The body is not JSON.", code="invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, "The body is not a JSON object.", code="invalid_json")
    return body


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": LISTED_SINCE, "owned_by": "sandbox"}
