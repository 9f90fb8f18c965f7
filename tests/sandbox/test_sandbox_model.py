"""Language model API: the format of Chat Completions, also through ChatOpenAI, moderation and faults."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import httpx2
import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
from sandbox_server import SandboxClient, SandboxServer


class Idea(BaseModel):
    """One idea."""

    title: str = Field(max_length=60)
    scene: str = Field(max_length=600)
    sound: str = Field(max_length=200)
    overlay: str = Field(max_length=60)


class Ideas(BaseModel):
    """The ideas of a film."""

    title: str = Field(max_length=80)
    ideas: Annotated[list[Idea], Field(min_length=3, max_length=3)]


class UnknownSchema(BaseModel):
    """A schema without a rule."""

    kind: Literal["red", "blue"]
    amount: int = Field(ge=5, le=9)
    parts: list[Idea]
    note: str | None


class list_projects(BaseModel):  # noqa: N801 - the name of the tool
    """List the projects."""


class start_run(BaseModel):  # noqa: N801 - the name of the tool
    """Start a run."""

    project: str
    brief: str


class get_run(BaseModel):  # noqa: N801 - the name of the tool
    """Return the status of a run."""

    run_id: str


class unknown_tool(BaseModel):  # noqa: N801 - the name of the tool
    """A tool without a rule."""

    level: Literal["low", "high"]
    times: int = Field(ge=3)


TOOLS = [list_projects, start_run, get_run]
BRIEF = HumanMessage("<brief>\nRain on a quiet city at night\n</brief>")


@pytest.fixture
async def model(server: SandboxServer) -> AsyncIterator[ChatOpenAI]:
    async with httpx2.AsyncClient(verify=False) as http:
        yield ChatOpenAI(
            model="sandbox-rules",
            base_url=f"{server.url}/v1",
            api_key="any",
            use_responses_api=False,
            http_async_client=http,
            max_retries=0,
            stream_usage=True,
        )


async def test_the_model_identifies_itself_as_sandbox(client: SandboxClient, model: ChatOpenAI) -> None:
    """The model names itself, is listed under its own name and reports token usage."""
    answer = await model.ainvoke("Hello, who are you?")
    models = (await client.get("/v1/models")).json()["data"]

    assert "sandbox" in answer.text
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] > 0
    assert answer.usage_metadata["output_tokens"] > 0
    assert "sandbox-rules" in [one["id"] for one in models]
    assert "sandbox-video" in [one["id"] for one in models]


async def test_the_response_repeats_the_model_name(client: SandboxClient) -> None:
    """Any model name is accepted, and the response has the documented fields."""
    body = {"model": "gpt-any", "messages": [{"role": "user", "content": "Hello"}]}
    answer = (await client.post("/v1/chat/completions", json=body)).json()

    assert (answer["object"], answer["model"]) == ("chat.completion", "gpt-any")
    assert set(answer["choices"][0]["message"]) == {"role", "content", "refusal"}


async def test_a_stream_has_its_chunks_in_order(client: SandboxClient) -> None:
    """A stream contains the role, the content, the finish reason, the usage without choices, and [DONE]."""
    body = {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "Hello"}],
    }
    lines = (await client.post("/v1/chat/completions", json=body)).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    assert lines[-2:] == ["data: [DONE]", ""]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len([chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0]["delta"].get("content")]) > 1
    assert (chunks[-2]["choices"][0]["delta"], chunks[-2]["choices"][0]["finish_reason"]) == ({}, "stop")
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"] > 0) == ([], True)


async def test_chat_openai_reads_the_stream(model: ChatOpenAI) -> None:
    """The chunks add up to the whole answer, with usage and a finish reason."""
    pieces = [piece async for piece in model.astream("Hello")]
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = whole + piece

    assert len(pieces) > 3
    assert whole.text == (await model.ainvoke("Hello")).text
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.usage_metadata is not None


async def test_structured_output_is_answered_by_the_rule_of_its_schema(model: ChatOpenAI) -> None:
    """Structured output by json_schema is parsed and refers to the brief."""
    structured = model.with_structured_output(Ideas, method="json_schema", include_raw=True)
    found = await structured.ainvoke([SystemMessage("You are the ideator."), BRIEF])

    assert found["parsing_error"] is None
    assert isinstance(found["parsed"], Ideas)
    assert all("quiet city" in idea.scene for idea in found["parsed"].ideas)
    assert found["raw"].response_metadata["finish_reason"] == "stop"


async def test_structured_output_by_function_calling_is_answered_by_the_same_rule(model: ChatOpenAI) -> None:
    """Structured output by function_calling refers to the brief."""
    found = await model.with_structured_output(Ideas, method="function_calling").ainvoke([BRIEF])

    assert isinstance(found, Ideas)
    assert "quiet city" in found.ideas[0].scene


async def test_a_schema_without_a_rule_gets_a_valid_value(model: ChatOpenAI) -> None:
    """The value respects enums, bounds, nested objects and options."""
    found = await model.with_structured_output(UnknownSchema, method="json_schema").ainvoke("Fill this in")

    assert isinstance(found, UnknownSchema)
    assert (found.kind, 5 <= found.amount <= 9, len(found.parts)) == ("red", True, 1)


async def test_json_mode_returns_an_object(model: ChatOpenAI) -> None:
    """A request in JSON mode gets a JSON object."""
    answer = await model.bind(response_format={"type": "json_object"}).ainvoke("JSON, please")

    assert isinstance(json.loads(answer.text), dict)


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_model_calls_a_tool_and_reports_its_result(model: ChatOpenAI, streamed: bool) -> None:
    """A tool call has its arguments, whole or in chunks, and the next reply reports the tool result."""
    bound = model.bind_tools(TOOLS)
    request = HumanMessage("Please make a video about a fox in the snow for the aismr project")
    if streamed:
        pieces = [piece async for piece in bound.astream([request])]
        call: Any = pieces[0]
        for piece in pieces[1:]:
            call = call + piece
    else:
        call = await bound.ainvoke([request])
    run_id = "0e6f1d2c-1111-4222-8333-123456789abc"
    result = ToolMessage(json.dumps({"run_id": run_id, "status": "pending"}), tool_call_id=call.tool_calls[0]["id"])
    answer = await bound.ainvoke([request, call, result])

    assert [(one["name"], one["args"]) for one in call.tool_calls] == [
        ("start_run", {"project": "aismr", "brief": "A fox in the snow"})
    ]
    assert call.response_metadata["finish_reason"] == "tool_calls"
    assert run_id in answer.text
    assert "pending" in answer.text


@pytest.mark.parametrize(
    ("text", "choice", "expected"),
    [
        ("What projects are there?", "auto", ("list_projects", {})),
        ("How is 0e6f1d2c-1111-4222-8333-123456789abc?", "auto", ("get_run", "0e6f1d2c-1111-4222-8333-123456789abc")),
        ("Good morning", "auto", None),
        ("List the projects", "none", None),
        ("Good morning", "required", ("list_projects", {})),
        ("Good morning", "unknown_tool", ("unknown_tool", {"level": "low", "times": 3})),
    ],
)
async def test_tool_choice_is_respected(model: ChatOpenAI, text: str, choice: str, expected: Any) -> None:
    """auto depends on the message, none calls nothing, required and a tool name always call a tool."""
    answer = await model.bind_tools([*TOOLS, unknown_tool], tool_choice=choice).ainvoke(text)
    calls = [(call["name"], call["args"]) for call in answer.tool_calls]
    calls = [(name, args["run_id"]) if name == "get_run" else (name, args) for name, args in calls]

    assert calls == ([] if expected is None else [expected])


async def test_a_stream_can_end_early_without_an_error(client: SandboxClient, model: ChatOpenAI) -> None:
    """A truncated stream raises no error and has no finish reason."""
    await client.inject_fault("llm_cut_stream")
    pieces = [piece async for piece in model.bind_tools(TOOLS).astream("Make a video about a fox in the snow")]

    assert pieces
    assert all(not piece.response_metadata.get("finish_reason") for piece in pieces)


async def test_a_stream_can_break_with_an_error(client: SandboxClient, model: ChatOpenAI) -> None:
    """An abruptly truncated stream raises a connection error."""
    await client.inject_fault("llm_cut_stream", abrupt=True)

    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        _ = [piece async for piece in model.astream("Hello")]


async def test_the_finish_reason_can_be_missing(client: SandboxClient, model: ChatOpenAI) -> None:
    """The stream has all of its content and no finish reason."""
    await client.inject_fault("llm_no_finish_reason")
    pieces = [piece async for piece in model.astream("Hello")]

    assert "".join(piece.text for piece in pieces)
    assert all(not piece.response_metadata.get("finish_reason") for piece in pieces)


@pytest.mark.parametrize(
    ("fault", "finish_reason"), [("llm_content_filter", "content_filter"), ("llm_length", "length")]
)
async def test_a_reply_can_be_incomplete(
    client: SandboxClient, model: ChatOpenAI, fault: str, finish_reason: str
) -> None:
    """The fault shortens one reply and sets its finish reason; the next reply is complete."""
    await client.inject_fault(fault)
    short = await model.ainvoke("Hello")
    whole = await model.ainvoke("Hello")

    assert short.response_metadata["finish_reason"] == finish_reason
    assert len(short.text) < len(whole.text)
    assert whole.response_metadata["finish_reason"] == "stop"


async def test_the_model_can_refuse(client: SandboxClient, model: ChatOpenAI) -> None:
    """A refusal is in its own field, and the content is empty."""
    await client.inject_fault("llm_refusal")
    answer = await model.ainvoke("Hello")

    assert "cannot" in answer.additional_kwargs["refusal"]
    assert answer.text == ""


async def test_the_json_can_be_invalid(client: SandboxClient, model: ChatOpenAI) -> None:
    """The fault makes tool arguments and structured output invalid JSON."""
    await client.inject_fault("llm_invalid_json", times=2)
    call = await model.bind_tools(TOOLS).ainvoke("Make a video about a fox")
    with pytest.raises(Exception, match=r"(?i)json"):
        await model.with_structured_output(Ideas, method="json_schema").ainvoke([BRIEF])

    assert (len(call.tool_calls), len(call.invalid_tool_calls)) == (0, 1)


async def test_the_answer_can_violate_its_schema(client: SandboxClient, model: ChatOpenAI) -> None:
    """The fault gives valid JSON that does not match the schema."""
    await client.inject_fault("llm_wrong_schema")
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": BRIEF.text}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "Ideas", "schema": {}}},
    }
    answer = (await client.post("/v1/chat/completions", json=body)).json()

    assert set(json.loads(answer["choices"][0]["message"]["content"])) == {"sandbox"}


async def test_the_model_can_be_rate_limited_broken_or_slow(client: SandboxClient, model: ChatOpenAI) -> None:
    """The faults give 429 with Retry-After, 500 as an HTML page, and a delay."""
    await client.inject_fault("llm_429", retry_after=3)
    with pytest.raises(openai.RateLimitError) as limited:
        await model.ainvoke("Hello")
    await client.inject_fault("llm_500_html")
    with pytest.raises(openai.InternalServerError) as broken:
        await model.ainvoke("Hello")
    await client.inject_fault("llm_slow", seconds=0.4)
    with pytest.raises(openai.APITimeoutError):
        await model.ainvoke("Hello", timeout=0.2)

    assert limited.value.response.headers["retry-after"] == "3"
    assert broken.value.response.headers["content-type"].startswith("text/html")


async def test_moderation_flags_words_in_every_input_format(client: SandboxClient) -> None:
    """A string, a list of strings and a list of parts are classified in thirteen categories."""

    async def results(material: Any) -> list[dict[str, Any]]:
        return (await client.post("/v1/moderations", json={"input": material})).json()["results"]

    parts = [
        {"type": "text", "text": "some gore"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
    ]
    (calm,) = await results("Rain, and all the categories of clouds")
    (bad,) = await results("We kill people")
    many = await results(["a nude", "a tree", "x #flagged"])
    (mixed,) = await results(parts)

    assert (calm["flagged"], len(calm["categories"]), len(calm["category_scores"])) == (False, 13, 13)
    assert (bad["flagged"], bad["categories"]["violence"]) == (True, True)
    assert [one["flagged"] for one in many] == [True, False, True]
    assert mixed["category_applied_input_types"]["violence"] == ["text", "image"]
    assert mixed["categories"]["violence/graphic"] is True


async def test_moderation_can_fail(client: SandboxClient) -> None:
    """The fault gives one 500 response; a caller must fail closed."""
    await client.inject_fault("moderation_500")
    answers = [await client.post("/v1/moderations", json={"input": "a"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [500, 200]
