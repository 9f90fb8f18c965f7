"""What a gate shows, the digest that a decision is bound to, and what edits make of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agents.asking import text_of
from agents.caption_writer import Caption
from agents.ideator import Idea
from graph.state import Gate, ShownIdeas, State
from providers.orders import digest_of

IDEAS = TypeAdapter(list[Idea])


class EditError(ValueError):
    """The reviewer's edits do not fit; the message says where."""


class CaptionEdits(BaseModel):
    """What a reviewer may change about a publication."""

    model_config = ConfigDict(extra="forbid")

    caption: Annotated[str, text_of(500)] | None = None
    hashtags: list[str] | None = None


def review_of(gate: Gate, state: State) -> dict[str, Any]:
    """What the gate shows of this state: `gate`, `revision`, `shown`, and the `digest` of what is shown."""
    shown = _ideas_shown(state["ideas"]) if gate == "ideation" else _film_shown(state)
    revision = state.get("revisions", {}).get(gate, 0) + 1
    return {"gate": gate, "revision": revision, "shown": shown, "digest": digest_of(shown)}


def _ideas_shown(ideas: ShownIdeas) -> dict[str, Any]:
    return {**ideas, "estimated_usd": str(estimate(ideas))}


def estimate(ideas: ShownIdeas) -> Decimal:
    """What making these ideas costs, in USD."""
    return Decimal(ideas["usd_per_clip"]) * len(ideas["make"])


def _film_shown(state: State) -> dict[str, Any]:
    return {
        "film": {key: state["film"][key] for key in ("digest", "seconds")},
        "title": state["ideas"]["title"],
        "clips": len(state["ideas"]["ideas"]),
        "caption": state["caption"]["caption"],
        "hashtags": state["caption"]["hashtags"],
        "platforms": state["caption"]["platforms"],
        "labelled_as_ai": True,
    }


def edited(gate: Gate, shown: dict[str, Any], edits: Any) -> dict[str, Any]:
    """What is shown, with the reviewer's edits in it. Raises EditError for edits that do not fit.

    At the ideation gate `edits` is the list of ideas as the reviewer wants it, as many as were shown; at the
    publish gate an object with `caption`, `hashtags` or both.
    """
    if edits is None:
        return shown
    try:
        if gate == "ideation":
            ideas = [idea.model_dump() for idea in IDEAS.validate_python(edits)]
            if len(ideas) != len(shown["ideas"]):
                raise EditError(f"edits: {len(shown['ideas'])} ideas were shown, and {len(ideas)} came back.")
            return {**shown, "ideas": ideas}
        changes = CaptionEdits.model_validate(edits).model_dump(exclude_none=True)
        return {
            **shown,
            **Caption(**{key: shown[key] for key in ("caption", "hashtags")} | changes).model_dump(),
        }
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(("edits", *map(str, fault["loc"])))
        raise EditError(f"{place}: {fault['msg'].removeprefix('Value error, ')}.") from error


def as_question(review: dict[str, Any]) -> dict[str, Any]:
    """The review in the form that Studio, Agent Inbox and Agent Chat UI show and answer."""
    gate, shown = review["gate"], review["shown"]
    name = {"ideation": "make_clips", "publish": "publish_film"}[gate]
    said = {
        "ideation": f"Make {len(shown.get('make', []))} clips for {shown.get('estimated_usd')} USD?",
        "publish": f"Publish the film to {', '.join(shown.get('platforms', []))}?",
    }[gate]
    return {
        **review,
        "action_requests": [{"name": name, "args": shown, "description": said}],
        "review_configs": [{"action_name": name, "allowed_decisions": ["approve", "edit", "reject"]}],
    }
