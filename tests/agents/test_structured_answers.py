"""The answer of a model is complete and valid, or it is an error: tested with the model of the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict

from agents.roles import (
    Caption,
    ideate,
    read_comment,
    rewrite_shot,
    screen_brief,
    shot_prompt,
    with_correlation_tag,
    without_correlation_tag,
    write_caption,
)
from agents.structured import AnswerError, ask_structured, check_complete
from agents.texts import Idea, clean_text
from prompts.project import FOLDER, read_project
from prompts.templates import Prompt
from providers.base import ProviderError, Refused, Unavailable
from providers.chat_models import chat_model
from providers.orders import OrderKey
from tests.app import SandboxClient

AISMR, SHORTS = (read_project(FOLDER / f"{name}.md") for name in ("aismr", "shorts"))
IDEA = Idea(title="Leaf", scene="A leaf in the rain.", sound="Rain.", overlay="Stay")


class Screening(BaseModel):
    """A schema that the sandbox has a rule for."""

    model_config = ConfigDict(extra="forbid")

    fits: bool
    reason: str


PROMPT = Prompt("You decide.", "Does it fit?\n<brief>\nRain on a roof\n</brief>")


@pytest.fixture
async def model(sandbox: SandboxClient) -> AsyncIterator[BaseChatModel]:
    async with httpx2.AsyncClient() as client:
        yield chat_model(
            base_url=f"{sandbox.url}/v1",
            api_key="any",
            model=f"sandbox-{uuid4()}",  # the process remembers what a model needs
            http_async_client=client,
            timeout=10,
            max_tokens=2000,
            max_retries=0,
        )


async def test_a_complete_answer_is_typed_and_its_tokens_are_counted(model: BaseChatModel) -> None:
    """The value has the type of the schema, and the tokens are those of the request."""
    answer = await ask_structured(model, PROMPT, Screening)

    assert (type(answer.value), answer.value.fits) == (Screening, True)
    assert answer.input_tokens > 0
    assert answer.output_tokens > 0


@pytest.mark.parametrize("fault", ["llm_invalid_json", "llm_wrong_schema"])
async def test_an_invalid_answer_is_repaired_once(model: BaseChatModel, sandbox: SandboxClient, fault: str) -> None:
    """The second answer counts, with the tokens of both."""
    alone = await ask_structured(model, PROMPT, Screening)
    sandbox.fault(fault)
    repaired = await ask_structured(model, PROMPT, Screening)

    assert repaired.value == alone.value
    assert repaired.input_tokens > 2 * alone.input_tokens
    assert sandbox.client.get("/sandbox/faults").json()["faults"] == []


@pytest.mark.parametrize("fault", ["llm_invalid_json", "llm_wrong_schema"])
async def test_two_invalid_answers_are_an_error(model: BaseChatModel, sandbox: SandboxClient, fault: str) -> None:
    """The error names the faults, and there is no third request."""
    sandbox.fault(fault, times=3)
    with pytest.raises(AnswerError) as failed:
        await ask_structured(model, PROMPT, Screening)

    assert failed.value.code == "model_answer_invalid"
    assert failed.value.message.startswith("The model's answer was invalid twice: ")
    assert [fault["times"] for fault in sandbox.client.get("/sandbox/faults").json()["faults"]] == [1]


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("llm_cut_stream", Unavailable, "model_unavailable"),
        ("llm_length", Refused, "model_answer_too_long"),
        ("llm_content_filter", Refused, "model_content_filter"),
        ("llm_refusal", AnswerError, "model_refused"),
        ("llm_429", Unavailable, "model_rate_limited"),
        ("llm_500_html", Unavailable, "model_unavailable"),
    ],
)
async def test_an_unusable_answer_is_an_error(
    model: BaseChatModel, sandbox: SandboxClient, fault: str, kind: type[ProviderError], code: str
) -> None:
    """A truncated, withheld, refused or missing answer is an error with a code, after one request only."""
    sandbox.fault(fault)
    with pytest.raises(kind) as failed:
        await ask_structured(model, PROMPT, Screening)

    assert (type(failed.value), failed.value.code) == (kind, code)
    assert failed.value.message.endswith(".")
    assert (await ask_structured(model, PROMPT, Screening)).value.fits


@pytest.mark.parametrize(
    ("metadata", "extra", "code"),
    [
        ({"finish_reason": "stop"}, {}, None),
        ({"finish_reason": "tool_calls"}, {}, None),
        ({"finish_reason": "length"}, {}, "model_answer_cut"),
        ({"finish_reason": None}, {}, "model_answer_cut"),
        ({}, {}, "model_answer_cut"),
        ({"finish_reason": "content_filter"}, {}, "model_refused"),
        ({"finish_reason": "stop"}, {"refusal": "No."}, "model_refused"),
    ],
)
def test_only_a_complete_answer_passes(metadata: dict[str, Any], extra: dict[str, Any], code: str | None) -> None:
    """An answer that ended without a finish reason was truncated, even if its text is valid."""
    answer = AIMessage("{}", response_metadata=metadata, additional_kwargs=extra)
    if code is None:
        check_complete(answer)
        return
    with pytest.raises(AnswerError) as failed:
        check_complete(answer)
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [(" a\x00b ", "ab"), ("a\ud800b", "a?b"), ("\u00e4\U0001f327", "\u00e4\U0001f327"), ("\x00", "")],
)
def test_text_becomes_storable(text: str, cleaned: str) -> None:
    """It has no NUL, no lone surrogate and no outer white space."""
    assert clean_text(text) == cleaned


async def test_there_is_an_idea_for_every_subject(model: BaseChatModel) -> None:
    """As many as the project has clips, one for each sign of the zodiac, in order."""
    ideas = (await ideate(model, AISMR, "A calm night")).value.ideas

    assert [idea.title.split(":")[0] for idea in ideas] == AISMR.subjects


async def test_a_comment_changes_the_ideas(model: BaseChatModel) -> None:
    """The model receives the comment and the earlier revision."""
    before = (await ideate(model, SHORTS, "Rain")).value
    history = [{"revision": 1, "ideas": [idea.title for idea in before.ideas], "comment": "Make it snow"}]
    after = (await ideate(model, SHORTS, "Rain", history=history, comment="Make it snow")).value  # type: ignore[arg-type]

    assert (len(after.ideas), after.ideas != before.ideas) == (3, True)


async def test_captions_without_a_font_are_english(
    model: BaseChatModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sandbox's model is told that Japanese and Arabic cannot be drawn, answers in English, and says so."""
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    for brief, language in (("雨の京都", "Japanese"), ("فيديو عن القهوة", "Arabic")):
        film = (await ideate(model, SHORTS, brief)).value

        assert film.ideas[0].title.endswith(f" (English captions: no font draws {language})")
        assert all(idea.overlay.replace("’", "").isascii() for idea in film.ideas)


