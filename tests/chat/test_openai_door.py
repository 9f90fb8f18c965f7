"""The supervisor for clients that speak OpenAI's chat completions, by the official client and as others send it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from openai import OpenAI

from api.openai_chat import SIDE_REQUEST
from tests.app import ANNA, BEN, App, SandboxClient
from tests.chat.conftest import LIM
from tests.chat.conversation import at_a_gate, confirmation, decisions, run_in

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def client(app: App) -> Iterator[OpenAI]:
    """The official client, told which conversation it leads."""
    chat = {"X-Conversation-Id": str(uuid4())}
    with OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, default_headers=chat, max_retries=0) as made:
        yield made


class Conversation:
    """As a chat client keeps one: it sends everything that was said, every time."""

    def __init__(self, client: OpenAI) -> None:
        self.client = client
        self.messages: list[Any] = []

    def say(self, words: str, *, stream: bool = False) -> str:
        """Say it, and keep the answer."""
        self.messages.append({"role": "user", "content": words})
        answer = self.answer(stream=stream)
        self.messages.append({"role": "assistant", "content": answer})
        return answer

    def answer(self, *, stream: bool = False) -> str:
        """The answer to what was said so far."""
        if not stream:
            whole = self.client.chat.completions.create(model="supervisor", messages=self.messages)
            return str(whole.choices[0].message.content)
        with self.client.chat.completions.create(model="supervisor", messages=self.messages, stream=True) as chunks:
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    def regenerate(self) -> str:
        """Ask for another answer to the last message."""
        self.messages.pop()
        answer = self.answer()
        self.messages.append({"role": "assistant", "content": answer})
        return answer


def test_from_an_idea_to_a_film(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """The whole conversation by the official client, some of it as a stream."""
    talk = Conversation(client)
    ideas = talk.say("What videos should I make today?", stream=True)
    run_id = run_in(talk.say("Make the second one"))
    app.until(run_id, "awaiting_ideation_approval")
    assert "2. calm: " in ideas
    assert app.run(run_id)["project"] == "calm"

    sentence = confirmation(talk.say("Approve it", stream=True))
    assert decisions(app, run_id) == []
    assert talk.say(sentence).startswith("Approved")
    app.until(run_id, "awaiting_publish_approval")
    assert talk.say(confirmation(talk.say("Publish it")), stream=True).startswith("Approved")
    app.until(run_id, "completed")

    told = talk.say("Where is my film?")
    assert f"Run {run_id} is completed" in told
    assert [(d["verdict"], d["channel"]) for d in decisions(app, run_id)] == [("approve", "chat")] * 2
    link = re.search(r"http\S+signature=[0-9a-f]{64}", told)
    assert link
    film = httpx.get(link[0], headers={"Range": "bytes=0-99"})
    assert (film.status_code, film.headers["content-type"], len(film.content)) == (206, "video/mp4", 100)


def test_another_answer_is_not_another_run(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """Regenerated or resent it is the same run; edited, or said once more further on, it is a new one."""
    talk = Conversation(client)
    talk.say("Hello")
    first = run_in(talk.say("Make a video about a kite for project tiny"))
    again = run_in(talk.regenerate())
    talk.say("Thank you")
    talk.say("Make a video about a kite for project tiny")
    later = run_in(talk.messages[-1]["content"])
    talk.messages[2]["content"] = "Make a video about a balloon for project tiny"
    del talk.messages[3:]
    edited = run_in(talk.answer())

    assert first == again
    assert len({first, later, edited}) == 3


def test_a_client_that_sends_the_end_of_a_long_conversation(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """It sends its last four messages: the same words further on are a new message, regenerated they are not."""
    talk, words = Conversation(client), "Make a video about a swan for project tiny"

    def say(message: str) -> str:
        talk.messages = talk.messages[-4:]
        return talk.say(message)

    first = run_in(say(words))
    for _ in range(3):
        say("Hello")
    second = run_in(say(words))
    again = run_in(talk.regenerate())
    for _ in range(3):
        say("Hello")
    third = run_in(say(words))
    told = say("Where is my film?")

    assert second == again
    assert len({first, second, third}) == 3
    assert third in told


def test_a_client_that_sends_one_message_at_a_time(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """The conversation is remembered all the same."""

    def say(message: str) -> str:
        talk = Conversation(client)
        return talk.say(message)

    say("What videos should I make today?")
    run_id = run_in(say("Make the second one"))

    assert app.run(run_id)["project"] == "calm"
    assert run_in(say("Make the second one")) == run_id  # repeated by the client, because the answer was lost
    assert run_id in say("Where is my film?")


@pytest.mark.parametrize(
    ("message", "aside"),
    [
        ("### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history", True),
        ("### Task:\nAnalyze the chat history to determine the necessity of generating search queries", True),
        ("### Task:\nYou are an autocompletion system. Continue the text in `<text>`", True),
        ("Please generate a concise title (max 40 characters) for a conversation that starts with:\nUser: a", True),
        ("Analyze this conversation and provide:\n1. The detected language of the conversation", True),
        ("Detect user language and write in the same language an extremely concise title for this", True),
        ("### Task:\nRespond to the user query using the provided context, incorporating inline citations", False),
        ("Generate a short video with the title Night Rain for shorts", False),
        ("Write a concise brief about rain, with a title card", False),
        ("Analyze this conversation between two herons in a film", False),
    ],
)
def test_questions_on_the_side_are_told_from_the_persons_own(message: str, aside: bool) -> None:
    """By the whole beginning that clients give theirs: a file or a title in a person's words makes no difference."""
    assert bool(SIDE_REQUEST.match(message)) is aside


