"""What a gate shows, the digest that a decision is bound to, and what edits make of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agents.caption_writer import Caption
from agents.ideator import Idea
from agents.structured import bounded_text
from graph.state import Gate, IdeasState, RunState
from providers.orders import digest_of

IDEAS = TypeAdapter(list[Idea])


class EditError(ValueError):
    """The reviewer's edits do not fit; the message says where."""


class FilmEdits(BaseModel):
    """What a reviewer may change about a film without making a clip again."""

    model_config = ConfigDict(extra="forbid")

    caption: Annotated[str, bounded_text(500)] | None = None
    hashtags: list[str] | None = None
    overlays: dict[int, Annotated[str, bounded_text(60, minimum=0)]] = {}


def review_of(gate: Gate, state: RunState) -> dict[str, Any]:
    """What the gate shows of this state: `gate`, `revision`, `shown`, and the `digest` of what is shown."""
    content = content_at(gate, state)
    revision = state.get("revisions", {}).get(gate, 0) + 1
    return {"gate": gate, "revision": revision, "content": content, "digest": digest_of(content)}


def content_at(gate: Gate, state: RunState) -> dict[str, Any]:
    """What a gate would show of this state: for its digest, what a decision is bound to."""
    return _ideas_shown(state["ideas"]) if gate == "ideation" else _film_shown(state)


def _ideas_shown(ideas: IdeasState) -> dict[str, Any]:
    return {**ideas, "estimated_usd": str(estimate_usd(ideas))}


def estimate_usd(ideas: IdeasState) -> Decimal:
    """What making these ideas costs, in USD."""
    return Decimal(ideas["usd_per_clip"]) * len(ideas["make"])


def _film_shown(state: RunState) -> dict[str, Any]:
    return {
        "film": {key: state["film"][key] for key in ("digest", "seconds")},
        "title": state["ideas"]["title"],
        "clips": [
            {
                "clip": number,
                "take": state["clips"][str(number)]["take"],
                "takes": sorted(int(take) for take in state["made"][str(number)]),
                "overlay": idea["overlay"],
            }
            for number, idea in used_ideas(state)
        ],
        "usd_per_clip": state["ideas"]["usd_per_clip"],
        "caption": state["caption"]["caption"],
        "hashtags": state["caption"]["hashtags"],
        "platforms": state["caption"]["platforms"],
        "labelled_as_ai": True,
    }


def used_ideas(state: RunState) -> list[tuple[int, dict[str, Any]]]:
    """The ideas that are in the film, each with the number of its clip."""
    dropped = state.get("dropped", [])
    return [(n, idea) for n, idea in enumerate(state["ideas"]["ideas"], start=1) if n not in dropped]


def apply_edits(gate: Gate, content: dict[str, Any], edits: Any) -> dict[str, Any]:
    """What is shown, with the reviewer's edits in it. Raises EditError for edits that do not fit.

    At the ideation gate `edits` is the list of ideas as the reviewer wants it, in any order; some may be left out
    as long as every clip is still to be made. At the publish gate it is an object with `caption`, `hashtags` and
    `overlays` (the text over a clip, by its number).
    """
    if edits is None:
        return content
    try:
        return _ideas_edited(content, edits) if gate == "ideation" else _film_edited(content, edits)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(("edits", *map(str, fault["loc"])))
        raise EditError(f"{place}: {fault['msg'].removeprefix('Value error, ')}.") from error


def _ideas_edited(content: dict[str, Any], edits: Any) -> dict[str, Any]:
    ideas = [idea.model_dump() for idea in IDEAS.validate_python(edits)]
    before = len(content["ideas"])
    if len(ideas) == before:
        return {**content, "ideas": ideas}
    if not 1 <= len(ideas) < before or len(content["make"]) != before:
        raise EditError(f"edits: {before} ideas were shown, and {len(ideas)} came back.")
    changed = {**content, "ideas": ideas, "make": list(range(1, len(ideas) + 1))}
    return {**changed, "estimated_usd": str(estimate_usd(cast("IdeasState", changed)))}


def _film_edited(content: dict[str, Any], edits: Any) -> dict[str, Any]:
    changes = FilmEdits.model_validate(edits)
    words = {name: getattr(changes, name) for name in ("caption", "hashtags") if getattr(changes, name) is not None}
    said = Caption(**{key: content[key] for key in ("caption", "hashtags")} | words).model_dump()
    numbers = [clip["clip"] for clip in content["clips"]]
    if strange := set(changes.overlays) - set(numbers):
        raise EditError(f"edits.overlays: the film has no clip {min(strange)}.")
    clips = [{**clip, "overlay": changes.overlays.get(clip["clip"], clip["overlay"])} for clip in content["clips"]]
    return {**content, **said, "clips": clips}


def describe_clips(content: dict[str, Any]) -> str:
    """What each clip would be and what there is to know beside, in sentences; empty where no clip is shown."""
    each = [f"Each is {content['seconds']} s of {content['size']} by {content['model']}."] if "model" in content else []
    return " ".join([*each, *([content["notice"]] if "notice" in content else [])])


def interrupt_payload(review: dict[str, Any]) -> dict[str, Any]:
    """The review in the form that Studio, Agent Inbox and Agent Chat UI show and answer."""
    gate, content = review["gate"], review["content"]
    name = {"ideation": "make_clips", "publish": "publish_film"}[gate]
    said = {
        "ideation": f"Make {len(content.get('make', []))} clips for {content.get('estimated_usd')} USD?",
        "publish": f"Publish the film to {', '.join(content.get('platforms', []))}?",
    }[gate]
    return {
        **review,
        "action_requests": [
            {"name": name, "args": content, "description": f"{said} {describe_clips(content)}".strip()}
        ],
        "review_configs": [{"action_name": name, "allowed_decisions": ["approve", "edit", "reject"]}],
    }
