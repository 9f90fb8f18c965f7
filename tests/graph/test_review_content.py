"""The content of a review, and the effect of a reviewer's edits on it."""

import re
from typing import Any

import pytest

from graph.decisions import Gate
from graph.review_content import (
    EditError,
    FilmContent,
    IdeasContent,
    Review,
    ReviewContent,
    changed_fields,
    channels_of,
    content_at,
    describe_clips,
    edited_content,
    interrupt_payload,
    open_review,
    parse_content,
)
from providers.orders import digest_of
from tests.graph.fakes import idea
from tests.media.made_fonts import use_fonts

IDEAS = [idea("Leaf"), idea("Roof")]
OFFER = {"model": "video-1", "seconds": 4, "size": "720x1280", "usd_per_clip": "0.40"}
STATE: Any = {
    "ideas": {"title": "Rain", "ideas": IDEAS, "make": [1, 2], "notice": None, **OFFER},
    "film": {"digest": "f" * 64, "seconds": 7.5, "width": 1080},
    "caption": {"caption": "Rain.", "hashtags": ["#rain"], "platforms": ["tiktok"]},
    "clips": {"1": {"take": 1}, "2": {"take": 2}},
    "made": {"1": {"1": "run:clip:1:1"}, "2": {"1": "run:clip:2:1", "2": "run:clip:2:2"}},
    "decisions": {"publish": {"revision": 2}},
}


def ideas_content(**changes: Any) -> IdeasContent:
    content = content_at("ideation", {**STATE, "ideas": {**STATE["ideas"], **changes}})
    assert isinstance(content, IdeasContent)
    return content


def film_content() -> FilmContent:
    content = content_at("publish", STATE)
    assert isinstance(content, FilmContent)
    return content


def as_json(content: ReviewContent) -> dict[str, Any]:
    return content.model_dump(mode="json")


def test_the_ideation_gate_presents_ideas_and_price() -> None:
    """What is approved is the content, price included: its digest covers both."""
    review = open_review("ideation", STATE)

    assert as_json(review.content) == {
        "version": 1,
        "gate": "ideation",
        **STATE["ideas"],
        "estimated_usd": "0.80",
    }
    assert (review.gate, review.revision) == ("ideation", 1)
    assert review.digest == digest_of(as_json(review.content))
    assert ideas_content(usd_per_clip="0.50").digest != review.digest


def test_the_publish_gate_presents_the_film_and_its_post() -> None:
    """The film is presented by its digest: another film is another review."""
    review = open_review("publish", STATE)

    assert as_json(review.content) == {
        "version": 1,
        "gate": "publish",
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
    assert review.revision == 3
    other = {**STATE, "film": {**STATE["film"], "digest": "e" * 64}}
    assert open_review("publish", other).digest != review.digest


@pytest.mark.parametrize("gate", ["ideation", "publish"])
def test_a_review_is_the_same_after_a_round_trip_through_json(gate: Gate) -> None:
    """The row of a run and the event of a review hold it as JSON: content and digest survive."""
    review = open_review(gate, STATE)

    assert Review.model_validate(review.model_dump(mode="json")) == review
    assert Review.model_validate(interrupt_payload(review)) == review
    assert parse_content(as_json(review.content)).digest == review.digest


@pytest.mark.parametrize(("gate", "name"), [("ideation", "make_clips"), ("publish", "publish_film")])
def test_the_payload_has_the_form_of_the_agent_inboxes(gate: Gate, name: str) -> None:
    """Agent Chat UI displays it only if every one of these fields is present and of this type."""
    payload = interrupt_payload(open_review(gate, STATE))
    (request,), (config,) = payload["action_requests"], payload["review_configs"]

    assert (request["name"], config["action_name"]) == (name, name)
    assert request["args"] == request["arguments"]
    assert request["args"] == {key: value for key, value in payload["content"].items() if value is not None}
    assert isinstance(request["description"], str)
    assert config["allowed_decisions"] == ["approve", "edit", "reject"]


def test_edits_change_the_content_and_its_digest() -> None:
    """Only the edited fields differ."""
    content = film_content()
    after = edited_content(content, {"caption": "  Sun. "})

    assert after == content.model_copy(update={"caption": "Sun."})
    assert changed_fields(content, after) == ["caption"]
    assert after.digest != content.digest
    assert edited_content(content, {"hashtags": ["#sun", "#sun"]}) == content.model_copy(update={"hashtags": ["#sun"]})
    assert edited_content(content, None) == content
    ideas = ideas_content()
    edited = [idea("Fog"), idea("Ice")]
    assert as_json(edited_content(ideas, edited)) == {**as_json(ideas), "ideas": edited}
    assert changed_fields(ideas, edited_content(ideas, edited)) == ["ideas"]


def posted_to(*platforms: str, **post: Any) -> FilmContent:
    caption = {**STATE["caption"], "platforms": list(platforms), **post}
    content = content_at("publish", {**STATE, "caption": caption})
    assert isinstance(content, FilmContent)
    return content


@pytest.mark.parametrize(
    ("hashtags", "kept", "left_out"),
    [
        (["rain", "#lo-fi"], ["#rain", "#lofi"], None),
        ("#हिन्दी rain", ["#हिन्दी", "#rain"], None),
        ([], [], None),
        ([f"t{n}" for n in range(12)], [f"#t{n}" for n in range(5)], "#t5 #t6 #t7 #t8 #t9 #t10 #t11 left out"),
        (["#1", "#2", "#3", "#4", "#5", "#ai"], ["#1", "#2", "#3", "#4", "#ai"], "#5 left out"),
    ],
    ids=str,
)
def test_edited_hashtags_are_brought_into_form(hashtags: Any, kept: list[str], left_out: str | None) -> None:
    """They are never refused for their form; those over a platform's limit are left out, with a notice."""
    after = edited_content(posted_to("tiktok"), {"hashtags": hashtags})

    assert after.hashtags == kept
    assert [left_out in notice for notice in after.notices if left_out] == [True] * bool(left_out)
    assert bool(after.notices) == bool(left_out)


@pytest.mark.parametrize(
    ("platform", "caption", "problem"),
    [
        ("bluesky", "x" * 301, "edits.caption: bluesky takes at most 300 characters, and this has 301"),
        ("x", "雨" * 141, "edits.caption: x takes at most 280 characters, and this has 282"),
        ("youtube", "I <3 rain", "edits.caption: youtube does not take the character < in a caption"),
    ],
)
def test_a_caption_that_a_platform_refuses_is_no_edit(platform: str, caption: str, problem: str) -> None:
    """The reviewer's words are not changed: the edit is refused with the platform and the reason."""
    with pytest.raises(EditError, match=re.escape(problem)):
        edited_content(posted_to("tiktok", platform), {"caption": caption})


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Donau\u00addampf\u00adschiff", "Donau\u00addampf\u00adschiff"),
        ("Cafe\u0301 — всем", "Café — всем"),
        ("Zero\u2060 width\u200e", "Zero width"),
    ],
)
def test_an_edited_overlay_is_shown_as_it_is_drawn(text: str, drawn: str) -> None:
    """Characters that change nothing are not part of it; a soft hyphen is a place for a line break."""
    after = edited_content(film_content(), {"overlays": {"2": text}})

    assert after.clips[1].overlay == drawn
    assert edited_content(ideas_content(), [{**idea("Fog"), "overlay": text}, idea("Ice")]).ideas[0].overlay == drawn