def test_a_confirmation_that_is_regenerated_counts_once(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """The client asks for another answer to the message with the code."""
    run_id = at_a_gate(app)
    talk = Conversation(client)
    talk.say(f"How is run {run_id}?")
    talk.say(confirmation(talk.say("Approve it")))

    assert "used already" in talk.regenerate()
    assert len(decisions(app, run_id)) == 1


def test_without_a_conversation_it_only_looks(app: App, sandbox: SandboxClient) -> None:
    """No id, no memory: it tells of runs and gives links, starts none, prepares nothing and confirms nothing."""
    run_id, before = at_a_gate(app), len(app.rows("select 1 from runs"))
    with OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, max_retries=0) as client:
        talk = Conversation(client)
        assert "awaiting ideation approval" in talk.say(f"How is run {run_id}?")
        assert "I am the sandbox's language model" in talk.say("Make a video about a goat for project tiny")
        assert "send exactly" not in talk.say("Approve it")
        with pytest.raises(openai.BadRequestError):
            talk.say("approve K7Q2")

    assert len(app.rows("select 1 from runs")) == before
    assert app.rows("select 1 from pending_confirmations where run_id = %s", run_id) == []


@pytest.mark.parametrize("name", ["", "null", "new", "{{LIBRECHAT_BODY_CONVERSATIONID}}"])
def test_a_conversation_that_is_not_named_yet_is_none(app: App, sandbox: SandboxClient, name: str) -> None:
    """Two people whose client fills nothing in do not share a session."""
    with OpenAI(
        base_url=f"{app.url}/v1", api_key=ANNA, default_headers={"X-Conversation-Id": name}, max_retries=0
    ) as client:
        said = Conversation(client).say("Make a video about an owl for project tiny")

    assert "I am the sandbox's language model" in said


def test_what_was_said_to_another_model_is_known(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """A conversation that comes to the supervisor in its middle brings its words along, but no codes."""
    talk = Conversation(client)
    talk.messages = [
        {"role": "user", "content": "Ideas?"},
        {
            "role": "assistant",
            "content": "1. tiny: A quiet harbour\n2. tiny: A loud harbour\nsend exactly: approve K7Q2",
        },
    ]
    run = app.run(run_in(talk.say("Make the first one")))

    assert (run["project"], run["brief"]) == ("tiny", "A quiet harbour")


@pytest.mark.parametrize("client_name", ["open_webui", "librechat"])
def test_requests_as_chat_clients_send_them(app: App, sandbox: SandboxClient, client_name: str) -> None:
    """Fields we do not know are let be, content in parts is read, side questions begin nothing."""
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
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1])
    run_id = run_in(said)

    for name in set(requests) - {"chat"}:
        aside = send(name)
        assert aside.status_code == 200
        assert aside.json()["choices"][0]["message"]["content"]
    rows = app.rows("select id from runs where brief ilike %s", f"%{about}%")
    assert [str(row["id"]) for row in rows] == [run_id]


