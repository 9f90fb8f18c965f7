"""`/v1/chat/completions`: with the official client, and with requests as chat clients send them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from openai import OpenAI

from storage.decision_chain import verify_chain
from tests.app import ANNA, BEN, App, SandboxClient
from tests.chat.conftest import LIM
from tests.chat.conversation import confirmation, decisions, run_in, start_at_gate

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def client(app: App) -> Iterator[OpenAI]:
    """The official client, which sends the id of its conversation."""
    chat = {"X-Conversation-Id": str(uuid4())}
    with OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, default_headers=chat, max_retries=0) as opened:
        yield opened


class Conversation:
    """A conversation of a chat client that sends all of it with every request."""

    def __init__(self, client: OpenAI) -> None:
        self.client = client
        self.messages: list[Any] = []

    def say(self, text: str, *, stream: bool = False) -> str:
        """Send a message, keep the answer and return it."""
        self.messages.append({"role": "user", "content": text})
        answer = self.answer(stream=stream)
        self.messages.append({"role": "assistant", "content": answer})
        return answer

    def answer(self, *, stream: bool = False) -> str:
        """Return the answer to the conversation."""
        if not stream:
            whole = self.client.chat.completions.create(model="supervisor", messages=self.messages)
            return str(whole.choices[0].message.content)
        with self.client.chat.completions.create(model="supervisor", messages=self.messages, stream=True) as chunks:
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    def regenerate(self) -> str:
        """Request another answer to the last message."""
        self.messages.pop()
        answer = self.answer()
        self.messages.append({"role": "assistant", "content": answer})
        return answer


@pytest.mark.slow
def test_from_an_idea_to_a_film(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """A whole conversation with the official client, some of it streamed."""
    chat = Conversation(client)
    ideas = chat.say("What videos should I make today?", stream=True)
    run_id = run_in(chat.say("Make the second one"))
    app.until(run_id, "awaiting_ideation_approval")
    assert "2. calm: " in ideas
    assert app.run(run_id)["project"] == "calm"

    sentence = confirmation(chat.say("Approve it", stream=True))
    assert decisions(app, run_id) == []
    assert chat.say(sentence).startswith("Approved")
    app.until(run_id, "awaiting_publish_approval")
    assert chat.say(confirmation(chat.say("Publish it")), stream=True).startswith("Approved")
    app.until(run_id, "completed")

    answer = chat.say("Where is my film?")
    assert f"Run {run_id} is completed" in answer
    assert [(d["verdict"], d["channel"]) for d in decisions(app, run_id)] == [("approve", "chat")] * 2
    link = re.search(r"http\S+signature=[0-9a-f]{64}", answer)
    assert link
    film = httpx.get(link[0], headers={"Range": "bytes=0-99"})
    assert (film.status_code, film.headers["content-type"], len(film.content)) == (206, "video/mp4", 100)


def test_a_regenerated_answer_is_not_another_run(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """Regenerated it is the same run; edited, or sent again later in the conversation, it is a new one."""
    chat = Conversation(client)
    chat.say("Hello")
    first = run_in(chat.say("Make a video about a kite for project tiny"))
    again = run_in(chat.regenerate())
    chat.say("Thank you")
    chat.say("Make a video about a kite for project tiny")
    later = run_in(chat.messages[-1]["content"])
    chat.messages[2]["content"] = "Make a video about a balloon for project tiny"
    del chat.messages[3:]
    edited = run_in(chat.answer())

    assert first == again
    assert len({first, later, edited}) == 3


def test_a_client_that_sends_the_end_of_a_long_conversation(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """With only four messages sent along, the same text later is a new message, and regenerated it is not."""
    chat, text = Conversation(client), "Make a video about a swan for project tiny"

    def say(message: str) -> str:
        chat.messages = chat.messages[-4:]
        return chat.say(message)

    first = run_in(say(text))
    for _ in range(3):
        say("Hello")
    second = run_in(say(text))
    again = run_in(chat.regenerate())
    for _ in range(3):
        say("Hello")
    third = run_in(say(text))
    answer = say("Where is my film?")

    assert second == again
    assert len({first, second, third}) == 3
    assert third in answer


def test_a_client_that_sends_one_message_at_a_time_only_reads_after_the_first(
    app: App, sandbox: SandboxClient, client: OpenAI
) -> None:
    """The session knows what the first message started; nothing tells later ones from requests of the client itself."""

    def say(message: str) -> str:
        return Conversation(client).say(message)

    run_id = run_in(say("Make a video about a tern for project tiny"))

    assert run_in(say("Make a video about a tern for project tiny")) == run_id  # repeated by the client
    assert run_id in say("Where is my film?")
    assert "I am the sandbox's language model" in say("Make a video about a gull for project tiny")


def test_a_confirmation_that_is_regenerated_counts_once(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """Another answer to the message with the code changes nothing."""
    run_id = start_at_gate(app)
    chat = Conversation(client)
    chat.say(f"How is run {run_id}?")
    chat.say(confirmation(chat.say("Approve it")))

    assert "used already" in chat.regenerate()
    assert len(decisions(app, run_id)) == 1


def test_without_a_conversation_id_there_are_only_read_only_tools(app: App, sandbox: SandboxClient) -> None:
    """The supervisor reports on runs, but starts none, and prepares and confirms no decision."""
    run_id, before = start_at_gate(app), len(app.rows("select 1 from runs"))
    with OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, max_retries=0) as client:
        chat = Conversation(client)
        assert "awaiting ideation approval" in chat.say(f"How is run {run_id}?")
        assert "I am the sandbox's language model" in chat.say("Make a video about a goat for project tiny")
        assert "send exactly" not in chat.say("Approve it")
        with pytest.raises(openai.BadRequestError):
            chat.say("approve K7Q2")

    assert len(app.rows("select 1 from runs")) == before
    assert app.rows("select 1 from pending_confirmations where run_id = %s", run_id) == []


@pytest.mark.parametrize("name", ["", "null", "new", "{{LIBRECHAT_BODY_CONVERSATIONID}}"])
def test_a_placeholder_is_no_conversation_id(app: App, sandbox: SandboxClient, name: str) -> None:
    """People whose clients send a placeholder do not share a session."""
    with OpenAI(
        base_url=f"{app.url}/v1", api_key=ANNA, default_headers={"X-Conversation-Id": name}, max_retries=0
    ) as client:
        answer = Conversation(client).say("Make a video about an owl for project tiny")

    assert "I am the sandbox's language model" in answer


def test_a_conversation_with_another_model_is_known(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """A conversation that switches to the supervisor brings its messages along, without codes."""
    chat = Conversation(client)
    chat.messages = [
        {"role": "user", "content": "Ideas?"},
        {
            "role": "assistant",
            "content": "1. tiny: A quiet harbour\n2. tiny: A loud harbour\nsend exactly: approve K7Q2",
        },
    ]
    run = app.run(run_in(chat.say("Make the first one")))

    assert (run["project"], run["brief"]) == ("tiny", "A quiet harbour")


@pytest.mark.parametrize("client_name", ["open_webui", "librechat"])
def test_requests_as_chat_clients_send_them(app: App, sandbox: SandboxClient, client_name: str) -> None:
    """Unknown fields are ignored, content in parts is read, and side requests start no run."""
    recorded = (RECORDED / f"{client_name}.json").read_text()
    about, chat = f"a heron {uuid4().hex[:6]}", str(uuid4())
    requests = json.loads(recorded.replace("{key}", ANNA).replace("{chat}", chat).replace("{about}", about))
    headers = requests["chat"]["headers"]

    def send(name: str) -> httpx.Response:
        return httpx.post(f"{app.url}/v1/chat/completions", json=requests[name]["body"], headers=headers, timeout=30)

    answer = send("chat")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events[:-1]]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert events[-1] == "[DONE]"
    run_id = run_in("".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]))

    for name in set(requests) - {"chat"}:
        side_answer = send(name)
        assert side_answer.status_code == 200
        assert side_answer.json()["choices"][0]["message"]["content"]
    rows = app.rows("select id from runs where brief ilike %s", f"%{about}%")
    assert [str(row["id"]) for row in rows] == [run_id]


def test_there_are_two_models(app: App, client: OpenAI) -> None:
    """One with tools and one without; any other is not found."""
    assert [model.id for model in client.models.list()] == ["supervisor", "utility"]
    assert client.models.retrieve("utility").owned_by == "myloware"
    for call in (
        lambda: client.models.retrieve("gpt-5"),
        lambda: client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "Hello"}]),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_is_limited(app: App, client: OpenAI, stream: bool) -> None:
    """It ends before a stop sequence, which may come in several pieces, or at about so many tokens, and says which."""

    def ask(**limits: Any) -> tuple[str, str]:
        question: list[Any] = [{"role": "user", "content": "What projects are there?"}]
        answer = client.chat.completions.create(model="supervisor", messages=question, stream=stream, **limits)
        if not stream:
            [choice] = answer.choices
            return choice.message.content, choice.finish_reason
        chunks = [chunk.choices[0] for chunk in answer]
        return "".join(chunk.delta.content or "" for chunk in chunks), chunks[-1].finish_reason

    whole, reason = ask(tools=[{"type": "function", "function": {"name": "search"}}], tool_choice="auto", n=1)
    stop = whole[30:45]

    assert reason == "stop"
    assert ask(stop=[stop, "never said"]) == (whole[: whole.index(stop)], "stop")
    assert ask(max_tokens=5) == (whole[:20], "length")
    assert ask(max_completion_tokens=10_000, stop="") == (whole, "stop")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "search"}}),
        ("response_format", {"type": "json_object"}),
        ("max_tokens", 0),
    ],
)
def test_what_would_change_the_meaning_is_refused(app: App, client: OpenAI, name: str, value: Any) -> None:
    """The refusal names the field, and nothing is done."""
    before = len(app.rows("select 1 from runs"))
    messages: Any = [{"role": "user", "content": "Make a video about fog"}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="supervisor", messages=messages, extra_body={name: value})

    assert caught.value.code == "invalid_request"
    assert name in caught.value.message
    assert len(app.rows("select 1 from runs")) == before


def test_a_message_can_be_as_long_as_a_file(app: App, client: OpenAI) -> None:
    """A client pastes files into a message: 100,000 characters are read, and more are refused in words."""
    message = "What projects are there?"
    for text in ("ä" * 50_000, "\u0001" * 50_000):
        long: Any = [{"role": "user", "content": f"{message} <context>{text}</context>"}]
        assert client.chat.completions.create(model="supervisor", messages=long).choices[0].message.content
    too_long: Any = [{"role": "user", "content": "W" * 100_001}]
    with pytest.raises(openai.BadRequestError, match="1 to 100,000 characters"):
        client.chat.completions.create(model="supervisor", messages=too_long)
    body = {"message": f"{message} {'ä' * 99_000}"}
    assert app.client.post("/v1/chat/supervisor", json=body).status_code == 200


def test_the_utility_model_has_no_tools(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """It answers requests for titles, and starts no run."""
    before = len(app.rows("select 1 from runs"))
    messages: Any = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Make a video about fog"}]
    answer = client.chat.completions.create(model="utility", messages=messages)

    assert answer.choices[0].message.content
    assert len(app.rows("select 1 from runs")) == before


def test_an_api_key_is_required(app: App) -> None:
    """Errors have the shape that the official client expects."""
    with OpenAI(base_url=f"{app.url}/v1", api_key="wrong", max_retries=0) as client:
        for call in (
            client.models.list,
            lambda: client.chat.completions.create(model="supervisor", messages=[]),
        ):
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            assert (caught.value.code, caught.value.type) == ("invalid_api_key", "authentication_error")
    missing = httpx.get(f"{app.url}/v1/models")

    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "missing_api_key")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "supervisor", "messages": []},
        {"model": "supervisor", "messages": [{"role": "user", "content": ""}]},
        {"model": "supervisor", "messages": [{"role": "user", "content": "x" * 100_001}]},
        {"model": "supervisor", "messages": [{"role": "assistant", "content": "Hello"}]},
        {"model": "utility", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        {"model": "supervisor", "messages": "Hello"},
    ],
    ids=["empty", "no messages", "no text", "too long", "of the assistant", "an image", "no list"],
)
def test_an_invalid_request_is_refused(app: App, body: dict[str, Any]) -> None:
    """With 400, in OpenAI's shape."""
    answer = httpx.post(
        f"{app.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {ANNA}"}, timeout=30
    )

    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.slow