def test_content_of_earlier_versions_is_read_as_it_is() -> None:
    """An overlay is checked where it is written, not where it is read."""
    old = ideas_content(ideas=[{**idea("Fog"), "overlay": "👞"}, idea("Ice")])

    assert parse_content(as_json(old)) == old


def test_what_a_review_does_not_have_is_not_in_its_digest() -> None:
    """A review that version 0.2 opened has neither publisher nor notices nor destinations, and keeps its digest."""
    named = posted_to("tiktok", publisher="folder", notices=["Shortened."], destinations={"facebook": "1"})

    assert {"publisher", "notices", "destinations"} & set(as_json(posted_to("tiktok"))) == set()
    assert named.digest != posted_to("tiktok").digest
    assert parse_content(as_json(named)) == named
    assert describe_clips(named) == "Shortened."


def test_the_time_of_publication_is_approved_with_the_post() -> None:
    """It is part of the digest, in UTC; a post without one keeps its digest, and the state keeps what was approved."""
    content = film_content()
    after = edited_content(content, {"publish_at": "2026-12-01T18:00+01:00"})

    assert after.digest == edited_content(content, {"publish_at": "2026-12-01T17:00:00Z"}).digest != content.digest
    assert as_json(after)["publish_at"] == "2026-12-01T17:00:00Z"
    assert (changed_fields(content, after), describe_clips(after)) == (
        ["publish_at"],
        "Scheduled for 2026-12-01 17:00 UTC.",
    )
    assert content_at("publish", {**STATE, **channels_of(after, STATE)}) == after == parse_content(as_json(after))
    assert "publish_at" not in as_json(content)
    for no_time in ("2026-12-01T18:00", "2026-12-01", "later", "", 1796144400, "0001-01-01T00:00+01:00"):
        with pytest.raises(EditError, match=r"edits\.publish_at: must be a time with its zone, such as"):
            edited_content(content, {"publish_at": no_time})


def test_an_omitted_idea_is_not_paid() -> None:
    """Ideas may be omitted and reordered while all their clips are still to be ordered."""
    after = edited_content(ideas_content(), [IDEAS[1]])

    assert ([item.model_dump() for item in after.ideas], after.make) == ([IDEAS[1]], [1])
    assert as_json(after)["estimated_usd"] == "0.40"
    with pytest.raises(EditError, match="expected 2 ideas, got 1"):
        edited_content(ideas_content(make=[2]), [IDEAS[1]])


def test_an_added_idea_is_paid() -> None:
    """Ideas may be added while all their clips are still to be ordered."""
    after = edited_content(ideas_content(), [*IDEAS, idea("Fog")])

    assert ([item.title for item in after.ideas][2], after.make) == ("Fog", [1, 2, 3])
    assert as_json(after)["estimated_usd"] == "1.20"
    with pytest.raises(EditError, match="expected 2 ideas, got 3"):
        edited_content(ideas_content(make=[2]), [*IDEAS, idea("Fog")])


