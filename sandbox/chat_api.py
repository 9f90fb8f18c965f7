"""OpenAI-compatible `/v1/chat/completions` and `/v1/models`, answered by rules and subject to injected faults."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from sandbox import model_quirks, structured_answers, supervisor_dialogue
from sandbox.catalogue import MODELS
from sandbox.completions import (
    DONE_EVENT,
    CompletionHeader,
    ModelReply,
    ToolCall,
    build_chunks,
    build_completion,
    encode_event,
)
from sandbox.faults import FaultQueue
from sandbox.responses import HTML_ERROR_PAGE, ApiError, TruncatedResponse, rate_limit_error, require_bearer_token

CHAT_MODEL = "sandbox-rules"
REFUSAL = "I cannot help with that. (SANDBOX: injected fault.)"
MODEL_CREATED_AT = 1_767_225_600


@dataclass(frozen=True)
class ChatRequest:
    """Parsed chat completion request."""

    model: str
    messages: list[Mapping[str, Any]]
    stream: bool
    include_usage: bool
    tools: list[Mapping[str, Any]]
    forced_tool: str | None
    schema_name: str | None
    schema: Mapping[str, Any] | None
    has_strict_schema: bool

    @property
    def user_text(self) -> str:
        """Return the text of all user messages."""
        messages = (message for message in self.messages if message.get("role") == "user")
        return "\n".join(supervisor_dialogue.message_text(message) for message in messages)


class ChatApi:
    """Handlers of the language model API."""

    def __init__(self, faults: FaultQueue) -> None:
        self._faults = faults

    def routes(self) -> APIRouter:
        """Return the router of the language model API."""
        router = APIRouter(prefix="/v1", dependencies=[Depends(require_bearer_token)])
        router.add_api_route("/chat/completions", self.complete, methods=["POST"])
        router.add_api_route("/models", self.list_models, methods=["GET"])
        router.add_api_route("/models/{model}", self.get_model, methods=["GET"])
        return router

    async def list_models(self) -> dict[str, Any]:
        """Return the language model and all video models."""
        return {"object": "list", "data": [_format_model(name) for name in (CHAT_MODEL, *MODELS)]}

    async def get_model(self, model: str) -> dict[str, Any]:
        """Return one model; raise ApiError 404 if it is unknown."""
        if model not in (CHAT_MODEL, *MODELS):
            raise ApiError(404, f"The model '{model}' does not exist.", code="model_not_found", param="model")
        return _format_model(model)

    async def complete(self, request: Request) -> Response:
        """Return the next message of a conversation, whole or as a stream."""
        body = await _read_json(request)
        chat = _parse_chat_request(body)
        if slow := self._faults.consume("llm_slow"):
            await asyncio.sleep(float(slow["seconds"]))
        if limited := self._faults.consume("llm_429"):
            raise rate_limit_error(limited)
        if self._faults.trigger("llm_401"):
            raise ApiError(401, "Incorrect API key provided: sandbox.", code="invalid_api_key")
        if self._faults.trigger("llm_500_html"):
            return HTMLResponse(HTML_ERROR_PAGE, 500)
        if refused := model_quirks.refuse(self._faults, body.get("response_format") or {}):
            return refused
        if chat.has_strict_schema and self._faults.trigger("llm_schema_ignored"):
            chat = replace(chat, schema=model_quirks.IGNORED_SCHEMA, schema_name=None)
        reply = self._apply_reply_faults(_build_reply(chat))
        length = sum(len(supervisor_dialogue.message_text(message)) for message in chat.messages)
        header = CompletionHeader(chat.model, prompt_tokens=length // 4 + len(chat.messages) * 4 + 1)
        cut = self._faults.consume("llm_cut_stream")
        without_reason = self._faults.trigger("llm_no_finish_reason")
        if not chat.stream:
            completion = build_completion(header, reply)
            model_quirks.change_completion(self._faults, completion)
            return _completion_response(completion, cut=cut is not None, without_reason=without_reason)
        chunks = _stream_chunks(header, reply, chat.include_usage, without_reason)
        events = [*map(encode_event, chunks), DONE_EVENT]
        if cut is not None:
            # The last events are missing: the finish reason, the usage and the end of the stream.
            events = events[: max(2, (len(events) - 2) * 2 // 3)]
            if cut["abrupt"]:
                return TruncatedResponse(b"".join(events), "text/event-stream")
        return StreamingResponse(_stream(events), media_type="text/event-stream")

    def _apply_reply_faults(self, reply: ModelReply) -> ModelReply:
        if self._faults.trigger("llm_content_filter"):
            return ModelReply(content="", stop_reason="content_filter")
        if self._faults.trigger("llm_refusal"):
            return ModelReply(refusal=REFUSAL)
        if self._faults.trigger("llm_length"):
            return replace(_cut_in_half(reply), stop_reason="length")
        if self._faults.trigger("llm_invalid_json"):
            return _cut_in_half(reply)
        if self._faults.trigger("llm_wrong_schema"):
            wrong = json.dumps({"sandbox": "injected fault: this does not match the requested schema"})
            calls = [replace(call, arguments=wrong) for call in reply.calls]
            return replace(reply, calls=calls, content=None if calls else wrong)
        return reply


def _build_reply(chat: ChatRequest) -> ModelReply:
    if chat.forced_tool in structured_answers.RULES:
        schema = next(tool["parameters"] for tool in chat.tools if tool["name"] == chat.forced_tool)
        answer = structured_answers.answer_schema(chat.forced_tool, schema, chat.user_text)
        return ModelReply(calls=[ToolCall(chat.forced_tool, json.dumps(answer))])
    if chat.schema is not None and chat.forced_tool is None:
        answer = structured_answers.answer_schema(chat.schema_name or "", chat.schema, chat.user_text)
        return ModelReply(content=json.dumps(answer, ensure_ascii=False))
    return supervisor_dialogue.build_reply(chat.messages, chat.tools, chat.forced_tool)


def _parse_chat_request(body: Mapping[str, Any]) -> ChatRequest:
    messages = _parse_messages(body)
    if not isinstance(body.get("model"), str):
        raise ApiError(400, "you must provide a model parameter", param="model")
    response_format = body.get("response_format") or {}
    schema = _parse_response_schema(response_format, messages)
    tools = [tool["function"] for tool in body.get("tools") or [] if tool.get("type") == "function"]
    return ChatRequest(
        model=body["model"],
        messages=messages,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        tools=[] if body.get("tool_choice") == "none" else tools,
        forced_tool=_parse_tool_choice(body.get("tool_choice"), tools, messages),
        schema_name=(response_format.get("json_schema") or schema or {}).get("name", (schema or {}).get("title")),
        schema=schema,
        has_strict_schema=response_format.get("type") == "json_schema",
    )


def _parse_messages(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise ApiError(400, "messages must be a list of messages.", code="invalid_value", param="messages")
    return messages


def _parse_response_schema(
    response_format: Mapping[str, Any], messages: list[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Return the schema of the answer: of the strict format, or stated in words; None for a free text."""
    if response_format.get("type") == "json_schema":
        schema: Mapping[str, Any] | None = (response_format.get("json_schema") or {}).get("schema")
        return schema
    stated = model_quirks.schema_in_words([each for each in messages if each.get("role") == "system"])
    is_json = response_format.get("type") == "json_object"
    return stated or (model_quirks.ANY_OBJECT if is_json else None)