def test_an_unavailable_model_is_an_error(app: App, sandbox: SandboxClient, client: OpenAI, stream: bool) -> None:
    """503 before the first event, and an error event in a stream; the next attempt continues the conversation."""
    sandbox.fault("llm_500_html", times=None)  # runs of other tests may use the model too
    chat = Conversation(client)
    with pytest.raises(openai.APIError) as caught:
        chat.say("What projects are there?", stream=stream)
    assert caught.value.code == "model_unavailable"
    sandbox.clear()

    assert "tiny" in chat.answer(stream=stream)


def test_a_key_without_permission_cannot_decide(app: App, sandbox: SandboxClient) -> None:
    """Nor can it use the code of a key that can."""
    chat = {"X-Conversation-Id": str(uuid4())}
    run_id = start_at_gate(app)
    with (
        OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, default_headers=chat, max_retries=0) as anna,
        OpenAI(base_url=f"{app.url}/v1", api_key=LIM, default_headers=chat, max_retries=0) as lim,
    ):
        hers, theirs = Conversation(anna), Conversation(lim)
        hers.say(f"How is run {run_id}?")
        sentence = confirmation(hers.say("Approve it"))
        theirs.say(f"How is run {run_id}?")
        assert "lacks approval permission" in theirs.say("Approve it")
        with pytest.raises(openai.PermissionDeniedError) as caught:
            theirs.say(sentence)

    assert caught.value.code == "approval_not_permitted"
    assert decisions(app, run_id) == []