def test_another_overlay_is_another_film() -> None:
    """The text over a clip is edited by the clip's number; a clip that is not in the film is refused."""
    after = edited_content(film_content(), {"overlays": {"2": "Gutter"}})

    assert [clip.overlay for clip in after.clips] == ["Leaf", "Gutter"]
    assert changed_fields(film_content(), after) == ["clips"]
    with pytest.raises(EditError, match="the film has no clip 3"):
        edited_content(film_content(), {"overlays": {"3": "Sea"}})


def test_a_dropped_clip_is_not_in_the_film() -> None:
    """The others keep their numbers."""
    content = content_at("publish", {**STATE, "dropped": [1]})

    assert isinstance(content, FilmContent)
    assert [clip.clip for clip in content.clips] == [2]


@pytest.mark.parametrize(
    ("gate", "edits", "place"),
    [
        ("ideation", [idea("Fog")] * 25, "edits: List should have at most 24 items"),
        ("ideation", [], "expected 2 ideas, got 0"),
        ("ideation", {"ideas": IDEAS}, "edits: "),
        ("ideation", [idea("Fog"), {**idea("Ice"), "seen": 1}], r"edits\.1\.seen: "),
        ("ideation", [idea("Fog"), {**idea("Ice"), "scene": "x" * 601}], r"edits\.1\.scene: must have 1 to 600"),
        ("ideation", [{**idea("Fog"), "title": "\x00"}, idea("Ice")], r"edits\.0\.title: must have 1 to 60"),
        ("ideation", [idea("Fog"), {**idea("Ice"), "overlay": "本革の靴 👞"}], r"edits\.1\.overlay: .* cannot draw 本"),
        (
            "publish",
            {"overlays": {"2": "Handmade 👞"}},
            r"edits\.overlays\.2: .* cannot draw 👞; install (libfribidi0 and )?fonts-noto-color-emoji",
        ),
        ("publish", {"overlays": {"2": "W" * 60}}, r"edits\.overlays\.2: it is too wide .* its first 50 characters"),
        ("ideation", [{**idea("Fog"), "overlay": "@" * 60}, idea("Ice")], r"edits\.0\.overlay: .* first 50 characters"),
        ("publish", {"caption": ""}, r"edits\.caption: must have 1 to 500"),
        ("publish", {"hashtags": {"tag": "rain"}}, r"edits\.hashtags: Input should be a valid list"),
        ("publish", {"film": "f" * 64}, r"edits\.film: "),
        ("publish", ["#rain"], "edits: "),
    ],
)
def test_edits_that_do_not_fit_name_the_place(
    gate: Gate, edits: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is one sentence and does not repeat the input."""
    use_fonts(monkeypatch)
    with pytest.raises(EditError, match=place):
        edited_content(content_at(gate, STATE), edits)


def test_the_description_states_the_offer() -> None:
    """The model, length and size of each clip, and a notice if there is one; nothing at the publish gate."""

    def description(content: ReviewContent) -> str:
        review = Review(gate=content.gate, revision=1, digest=content.digest, content=content)
        text: str = interrupt_payload(review)["action_requests"][0]["description"]
        return text

    assert description(ideas_content(model="video-2", notice="The price has changed.")) == (
        "Make 2 clips for 0.80 USD? Each is 4 s of 720x1280 by video-2. The price has changed."
    )
    assert description(ideas_content()) == "Make 2 clips for 0.80 USD? Each is 4 s of 720x1280 by video-1."
    assert description(film_content()) == "Publish the film to tiktok?"
    assert describe_clips(film_content()) == ""


IMAGE = "a" * 64


def test_a_start_image_is_part_of_the_content() -> None:
    """An edit with one changes the digest and is described; without one the digest is that of earlier versions."""
    content = ideas_content()
    edited = edited_content(content, [IDEAS[0], {**IDEAS[1], "image": IMAGE}])
    old = {**as_json(content), "ideas": [idea("Leaf"), idea("Roof")]}

    assert content.digest == digest_of(old) == parse_content(old).digest
    assert edited_content(edited, [{**each, "image": None} for each in IDEAS]).digest == content.digest
    assert edited.digest not in (
        content.digest,
        edited_content(content, [{**IDEAS[0], "image": IMAGE}, IDEAS[1]]).digest,
    )
    assert (edited.ideas[1].image, "image" in as_json(edited)["ideas"][0]) == (IMAGE, False)
    assert "Clip 2 starts from image aaaaaaaa." in describe_clips(edited)
    with pytest.raises(EditError, match=re.escape("edits.0.image")):
        edited_content(content, [{**IDEAS[0], "image": "frame.png"}, IDEAS[1]])


def test_the_image_of_a_generated_clip_stays() -> None:
    """A clip that is there already starts from what it started from."""
    with pytest.raises(EditError, match="clip 1 is generated already"):
        edited_content(ideas_content(make=[2]), [{**IDEAS[0], "image": IMAGE}, IDEAS[1]])
