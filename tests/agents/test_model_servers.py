"""Language model servers other than OpenAI's: every structured question is answered, or the error names a setting."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from agents.roles import Screening, ideate, read_comment, respond, screen_brief, write_caption
from agents.structured import AnswerError, ask_structured, form_of
from agents.texts import Idea
from prompts.project import FOLDER, read_project
from prompts.templates import Prompt
from providers.base import ProviderError, Refused, Unavailable
from providers.chat_models import chat_model
from sandbox.model_quirks import FORMAT_REFUSALS, WRAPPINGS
from tests.app import SandboxClient

SHORTS = read_project(FOLDER / "shorts.md")
IDEA = Idea(title="Leaf", scene="A leaf in the rain.", sound="Rain.", overlay="Stay")
PROMPT = Prompt("You decide.", "Does it fit?\n<brief>\nRain on a roof\n</brief>")


class Server:
    """A chat model at the sandbox, as a server that no test has used before, and the requests it was sent."""

    def __init__(self, url: str, client: httpx2.AsyncClient, requests: list[dict[str, Any]], **options: Any) -> None:
        self.requests = requests
        options = {"timeout": 10.0, "max_tokens": 1000} | options
        self.model: BaseChatModel = chat_model(
            base_url=f"{url}/v1",
            api_key="any",
            model=f"model-{uuid4().hex[:8]}",
            http_async_client=client,
            max_retries=0,
            **options,
        )

    async def ask(self) -> Screening:
        """Return the answer to a question."""
        return (await ask_structured(self.model, PROMPT, Screening)).value


@pytest.fixture
async def new_server(sandbox: SandboxClient) -> AsyncIterator[Callable[..., Server]]:
    requests: list[dict[str, Any]] = []

    async def note(request: httpx2.Request) -> None:
        requests.append(json.loads(request.content))

    async with httpx2.AsyncClient(event_hooks={"request": [note]}) as client:
        yield lambda **options: Server(sandbox.url, client, requests, **options)


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server()


@pytest.mark.parametrize("style", FORMAT_REFUSALS)
@pytest.mark.parametrize(
    ("refused", "form"), [("json_schema", "json_object"), ("json_schema json_object", "text"), ("json_object", None)]
)
async def test_a_form_that_is_refused_is_not_tried_again(
    server: Server, sandbox: SandboxClient, style: str, refused: str, form: str | None
) -> None:
    """The next form is used, with the schema in words; the next question starts with it."""
    sandbox.fault("llm_refused_formats", forms=refused, style=style)
    first = await server.ask()
    before = len(server.requests)
    second = await server.ask()

    assert first == second
    assert first.fits
    assert len(server.requests) == before + 1
    assert form_of(server.model) == (form or "json_schema")
    last = server.requests[-1]
    assert last.get("response_format", {}).get("type", "text") == (form or "json_schema")
    assert ("JSON schema" in last["messages"][0]["content"]) == (form is not None)


@pytest.mark.parametrize("refused", ["", "json_schema", "json_schema json_object"])
async def test_every_agent_works_in_every_form(server: Server, sandbox: SandboxClient, refused: str) -> None:
    """Screening, ideas, caption and comment are read without a schema that the server applies."""
    sandbox.fault("llm_refused_formats", forms=refused or "none", style="llama.cpp")

    assert (await screen_brief(server.model, SHORTS, "Rain on a roof")).value.fits
    assert len((await ideate(server.model, SHORTS, "Rain")).value.ideas) == SHORTS.clips
    assert (await write_caption(server.model, "Rain", "Rain", [IDEA])).value.caption
    [change] = (await read_comment(server.model, [IDEA, IDEA], "Clip 2 again, please")).value.changes
    assert change.clips == [2]


async def test_a_schema_that_is_ignored_is_stated_in_words(server: Server, sandbox: SandboxClient) -> None:
    """The second question states the schema, and later questions state it at once."""
    sandbox.fault("llm_schema_ignored", times=None)

    assert (await server.ask()).fits
    assert len(server.requests) == 2
    assert (await server.ask()).fits
    assert (len(server.requests), form_of(server.model)) == (3, "json_object")


async def test_a_value_that_is_wrong_does_not_give_up_the_schema(server: Server, sandbox: SandboxClient) -> None:
    """A server that applies the schema keeps it, although its answer was corrected."""
    sandbox.fault("llm_wrapped", wrapping="null_title")
    [answer] = [await ideate(server.model, SHORTS, "Rain")]

    assert len(server.requests) == 2
    assert answer.value.ideas[0].title
    assert form_of(server.model) == "json_schema"


async def test_a_text_that_is_too_long_is_asked_again_with_its_lengths(server: Server, sandbox: SandboxClient) -> None:
    """Strict servers refuse lengths in a schema, but a small model keeps them only if the server applies them."""
    sandbox.fault("llm_wrapped", wrapping="long_overlay")
    answer = await ideate(server.model, SHORTS, "Rain")

    first, second = (json.dumps(request["response_format"]) for request in server.requests)
    assert ("maxLength" in first, '"maxLength": 60' in second) == (False, True)
    assert answer.value.ideas[0].overlay
    assert form_of(server.model) == "json_schema"


async def test_a_server_that_refuses_lengths_keeps_the_schema(server: Server, sandbox: SandboxClient) -> None:
    """A strict server gets the schema without lengths again, in this question and in later ones."""
    sandbox.fault("llm_wrapped", wrapping="long_overlay")
    sandbox.fault("llm_refused_formats", forms="lengths")
    answer = await ideate(server.model, SHORTS, "Rain")

    assert answer.value.ideas[0].overlay
    assert [request["response_format"]["type"] for request in server.requests] == 3 * ["json_schema"]
    assert ["maxLength" in json.dumps(request["response_format"]) for request in server.requests] == [
        False,
        True,
        False,
    ]
    assert form_of(server.model) == "json_schema"


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("refused", ["none", "json_schema json_object"])
async def test_a_wrapped_answer_is_read_at_once(
    server: Server, sandbox: SandboxClient, wrapping: str, refused: str
) -> None:
    """A fence, prose, a thought, a byte order mark, further fields and null texts do not invalidate an answer."""
    sandbox.fault("llm_refused_formats", forms=refused, style="openai")
    await server.ask()
    before = len(server.requests)
    sandbox.fault("llm_wrapped", wrapping=wrapping)
    answer = await server.ask()

    assert (answer.fits, len(server.requests)) == (True, before + 1)


@pytest.mark.parametrize("wrapping", ["extra_inside", "null_text", "fence", "think"])
async def test_nested_answers_are_read_at_once(server: Server, sandbox: SandboxClient, wrapping: str) -> None:
    """The objects inside an answer may have further fields and null texts, too."""
    sandbox.fault("llm_wrapped", wrapping=wrapping)
    ideas = (await ideate(server.model, SHORTS, "Rain")).value.ideas

    assert (len(ideas), len(server.requests)) == (SHORTS.clips, 1)


async def test_a_draft_in_a_thought_is_no_answer(server: Server, sandbox: SandboxClient) -> None:
    """A thought without an answer after it is corrected, although it contains a valid object."""
    sandbox.fault("llm_wrapped", wrapping="only_thought")
    await server.ask()

    assert len(server.requests) == 2


@pytest.mark.parametrize("reason", ["STOP", "eos", "end_turn", "eos_token", "null", "", "stop_sequence", "COMPLETE"])
async def test_any_finish_reason_of_a_complete_answer_counts(
    server: Server, sandbox: SandboxClient, reason: str
) -> None:
    """A complete answer is used, however the server spells its end."""
    sandbox.fault("llm_finish_reason", reason=reason)

    assert (await server.ask()).fits
    assert len(server.requests) == 1


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length", "error", "abort"])
@pytest.mark.parametrize("refused", ["none", "json_schema json_object"])
async def test_a_cut_answer_is_an_error(server: Server, sandbox: SandboxClient, reason: str, refused: str) -> None:
    """However the server spells it, and although the text is valid."""
    sandbox.fault("llm_refused_formats", forms=refused, style="openai")
    sandbox.fault("llm_finish_reason", times=None, reason=reason)
    with pytest.raises(ProviderError) as failed:
        await server.ask()

    assert failed.value.code in ("model_answer_cut", "model_answer_too_long")
    assert "OPENAI_MAX_TOKENS" in failed.value.message


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "refusal", "guardrail_intervened"])
async def test_a_withheld_answer_is_an_error(server: Server, sandbox: SandboxClient, reason: str) -> None:
    """However the server spells it."""
    sandbox.fault("llm_finish_reason", reason=reason)
    with pytest.raises(ProviderError) as failed:
        await server.ask()

    assert failed.value.code in ("model_refused", "model_content_filter")


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("refused", ["none", "json_schema json_object"])
async def test_an_answer_in_the_reasoning_is_read(
    server: Server, sandbox: SandboxClient, field: str, refused: str
) -> None:
    """Some servers put the whole answer there and leave the content empty."""
    sandbox.fault("llm_refused_formats", forms=refused, style="openai")
    sandbox.fault("llm_reasoning_only", field=field)

    assert (await server.ask()).fits


@pytest.mark.parametrize("usage", ["null", "{}", '{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}', ""])
async def test_missing_usage_is_estimated(server: Server, sandbox: SandboxClient, usage: str) -> None:
    """An answer is counted by the length of its texts."""
    sandbox.fault("llm_usage", usage=usage) if usage else sandbox.fault("llm_no_usage")
    answer = await ask_structured(server.model, PROMPT, Screening)

    assert min(answer.input_tokens, answer.output_tokens) > 0


@pytest.mark.parametrize("status", [200, 201, 404])
async def test_a_page_instead_of_an_answer_names_the_base_url(
    server: Server, sandbox: SandboxClient, status: int
) -> None:
    """The error names the server and OPENAI_BASE_URL; it is no traceback."""
    sandbox.fault("llm_html_page", times=None, status=status)
    with pytest.raises(ProviderError) as failed:
        await server.ask()

    assert "127.0.0.1:" in failed.value.message
    assert "OPENAI_BASE_URL" in failed.value.message
    assert "<" not in failed.value.message


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "The model does not exist.", "code": "model_not_found"}}',
        '{"error": "model \\"x\\" not found, try pulling it first"}',
        '{"detail": "Not Found"}',
        '{"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}',
        "[]",
    ],
)
async def test_a_missing_model_is_named(server: Server, sandbox: SandboxClient, body: str) -> None:
    """The error names the server, the model and OPENAI_MODEL, and no JSON."""
    sandbox.fault("llm_model_missing", times=None, body=body)
    with pytest.raises(Refused) as failed:
        await server.ask()

    assert server.requests[-1]["model"] in failed.value.message
    assert "OPENAI_MODEL" in failed.value.message
    assert "{" not in failed.value.message
    assert len(server.requests) == 1


async def test_a_request_that_every_form_is_refused_fails_with_the_first_error(
    server: Server, sandbox: SandboxClient
) -> None:
    """Nothing is remembered of a server that takes no form."""
    sandbox.fault("llm_refused_formats", forms="json_schema json_object text", style="fastapi")
    with pytest.raises(Refused) as failed:
        await server.ask()

    assert "Extra inputs are not permitted" in failed.value.message
    assert form_of(server.model) == "json_schema"
    assert len(server.requests) == 3


async def test_a_form_that_is_refused_is_remembered_after_a_useless_answer(
    server: Server, sandbox: SandboxClient
) -> None:
    """What the server supports does not depend on what its model answers."""
    sandbox.fault("llm_refused_formats", forms="json_schema json_object", style="vllm")
    sandbox.fault("llm_wrapped", times=2, wrapping="no_json")
    with pytest.raises(AnswerError):
        await server.ask()
    before = len(server.requests)

    assert (await server.ask()).fits
    assert len(server.requests) == before + 1


async def test_every_question_has_a_token_limit(server: Server) -> None:
    """It is sent under the name that servers other than OpenAI's know."""
    await server.ask()
    await respond(server.model, [], [HumanMessage("Hello")], may_call_tools=True)

    assert [request.get("max_tokens") for request in server.requests] == [1000, 1000]
    assert all("max_completion_tokens" not in request for request in server.requests)


