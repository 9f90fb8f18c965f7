"""What a newcomer says to the sandbox's supervisor: the right tool, or “I did not understand”; never a wrong action."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.completions import Function, Message, ModelReply
from sandbox.supervisor_dialogue import SUGGESTIONS, build_reply

RAIN, SNOW, OTHER = (f"{n}e6f1d2c-1111-4222-8333-123456789abc" for n in range(3))
CHANGING = ("start_run", "fork_run", "prepare_decision", "prepare_retry", "create_review_link", "cancel_run")
READING = (
    "list_projects",
    "get_planning_facts",
    "list_runs",
    "get_run",
    "list_reviews",
    "get_review",
    "get_costs",
    "get_media_link",
)
TOOLS = [Function(name=name) for name in (*CHANGING, *READING)]

#: The last answers of a conversation, by the state of its runs.
STATES: dict[str, list[str]] = {
    "new": [],
    "suggestions": [
        f"Suggestions:\n1. aismr: {SUGGESTIONS[0]}\n2. shorts: {SUGGESTIONS[1]}\nSay “make the second one”."
    ],
    "ideation": [f"Run {RAIN} is awaiting ideation approval – project: shorts, brief: Rain"],
    "publish": [f"Run {RAIN} is awaiting ideation approval", f"Approved: the clips are being generated. (Run {RAIN}.)"],
    "two": [
        "There are 2:\n"
        f"- Run {RAIN} is awaiting ideation approval – brief: Rain\n"
        f"- Run {SNOW} is awaiting publish approval – brief: Snow"
    ],
    "running": [f"Run {RAIN} is running – brief: Rain"],
    "failed": [f"Run {RAIN} is failed – error: code: model_refused, message: The model gave no answer."],
    "cancelled": [f"Cancelled: the run has ended. (Run {RAIN}.)"],
    "completed": [f"Run {RAIN} is completed – film: http://127.0.0.1/v1/artifacts/1"],
}
NOTHING = None


def start(brief: str, project: str = "shorts") -> list[Any]:
    return [("start_run", {"project": project, "brief": brief})]


def decide(verdict: str, *run_ids: str, **comment: str) -> list[Any]:
    return [("prepare_decision", {"run_id": run_id, "verdict": verdict, **comment}) for run_id in run_ids or (RAIN,)]


def about(tool: str, run_id: str = RAIN) -> list[Any]:
    return [(tool, {"run_id": run_id})]


def listed(tool: str) -> list[Any]:
    return [(tool, {})]


#: The state, the message, and the calls that it causes; NOTHING is “I did not understand”.
UTTERANCES: list[tuple[str, str, list[Any] | None]] = [
    # The four of a first visit that went wrong.
    ("ideation", "make it funnier", NOTHING),
    ("ideation", "don't approve it yet", NOTHING),
    ("ideation", "what did I approve yesterday?", NOTHING),
    ("publish", "approve it, but make clip 2 darker", decide("revise", comment="make clip 2 darker")),
    # Decisions that are clear.
    ("ideation", "Approve it", decide("approve")),
    ("ideation", "approve", decide("approve")),
    ("ideation", "OK, approve it now please!", decide("approve")),
    ("ideation", "approve the ideas", decide("approve")),
    ("publish", "Looks good, publish it", decide("approve")),
    ("publish", "yes, go ahead and publish that one", decide("approve")),
    ("ideation", "Reject it, thanks", decide("reject")),
    ("ideation", "ask for changes: more rain, please", decide("revise", comment="more rain, please")),
    ("ideation", "Request changes to it: no umbrellas, and don't show faces",
     decide("revise", comment="no umbrellas, and don't show faces")),
    ("running", "cancel it", about("cancel_run")),
    ("running", "please stop the run", about("cancel_run")),
    # Which run is meant.
    ("two", "approve it", listed("list_reviews")),
    ("two", "publish that one", listed("list_reviews")),
    ("two", "approve the second one", decide("approve", SNOW)),
    ("two", "reject run 1", decide("reject")),
    ("two", "approve the first and the second one", decide("approve", RAIN, SNOW)),
    ("two", "approve the third one", listed("list_reviews")),
    ("two", f"Approve {RAIN} and {SNOW}", decide("approve", RAIN, SNOW)),
    ("two", f"ask for changes to run {SNOW}: less wind", decide("revise", SNOW, comment="less wind")),
    ("two", "publish the first one", about("get_review")),
    ("two", "cancel it", listed("list_runs")),
    ("two", "how is the second one?", about("get_run", SNOW)),
    ("two", "approve both", NOTHING),
    ("two", "approve the first one and reject the second one", NOTHING),
    ("two", f"approve {RAIN}, not {SNOW}", NOTHING),
    ("two", "approve the one about rain", NOTHING),
    ("new", "approve it", listed("list_reviews")),
    ("new", f"approve run {OTHER}", decide("approve", OTHER)),
    ("ideation", f"cancel {OTHER}", about("cancel_run", OTHER)),
    ("ideation", "approve run 42", listed("list_reviews")),
    ("ideation", "approve run abc123", NOTHING),
    # The gate that is named is not the open one.
    ("ideation", "publish it", about("get_review")),
    ("publish", "approve the ideas", about("get_review")),
    # Negations, delays, conditions and doubt.
    ("ideation", "Don’t approve it", NOTHING),
    ("ideation", "do not approve this one", NOTHING),
    ("ideation", "never publish it", NOTHING),
    ("ideation", "hold off on approving it", NOTHING),
    ("ideation", "not yet", NOTHING),
    ("ideation", "nicht freigeben", NOTHING),
    ("ideation", "bitte noch nicht approve it", NOTHING),
    ("ideation", "approve it tomorrow", NOTHING),
    ("ideation", "approve it when the price is below 2 dollars", NOTHING),
    ("ideation", "approve it unless Ben objects", NOTHING),
    ("ideation", "approve it or reject it, I don't mind", NOTHING),
    ("ideation", "approve it, but not clip 2", NOTHING),
    ("ideation", "approve it, but make sure nobody sees it", NOTHING),
    ("ideation", "approve it, but change the title later", NOTHING),
    ("ideation", "approve only clip 2", NOTHING),
    ("ideation", "approve the second idea", NOTHING),
    ("ideation", "approve nothing", NOTHING),
    ("ideation", "can you approve it?", NOTHING),
    ("ideation", "what happens if I approve it?", NOTHING),
    ("ideation", "I wouldn't approve it", NOTHING),
    ("ideation", "looks good", NOTHING),
    ("ideation", "yes", NOTHING),
    ("ideation", "go ahead", NOTHING),
    ("ideation", "who approved it?", NOTHING),
    ("ideation", "I rejected it yesterday", NOTHING),
    ("ideation", "did I approve it?", NOTHING),
    ("ideation", "ask for changes", NOTHING),
    ("ideation", "ask for changes: nothing", NOTHING),
    ("ideation", "approve it, but make clip 2 darker and don't publish it yet", NOTHING),
    ("ideation", "approve it and make clip 2 darker", NOTHING),
    ("ideation", "reject the ideas", NOTHING),
    ("ideation", "approve idea 2", NOTHING),
    ("ideation", "reject it and make a video about dogs", NOTHING),
    ("publish", "publish it at 6 pm", NOTHING),
    ("publish", "end it with a sunset", NOTHING),
    ("ideation", "don't ask for changes: it is fine", NOTHING),
    ("running", "don't cancel it", NOTHING),
    ("running", "stop", NOTHING),
    ("running", "cancel", NOTHING),
    ("running", "stop the music", NOTHING),
    ("running", "never mind", NOTHING),
    ("failed", "try again", NOTHING),
    ("failed", "retry it", NOTHING),
    ("completed", "delete it", NOTHING),
    # Starting a run.
    ("new", "make a video about rain in a quiet city", start("Rain in a quiet city")),
    ("new", "Create a short about rain in project tiny", start("Rain", "tiny")),
    ("new", "Please make a video about a fox in the snow for the aismr project", start("A fox in the snow", "aismr")),
    ("new", "start a run for project tiny: two herons", start("Two herons", "tiny")),
    ("new", "Could you make me a film of bees, no flowers?", start("Bees, no flowers")),
    ("new", "I’d like a film about a bee that doesn’t sleep, please", start("A bee that doesn’t sleep")),
    ("new", "I'd like a short video about my school project", start("My school project")),
    ("new", "make a calm video about tea", start("Calm video about tea")),
    ("new", "Mach mir bitte ein Video über einen Fuchs im Schnee", start("Einen Fuchs im Schnee")),
    ("new", "Make a video about Regen in der Stadt, ohne Autos", start("Regen in der Stadt, ohne Autos")),
    ("suggestions", "make the second one", start(SUGGESTIONS[1])),
    ("suggestions", "make number 1", start(SUGGESTIONS[0], "aismr")),
    ("suggestions", "don't make the second one", NOTHING),
    ("suggestions", "make the seventh one", NOTHING),
    ("two", "make the second one", NOTHING),
    ("new", "make the second one", NOTHING),
    ("new", "make a video", NOTHING),
    ("new", "make a video for me", NOTHING),
    ("new", "create a video for me about cats", start("Cats")),
    ("new", "make a video about bees when I say so", NOTHING),
    ("new", "make a video about bees?", NOTHING),
    ("new", "I don’t want a video about bees", NOTHING),
    ("new", "don't make a video about bees", NOTHING),
    ("new", "Mach kein Video über Regen", NOTHING),
    ("new", "make a video about bees, but don't start it yet", NOTHING),
    ("new", "make a video about bees tomorrow", NOTHING),
    ("new", "make a video about bees if it costs less than 1 dollar", NOTHING),
    ("new", "make a video about rain and one about snow", NOTHING),
    ("new", "make a video about rain and publish it", NOTHING),
    ("new", "can you make videos about bees?", NOTHING),
    ("new", "how do I make a video about bees?", NOTHING),
    ("new", "should I make a video about bees?", NOTHING),
    ("ideation", "make a copy of the film about rain", NOTHING),
    ("ideation", "make it about foxes", NOTHING),
    ("ideation", "start it", NOTHING),
    ("failed", "start over", NOTHING),
    ("new", "Regen in der Stadt", NOTHING),
    # Ideas.
    ("new", "What videos should I make today?", listed("get_planning_facts")),
    ("new", "any ideas?", listed("get_planning_facts")),
    ("new", "suggest something", listed("get_planning_facts")),
    ("ideation", "what are the ideas?", about("get_review")),
    ("ideation", "show me the scenes", about("get_review")),
    ("ideation", "What am I approving?", about("get_review")),
    ("two", "what are the ideas?", listed("list_reviews")),
    ("two", "show me the ideas of the first one", about("get_review")),
    # Costs.
    ("new", "what did we spend today?", listed("get_costs")),
    ("ideation", "how much did it cost?", about("get_costs")),
    ("two", "what did the second one cost?", about("get_costs", SNOW)),
    ("ideation", "what does it cost if I approve it?", about("get_review")),
    ("ideation", "how much will it cost?", about("get_review")),
    ("ideation", "what does a video cost in total this month?", listed("get_costs")),
    ("new", "was kostet das?", listed("get_costs")),
    # Reasons and progress.
    ("failed", "why did it fail?", about("get_run")),
    ("failed", "what went wrong?", about("get_run")),
    ("cancelled", "why was it cancelled?", about("get_run")),
    ("new", "why did it fail?", listed("list_runs")),
    ("running", "how is it going?", about("get_run")),
    ("running", "how much longer?", about("get_run")),
    ("running", "is it done yet?", about("get_run")),
    ("running", "where is my film?", about("get_run")),
    ("new", "where is my film?", listed("list_runs")),
    ("ideation", f"how is {OTHER}?", about("get_run", OTHER)),
    ("ideation", OTHER, about("get_run", OTHER)),
    ("two", "what about the second one?", about("get_run", SNOW)),
    # Lists and links.
    ("new", "hi, which runs are running?", listed("list_runs")),
    ("new", "what is going on?", listed("list_runs")),
    ("new", "show me all my videos", listed("list_runs")),
    ("new", "what is waiting for me?", listed("list_reviews")),
    ("new", "what projects are there?", listed("list_projects")),
    ("completed", "can I watch it?", about("get_media_link")),
    ("completed", "give me the link", about("get_media_link")),
    ("two", "download", listed("list_runs")),
    # What real models do with the tools, and no rule reads: nothing is prepared in its place.
    ("ideation", "keep ideas 1 and 3", NOTHING),
    ("ideation", "keep 3 and 1, in that order, and approve", NOTHING),
    ("ideation", "approve only the first idea as a sample", NOTHING),
    ("ideation", "make a sample of clip 1 first", NOTHING),
    ("ideation", "change the title of idea 2 to Heron", NOTHING),
    ("ideation", "swap ideas 1 and 2", NOTHING),
    ("publish", "publish it with the caption: Rain, rain", NOTHING),
    ("publish", "publish it only on tiktok", NOTHING),
    ("publish", "publish it tomorrow at 9:00", NOTHING),
    ("publish", "schedule it for Friday 18:00", NOTHING),
    ("publish", "use take 1 of clip 2", NOTHING),
    ("publish", "redo clips 1 and 3", NOTHING),
    ("publish", "set the hashtags to #rain #ai", NOTHING),
    ("publish", "the text over clip 1 should be: Stay", NOTHING),
    ("failed", "retry it without clip 2", NOTHING),
    ("failed", "retry with another prompt for clip 1: a heron", NOTHING),
    ("failed", "the order was not made, retry", NOTHING),
    ("ideation", "fork it for project calm", NOTHING),
    ("ideation", "invite Ben to decide", listed("list_reviews")),
    ("suggestions", "approve the second one", listed("list_reviews")),
    ("suggestions", "make the second one and approve it", NOTHING),
    ("suggestions", "make the second one tomorrow", NOTHING),
    # What reads.
    ("new", "what should we make today?", listed("get_planning_facts")),
    ("new", "which videos could I make this week?", listed("get_planning_facts")),
    ("ideation", "what would clips 1 and 2 cost?", about("get_costs")),
    ("new", "what did we spend this week?", listed("get_costs")),
    ("new", "what did project tiny cost?", listed("get_costs")),
    # What no tool answers.
    ("new", "why is the sky blue?", NOTHING),
    ("new", "asdf qwertz", NOTHING),
    ("new", "🌧️", NOTHING),
    ("new", "I have an idea", NOTHING),
    ("new", "what is the weather?", NOTHING),
]  # fmt: skip


def reply_in(state: str, text: str) -> ModelReply:
    """Return the reply to a message in a conversation about runs in this state."""
    history = [Message(role="assistant", content=answer) for answer in STATES[state]]
    return build_reply(
        [Message(role="system", content=f"Run {OTHER}"), *history, Message(role="user", content=text)], TOOLS, None
    )


@pytest.mark.parametrize(("state", "text", "expected"), UTTERANCES, ids=[f"{row[0]}: {row[1]}" for row in UTTERANCES])
def test_a_newcomer_is_understood_or_told_so(state: str, text: str, expected: list[Any] | None) -> None:
    """The calls have these arguments; what is not understood is answered with what can be said."""
    reply = reply_in(state, text)

    assert [(call.name, json.loads(call.arguments)) for call in reply.calls] == (expected or [])
    assert expected or (reply.content or "").startswith("I did not understand. I am the sandbox's language model")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("text", ["Hello!", "Good morning", "thanks a lot", "who are you?", "help", "What can you do?"])
def test_a_greeting_and_a_call_for_help_are_answered(state: str, text: str) -> None:
    """With the introduction, which is no misunderstanding."""
    reply = reply_in(state, text)

    assert reply.calls == []
    assert (reply.content or "").startswith("I am the sandbox's language model")


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_prepared_that_was_not_clearly_asked_for(state: str) -> None:
    """No message that asks for nothing in its own state changes anything in another one."""
    silent = [text for _, text, expected in UTTERANCES if not expected or expected[0][0] not in CHANGING]
    context_dependent = {text for _, text, expected in UTTERANCES if expected and expected[0][0] in CHANGING} | {
        text for _, text, expected in UTTERANCES if expected in (listed("list_reviews"), about("get_review"))
    }
    changed = {
        text: [call.name for call in calls]
        for text in silent
        if text not in context_dependent and (calls := reply_in(state, text).calls) and calls[0].name in CHANGING
    }

    assert changed == {}