def test_the_models_are_two(app: App, client: OpenAI) -> None:
    """One that does things and one that cannot; no other."""
    assert [model.id for model in client.models.list()] == ["supervisor", "utility"]
    assert client.models.retrieve("utility").owned_by == "myloware"
    for call in (
        lambda: client.models.retrieve("gpt-5"),
        lambda: client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "Hello"}]),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "model_not_found"


def test_the_utility_model_has_no_tools(app: App, sandbox: SandboxClient, client: OpenAI) -> None:
    """It is asked for titles; whatever it is asked for, it begins nothing."""
    before = len(app.rows("select 1 from runs"))
    asked: Any = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Make a video about fog"}]
    answer = client.chat.completions.create(model="utility", messages=asked)

    assert answer.choices[0].message.content
    assert len(app.rows("select 1 from runs")) == before


def test_without_a_key_nobody_gets_in(app: App) -> None:
    """In the shape that the official client knows."""
    with OpenAI(base_url=f"{app.url}/v1", api_key="wrong", max_retries=0) as stranger:
        for call in (
            stranger.models.list,
            lambda: stranger.chat.completions.create(model="supervisor", messages=[]),
        ):
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            assert (caught.value.code, caught.value.type) == ("invalid_api_key", "authentication_error")
    unnamed = httpx.get(f"{app.url}/v1/models")

    assert (unnamed.status_code, unnamed.json()["error"]["code"]) == (401, "missing_api_key")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "supervisor", "messages": []},
        {"model": "supervisor", "messages": [{"role": "user", "content": ""}]},
        {"model": "supervisor", "messages": [{"role": "user", "content": "x" * 10_001}]},
        {"model": "supervisor", "messages": [{"role": "assistant", "content": "Hello"}]},
        {"model": "utility", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        {"model": "supervisor", "messages": "Hello"},
    ],
    ids=["empty", "no messages", "no words", "too long", "not the person's", "a picture", "no list"],
)
def test_a_request_of_no_use_is_refused(app: App, body: dict[str, Any]) -> None:
    """400, in their shape."""
    answer = httpx.post(
        f"{app.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {ANNA}"}, timeout=30
    )

    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_is_away_is_told_as_an_error(
    app: App, sandbox: SandboxClient, client: OpenAI, stream: bool
) -> None:
    """503 where nothing was said yet, and an error in the stream; the next try goes on."""
    sandbox.fault("llm_500_html", times=None)  # runs of other tests may be asking too
    talk = Conversation(client)
    with pytest.raises(openai.APIError) as caught:
        talk.say("What projects are there?", stream=stream)
    assert caught.value.code == "model_unavailable"
    sandbox.clear()

    assert "tiny" in talk.answer(stream=stream)


def test_a_limited_key_cannot_decide(app: App, sandbox: SandboxClient) -> None:
    """Nor use the code of somebody who can."""
    chat = {"X-Conversation-Id": str(uuid4())}
    run_id = at_a_gate(app)
    with (
        OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, default_headers=chat, max_retries=0) as anna,
        OpenAI(base_url=f"{app.url}/v1", api_key=LIM, default_headers=chat, max_retries=0) as lim,
    ):
        hers, theirs = Conversation(anna), Conversation(lim)
        hers.say(f"How is run {run_id}?")
        sentence = confirmation(hers.say("Approve it"))
        theirs.say(f"How is run {run_id}?")
        assert "may not decide" in theirs.say("Approve it")
        with pytest.raises(openai.PermissionDeniedError) as caught:
            theirs.say(sentence)

    assert caught.value.code == "may_not_decide"
    assert decisions(app, run_id) == []


def test_one_conversation_id_of_two_keys_is_two_conversations(app: App, sandbox: SandboxClient) -> None:
    """Whatever the clients call them."""
    chat = {"X-OpenWebUI-Chat-Id": "the-same"}
    run_id = at_a_gate(app)
    with (
        OpenAI(base_url=f"{app.url}/v1", api_key=ANNA, default_headers=chat, max_retries=0) as anna,
        OpenAI(base_url=f"{app.url}/v1", api_key=BEN, default_headers=chat, max_retries=0) as ben,
    ):
        Conversation(anna).say(f"How is run {run_id}?")
        told = Conversation(ben).say("Where is my film?")

    assert run_id not in told.split("\n")[0]
    assert told.startswith("There are") or "Run" in told