def _parse_tool_choice(choice: Any, tools: list[Mapping[str, Any]], messages: list[Mapping[str, Any]]) -> str | None:
    """Return the tool that must be called: the named one, or for "required" the one that matches best."""
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        if name not in [tool["name"] for tool in tools]:
            raise ApiError(400, f"There is no tool '{name}'.", code="invalid_value", param="tool_choice")
        return str(name)
    if choice != "required" or not tools:
        return None
    calls = supervisor_dialogue.build_reply(messages, tools, None).calls
    return calls[0].name if calls else str(tools[0]["name"])


def _stream_chunks(
    header: CompletionHeader, reply: ModelReply, include_usage: bool, without_reason: bool
) -> list[dict[str, Any]]:
    chunks = list(build_chunks(header, reply, include_usage=include_usage))
    if without_reason:
        chunks = [one for one in chunks if not one["choices"] or one["choices"][0]["finish_reason"] is None]
    return chunks


def _completion_response(completion: dict[str, Any], *, cut: bool, without_reason: bool) -> Response:
    if without_reason:
        completion["choices"][0]["finish_reason"] = None
    if not cut:
        return JSONResponse(completion)
    body = json.dumps(completion).encode()
    return TruncatedResponse(body[: len(body) // 2], "application/json", declared_length=len(body))


def _cut_in_half(reply: ModelReply) -> ModelReply:
    calls = [replace(call, arguments=call.arguments[: len(call.arguments) // 2]) for call in reply.calls]
    content = None if reply.content is None else reply.content[: len(reply.content) // 2]
    return replace(reply, content=content, calls=calls)


async def _stream(events: list[bytes]) -> AsyncIterator[bytes]:
    for event in events:
        yield event
        await asyncio.sleep(0)


async def _read_json(request: Request) -> Mapping[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise ApiError(400, "The body is not JSON.", code="invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, "The body is not a JSON object.", code="invalid_json")
    return body


def _format_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": MODEL_CREATED_AT, "owned_by": "sandbox"}