def test_one_conversation_id_of_two_keys_is_two_conversations(app: App, sandbox: SandboxClient) -> None:
    """The same id, sent with another API key, names another session."""
    chat = {"X-OpenWebUI-Chat-Id": "the-same"}
    run_id = start_at_gate(app)
    with (
        OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, default_headers=chat, max_retries=0) as anna,
        OpenAI(base_url=f"{app.url}/v1", api_key=BEN, default_headers=chat, max_retries=0) as ben,
    ):
        Conversation(anna).say(f"How is run {run_id}?")
        answer = Conversation(ben).say("Where is my film?")

    assert run_id not in answer.split("\n")[0]
    assert answer.startswith("There are") or "Run" in answer


def test_the_record_keeps_who_the_client_claims_spoke(app: App, sandbox: SandboxClient) -> None:
    """Run, decision, event and history name the API key, and the user of the client as its claim."""
    headers = {
        "X-OpenWebUI-Chat-Id": str(uuid4()),
        "X-OpenWebUI-User-Name": "Ren%C3%A9e Zo%C3%AB%00",
        "X-OpenWebUI-User-Email": "renee@example.org",
        "X-OpenWebUI-User-Id": "5f0e",
    }
    claimed = {"id": "5f0e", "name": "Renée Zoë", "email": "renee@example.org"}
    with OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, default_headers=headers, max_retries=0) as opened:
        chat = Conversation(opened)
        run_id = run_in(chat.say("Make a video about a heron for project tiny"))
        app.until(run_id, "awaiting_ideation_approval")
        sentence = confirmation(chat.say("Approve it"))
        # The key decides, whoever the client says is speaking.
        other = opened.with_options(default_headers={**headers, "X-OpenWebUI-User-Name": "Ben"})
        chat.client = other
        answer = chat.say(sentence)

    assert answer.startswith("Approved by settings key 1: ")
    [run] = app.rows("select claimed_user, actor_name from runs where id = %s", run_id)
    [decision] = app.rows("select claimed_user, actor_name from decisions where run_id = %s", run_id)
    assert (run["claimed_user"], run["actor_name"]) == (claimed, "settings key 1")
    assert (decision["claimed_user"], decision["actor_name"]) == ({**claimed, "name": "Ben"}, "settings key 1")
    entries = app.client.get(f"/v1/runs/{run_id}/history").json()["entries"]
    start, decided = (next(entry for entry in entries if entry["kind"] == kind) for kind in ("start", "decision"))
    assert start["actor"]["claimed_user"] == claimed
    assert decided["text"].endswith("was approved by settings key 1, for Ben as its client claims.")
    assert app.in_loop(verify_chain(app.state.services.db)) == []


