"""What a gate shows, and what a reviewer's edits make of it."""

from typing import Any

import pytest

from graph.review_content import EditError, apply_edits, interrupt_payload, review_of
from providers.orders import digest_of
from tests.graph.fakes import idea

IDEAS = [idea("Leaf"), idea("Roof")]
SHOWN_IDEAS = {"title": "Rain", "ideas": IDEAS, "make": [1, 2], "usd_per_clip": "0.40"}
STATE: Any = {
    "ideas": SHOWN_IDEAS,
    "film": {"digest": "f" * 64, "seconds": 7.5, "width": 1080},
    "caption": {"caption": "Rain.", "hashtags": ["#rain"], "platforms": ["tiktok"]},
    "clips": {"1": {"take": 1}, "2": {"take": 2}},
    "made": {"1": {"1": "run:clip:1:1"}, "2": {"1": "run:clip:2:1", "2": "run:clip:2:2"}},
    "revisions": {"publish": 2},
}


def test_the_ideation_gate_shows_ideas_and_price() -> None:
    """What is approved is what is shown, price and all: its digest says so."""
    review = review_of("ideation", STATE)

    assert review["content"] == {**SHOWN_IDEAS, "estimated_usd": "0.80"}
    assert (review["gate"], review["revision"]) == ("ideation", 1)
    assert review["digest"] == digest_of(review["content"])


def test_the_publish_gate_shows_the_film_and_its_words() -> None:
    """The film is shown by its digest: another film is another review."""
    review = review_of("publish", STATE)

    assert review["content"] == {
        "film": {"digest": "f" * 64, "seconds": 7.5},
        "title": "Rain",
        "clips": [
            {"clip": 1, "take": 1, "takes": [1], "overlay": "Leaf"},
            {"clip": 2, "take": 2, "takes": [1, 2], "overlay": "Roof"},
        ],
        "usd_per_clip": "0.40",
        "caption": "Rain.",
        "hashtags": ["#rain"],
        "platforms": ["tiktok"],
        "labelled_as_ai": True,
    }
    assert review["revision"] == 3
    other = {**STATE, "film": {**STATE["film"], "digest": "e" * 64}}
    assert review_of("publish", other)["digest"] != review["digest"]


@pytest.mark.parametrize(("gate", "name"), [("ideation", "make_clips"), ("publish", "publish_film")])
def test_the_question_is_in_the_form_of_the_inboxes(gate: Any, name: str) -> None:
    """Agent Chat UI draws it only if every one of these fields is there and of this type."""
    question = interrupt_payload(review_of(gate, STATE))
    (request,), (config,) = question["action_requests"], question["review_configs"]

    assert (request["name"], config["action_name"]) == (name, name)
    assert request["args"] == question["content"]
    assert isinstance(request["description"], str)
    assert config["allowed_decisions"] == ["approve", "edit", "reject"]


def test_edits_change_what_is_shown_and_its_digest() -> None:
    """Only the words that were edited are others."""
    content = review_of("publish", STATE)["content"]
    after = apply_edits("publish", content, {"caption": "  Sun. "})

    assert after == {**content, "caption": "Sun."}
    assert apply_edits("publish", content, {"hashtags": ["#sun", "#sun"]}) == {**content, "hashtags": ["#sun"]}
    assert apply_edits("publish", content, None) == content
    ideas = review_of("ideation", STATE)["content"]
    assert apply_edits("ideation", ideas, [idea("Fog"), idea("Ice")]) == {**ideas, "ideas": [idea("Fog"), idea("Ice")]}


def test_an_idea_left_out_is_not_paid() -> None:
    """Ideas may be dropped and put in another order while all their clips are still to be made."""
    content = review_of("ideation", STATE)["content"]
    after = apply_edits("ideation", content, [IDEAS[1]])

    assert (after["ideas"], after["make"], after["estimated_usd"]) == ([IDEAS[1]], [1], "0.40")
    with pytest.raises(EditError, match="2 ideas were shown, and 1 came back"):
        apply_edits("ideation", {**content, "make": [2]}, [IDEAS[1]])


def test_other_text_over_a_clip_is_another_film() -> None:
    """The text over a clip is edited by the clip's number; a clip that is not in the film has none."""
    content = review_of("publish", STATE)["content"]
    after = apply_edits("publish", content, {"overlays": {"2": "Gutter"}})

    assert [clip["overlay"] for clip in after["clips"]] == ["Leaf", "Gutter"]
    with pytest.raises(EditError, match="the film has no clip 3"):
        apply_edits("publish", content, {"overlays": {"3": "Sea"}})


def test_a_clip_given_up_is_not_in_the_film() -> None:
    """The others keep their numbers."""
    assert [clip["clip"] for clip in review_of("publish", {**STATE, "dropped": [1]})["content"]["clips"]] == [2]


@pytest.mark.parametrize(
    ("gate", "edits", "place"),
    [
        ("ideation", [idea("Fog")] * 3, "2 ideas were shown, and 3 came back"),
        ("ideation", [], "2 ideas were shown, and 0 came back"),
        ("ideation", {"ideas": IDEAS}, "edits: "),
        ("ideation", [idea("Fog"), {**idea("Ice"), "seen": 1}], r"edits\.1\.seen: "),
        ("ideation", [idea("Fog"), {**idea("Ice"), "scene": "x" * 601}], r"edits\.1\.scene: must have 1 to 600"),
        ("ideation", [{**idea("Fog"), "title": "\x00"}, idea("Ice")], r"edits\.0\.title: must have 1 to 60"),
        ("publish", {"caption": ""}, r"edits\.caption: must have 1 to 500"),
        ("publish", {"hashtags": ["rain"]}, r"edits\.hashtags: 'rain' is not a hashtag"),
        ("publish", {"hashtags": []}, r"edits\.hashtags: there must be 1 to 10"),
        ("publish", {"film": "f" * 64}, r"edits\.film: "),
        ("publish", ["#rain"], "edits: "),
    ],
)
def test_edits_that_do_not_fit_name_the_place(gate: Any, edits: Any, place: str) -> None:
    """In one sentence, without repeating what was sent."""
    with pytest.raises(EditError, match=place):
        apply_edits(gate, review_of(gate, STATE)["content"], edits)


def test_a_question_says_what_each_clip_would_be() -> None:
    """And what there is to know beside; nothing where nothing is known."""
    offer = {"model": "video-2", "seconds": 4, "size": "720x1280", "notice": "The price has changed."}
    asked = interrupt_payload({"gate": "ideation", "content": {**SHOWN_IDEAS, "estimated_usd": "0.80", **offer}})
    plain = interrupt_payload({"gate": "ideation", "content": {**SHOWN_IDEAS, "estimated_usd": "0.80"}})

    assert asked["action_requests"][0]["description"] == (
        "Make 2 clips for 0.80 USD? Each is 4 s of 720x1280 by video-2. The price has changed."
    )
    assert plain["action_requests"][0]["description"] == "Make 2 clips for 0.80 USD?"