@pytest.mark.parametrize("question", ["chat", "structured"])
async def test_every_question_has_a_time_limit(
    new_server: Callable[..., Server], sandbox: SandboxClient, question: str
) -> None:
    """The error names the setting."""
    server = new_server(timeout=0.3)
    sandbox.fault("llm_slow", seconds=1.5)
    began = time.monotonic()
    hello = [HumanMessage("Hello")]
    with pytest.raises(Unavailable) as failed:
        await (respond(server.model, [], hello, may_call_tools=True) if question == "chat" else server.ask())

    assert time.monotonic() - began < 1.4
    assert "OPENAI_TIMEOUT_SECONDS" in failed.value.message


async def test_a_server_that_sends_a_byte_at_times_is_not_waited_for(new_server: Callable[..., Server]) -> None:
    """The limit is for the whole answer, not for each byte."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
        while not gone.is_set():
            writer.write(b" ")
            await asyncio.sleep(0.05)
        writer.close()

    gone = asyncio.Event()
    listening = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with httpx2.AsyncClient() as client:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await Server(url, client, [], timeout=0.5).ask()
        took = time.monotonic() - began
    gone.set()
    await asyncio.sleep(0.1)
    listening.close()
    await listening.wait_closed()

    assert took < 2


class Nothing(BaseModel):
    """A schema without any field."""


async def test_an_answer_without_json_is_invalid_twice(server: Server, sandbox: SandboxClient) -> None:
    """The error says so in words."""
    sandbox.fault("llm_wrapped", times=None, wrapping="no_json")
    with pytest.raises(AnswerError) as failed:
        await ask_structured(server.model, PROMPT, Nothing)

    assert failed.value.code == "model_answer_invalid"