@pytest.mark.parametrize("value", ["", "%00", "%0A%1b[31m", "x" * 5000], ids=["empty", "NUL", "control", "long"])
def test_an_odd_claim_is_harmless(app: App, value: str) -> None:
    """What cannot be printed is left out, and a long text is cut."""
    headers = {"Authorization": f"Bearer {ANNA}", "X-OpenWebUI-User-Name": value, "X-OpenWebUI-Chat-Id": str(uuid4())}
    message = {"role": "user", "content": f"Make a video about a stork {uuid4().hex} for project tiny"}
    body = {"model": "supervisor", "messages": [message]}
    answer = httpx.post(f"{app.url}/v1/chat/completions", json=body, headers=headers, timeout=30)
    run_id = run_in(answer.json()["choices"][0]["message"]["content"])
    [run] = app.rows("select claimed_user from runs where id = %s", run_id)

    assert run["claimed_user"] == ({"name": "x" * 200} if len(value) > 200 else None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["supervisor", "utility"])
@pytest.mark.slow
def test_a_lost_client_ends_the_request(app: App, sandbox: SandboxClient, model: str, stream: bool) -> None:
    """The model is not waited for when nobody waits for its answer; the next message is answered."""
    settled = "select key from orders where key like 'chat:%%' and state = 'settled' order by key"
    before = app.rows(settled)
    sandbox.fault("llm_slow", seconds=2.5)
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    headers = {"X-API-Key": app.client.headers["X-API-Key"], "X-Conversation-Id": str(uuid4())}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{app.url}/v1/chat/completions", json=body, headers=headers, timeout=0.5)
    time.sleep(3.0)

    assert app.rows(settled) == before
    assert httpx.post(f"{app.url}/v1/chat/completions", json=body, headers=headers, timeout=30).status_code == 200
    assert len(app.rows(settled)) == len(before) + 1