async def test_the_other_agents_return_their_types(model: BaseChatModel) -> None:
    """They return a screening, a route and a caption."""
    assert (await screen_brief(model, SHORTS, "Rain on a roof")).value.fits
    assert not (await screen_brief(model, SHORTS, "Something #unfit")).value.fits
    [change] = (await read_comment(model, [IDEA, IDEA], "Clip 2 again, please")).value.changes
    assert (change.step, change.clips) == ("clips", [2])
    first = (await write_caption(model, "Rain", "Rain", [IDEA])).value
    second = (await write_caption(model, "Rain", "Rain", [IDEA], previous=first.caption, comment="Another one")).value
    assert "#ai" in first.hashtags
    assert second.caption != first.caption


@pytest.mark.parametrize(
    ("answer", "hashtags"),
    [
        (["rain", "#calm"], ["#rain", "#calm"]),
        ("#rain #calm, lo-fi", ["#rain", "#calm", "#lofi"]),
        (["#lo-fi", "#rock'n'roll"], ["#lofi", "#rocknroll"]),
        (["#हिन्दी", "#தமிழ்", "#می\u200cخواهم"], ["#हिन्दी", "#தமிழ்", "#می\u200cخواهم"]),
        (["#cafe\u0301", "#café", "#CAFÉ"], ["#café"]),
        (["#a b", "#c#d", "#e\n", "#"], ["#a", "#b", "#c", "#d", "#e"]),
        (["#❤️", "#❤️rain", "#\u200d"], ["#rain"]),
        ([f"#t{n}" for n in range(12)], [f"#t{n}" for n in range(12)]),
        (["#" + "a" * 101], ["#" + "a" * 100]),
        (["#rain", 7, None], ["#rain"]),
        ([], []),
        (None, []),
        ({"tag": "#rain"}, []),
    ],
    ids=str,
)
def test_hashtags_of_any_form_are_read(answer: Any, hashtags: list[str]) -> None:
    """A model's hashtags never invalidate its caption: each is one word of letters, marks, digits and joiners."""
    read = Caption.model_validate({"caption": "Rain.", "hashtags": answer})

    assert read.hashtags == hashtags
    assert Caption.model_validate({"caption": "Rain."}).hashtags == []


def test_the_prompt_of_a_clip_is_built_without_a_model() -> None:
    """It contains the idea, the direction and the reviewer's note word for word, and a tag in its last line."""
    words = shot_prompt(SHORTS, IDEA)

    assert words.startswith("A leaf in the rain.\n\nSound: Rain.\n\nStyle: A vertical short")
    assert "Brighter" in shot_prompt(SHORTS, IDEA, "Brighter")
    assert with_correlation_tag(words, OrderKey("run", "clip", 1, 1)).startswith(words)
    assert with_correlation_tag(words, OrderKey("run", "clip", 1, 1)) != with_correlation_tag(
        words, OrderKey("run", "clip", 1, 2)
    )
    assert "-1-1," in with_correlation_tag(words, OrderKey("run", "clip", 1, 1)).splitlines()[-1]
    assert without_correlation_tag(with_correlation_tag(words, OrderKey("run", "clip", 1, 1))) == words


async def test_a_refused_prompt_is_rewritten(model: BaseChatModel) -> None:
    """The new prompt is for the same idea, in other words."""
    words = shot_prompt(SHORTS, IDEA)
    again = (await rewrite_shot(model, words, "It was blocked by moderation.")).value.prompt

    assert again
    assert again != with_correlation_tag(words, OrderKey("run", "clip", 1, 1))
