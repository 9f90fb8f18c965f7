"""OpenAI-compatible `/v1/chat/completions` and `/v1/models`, answered by rules and subject to injected faults."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field

from sandbox import completions, model_quirks, structured_answers, supervisor_dialogue
from sandbox.catalogue import MODELS
from sandbox.completions import Function, Message, ModelReply, ToolCall
from sandbox.faults import FaultQueue
from sandbox.responses import HTML_ERROR_PAGE, ApiError, TruncatedResponse
from sandbox.routing import Routes, build_router, require_bearer_token

CHAT_MODEL = "sandbox-rules"


class Tool(BaseModel):
    """A tool that the model can call; other tools than functions are ignored."""

    function: Function | None = None


class ResponseFormat(BaseModel):
    """The form of the answer; `json_schema` has a name and a schema."""

    type: str = "text"
    json_schema: dict[str, Any] = Field(default_factory=dict)


class ChatRequest(BaseModel):
    """Chat completion request."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Tool | None = None
    response_format: Annotated[ResponseFormat, BeforeValidator(lambda value: value or {})] = ResponseFormat()

    @property
    def user_text(self) -> str:
        """Return the text of all user messages."""
        return "\n".join(message.text for message in self.messages if message.role == "user")

    @property
    def functions(self) -> list[Function]:
        """Return the functions that may be called."""
        tools = [] if self.tool_choice == "none" else self.tools or []
        return [tool.function for tool in tools if tool.function]

    def find_schema(self) -> tuple[str | None, Mapping[str, Any] | None]:
        """Return name and schema of the answer: of the strict format, or stated in words; neither for a free text."""
        form = self.response_format
        if form.type == "json_schema":
            return form.json_schema.get("name"), form.json_schema.get("schema")
        stated = model_quirks.schema_in_words([each.text for each in self.messages if each.role == "system"])
        schema = stated or (model_quirks.ANY_OBJECT if form.type == "json_object" else None)
        return (schema or {}).get("name", (schema or {}).get("title")), schema

    def find_forced_tool(self) -> str | None:
        """Return the tool that must be called: the named one, or for "required" the one that matches best."""
        names = [function.name for function in self.functions]
        if isinstance(self.tool_choice, Tool):
            name = self.tool_choice.function.name if self.tool_choice.function else ""
            if name not in names:
                raise ApiError(400, f"There is no tool '{name}'.", code="invalid_value", param="tool_choice")
            return name
        if self.tool_choice != "required" or not names:
            return None
        calls = supervisor_dialogue.build_reply(self.messages, self.functions, None).calls
        return calls[0].name if calls else names[0]


class ChatApi:
    """Handlers of the language model API."""

    def __init__(self, faults: FaultQueue) -> None:
        self._faults = faults
        routes: Routes = {"POST /chat/completions": self.complete, "GET /models": self.list_models}
        self.router = build_router("/v1", routes, require_bearer_token)

    async def list_models(self) -> dict[str, Any]:
        """Return the language model and all video models."""
        common = {"object": "model", "created": 1_767_225_600, "owned_by": "sandbox"}
        return {"object": "list", "data": [{"id": name, **common} for name in (CHAT_MODEL, *MODELS)]}

    async def complete(self, chat: ChatRequest) -> Response:
        """Return the next message of a conversation, whole or as a stream."""
        if refused := await self._refuse(chat):
            return refused
        name, schema = chat.find_schema()
        if chat.response_format.type == "json_schema" and self._faults.trigger("llm_schema_ignored"):
            name, schema = None, model_quirks.IGNORED_SCHEMA
        reply = self._apply_reply_faults(_build_reply(chat, name, schema))
        prompt_tokens = sum(len(message.text) for message in chat.messages) // 4 + len(chat.messages) * 4 + 1
        return (self._stream if chat.stream else self._completion)(chat, prompt_tokens, reply)

    async def _refuse(self, chat: ChatRequest) -> Response | None:
        """Return or raise the answer of a server that does not take the request, or return None."""
        if slow := self._faults.consume("llm_slow"):
            await asyncio.sleep(float(slow["seconds"]))
        self._faults.raise_error("llm_429", "llm_401")
        if self._faults.trigger("llm_500_html"):
            return HTMLResponse(HTML_ERROR_PAGE, 500)
        return model_quirks.refuse(self._faults, chat.response_format.model_dump())

    def _completion(self, chat: ChatRequest, prompt_tokens: int, reply: ModelReply) -> Response:
        completion = completions.build_completion(chat.model, prompt_tokens, reply)
        model_quirks.change_completion(self._faults, completion)
        if self._faults.trigger("llm_no_finish_reason"):
            completion["choices"][0]["finish_reason"] = None
        if not self._faults.trigger("llm_cut_stream"):
            return JSONResponse(completion)
        content = json.dumps(completion).encode()
        return TruncatedResponse(content[: len(content) // 2], "application/json", declared_length=len(content))

    def _stream(self, chat: ChatRequest, prompt_tokens: int, reply: ModelReply) -> Response:
        include_usage = bool((chat.stream_options or {}).get("include_usage"))
        chunks = list(completions.build_chunks(chat.model, prompt_tokens, reply, include_usage=include_usage))
        if self._faults.trigger("llm_no_finish_reason"):
            chunks = [one for one in chunks if not one["choices"] or one["choices"][0]["finish_reason"] is None]
        events = [*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), completions.DONE_EVENT]
        if cut := self._faults.consume("llm_cut_stream"):
            # The last events are missing: the finish reason, the usage and the end of the stream.
            events = events[: max(2, (len(events) - 2) * 2 // 3)]
            if cut["abrupt"]:
                return TruncatedResponse(b"".join(events), "text/event-stream")
        return StreamingResponse(iter(events), media_type="text/event-stream")

    def _apply_reply_faults(self, reply: ModelReply) -> ModelReply:
        if self._faults.trigger("llm_content_filter"):
            return ModelReply(content="", stop_reason="content_filter")
        if self._faults.trigger("llm_refusal"):
            return ModelReply(refusal="I cannot help with that. (SANDBOX: injected fault.)")
        if self._faults.trigger("llm_length"):
            return replace(_cut_in_half(reply), stop_reason="length")
        if self._faults.trigger("llm_invalid_json"):
            return _cut_in_half(reply)
        if self._faults.trigger("llm_wrong_schema"):
            wrong = json.dumps({"sandbox": "injected fault: this does not match the requested schema"})
            calls = [replace(call, arguments=wrong) for call in reply.calls]
            return replace(reply, calls=calls, content=None if calls else wrong)
        return reply


def _build_reply(chat: ChatRequest, name: str | None, schema: Mapping[str, Any] | None) -> ModelReply:
    forced_tool = chat.find_forced_tool()
    if forced_tool in structured_answers.RULES:
        parameters = next(function.parameters for function in chat.functions if function.name == forced_tool)
        answer = structured_answers.answer_schema(forced_tool, parameters, chat.user_text)
        return ModelReply(calls=[ToolCall(forced_tool, json.dumps(answer))])
    if schema is not None and forced_tool is None:
        answer = structured_answers.answer_schema(name or "", schema, chat.user_text)
        return ModelReply(content=json.dumps(answer, ensure_ascii=False))
    return supervisor_dialogue.build_reply(chat.messages, chat.functions, forced_tool)


def _cut_in_half(reply: ModelReply) -> ModelReply:
    calls = [replace(call, arguments=call.arguments[: len(call.arguments) // 2]) for call in reply.calls]
    content = None if reply.content is None else reply.content[: len(reply.content) // 2]
    return replace(reply, content=content, calls=calls)
