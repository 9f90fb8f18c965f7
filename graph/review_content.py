"""The content of a review, the digest that a decision is bound to, and the effect of edits."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agents.caption_writer import Caption
from agents.ideator import Idea
from agents.structured import bounded_text
from graph.decisions import Gate
from graph.state import IdeasState, RunState
from prompts.validation import describe_validation_error
from providers.orders import digest_of


class EditError(ValueError):
    """The edits of a reviewer do not fit the content; the message names the place."""


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1

    @property
    def digest(self) -> str:
        """Return the digest that a decision about this content is bound to."""
        return digest_of(self.model_dump(mode="json"))


class IdeasContent(_Content):
    """Content of the ideation gate: the ideas, the clips to order and their cost. Lengths in seconds."""

    gate: Literal["ideation"] = "ideation"
    title: str
    ideas: list[Idea]
    make: list[int]
    model: str
    seconds: int
    size: str
    usd_per_clip: Decimal
    estimated_usd: Decimal
    notice: str | None = None


class FilmFile(BaseModel):
    """The rendered film, by its digest."""

    digest: str
    seconds: float


class FilmClip(BaseModel):
    """A clip of the film: the take in use, the takes to choose from, and the text over it."""

    clip: int
    take: int
    takes: list[int]
    overlay: str


class FilmContent(_Content):
    """Content of the publish gate: the film and the post. `usd_per_clip` is the price of another take."""

    gate: Literal["publish"] = "publish"
    film: FilmFile
    title: str
    clips: list[FilmClip]
    usd_per_clip: Decimal
    caption: str
    hashtags: list[str]
    platforms: list[str]
    labelled_as_ai: Literal[True] = True


ReviewContent = Annotated[IdeasContent | FilmContent, Field(discriminator="gate")]


class Review(BaseModel):
    """A review: the content that a gate presents under a revision number, counted per gate from 1."""

    model_config = ConfigDict(frozen=True)

    gate: Gate
    revision: int
    digest: str
    content: ReviewContent


class FilmEdits(BaseModel):
    """Changes to a film that need no new clip. `overlays` are texts by clip number."""

    model_config = ConfigDict(extra="forbid")

    caption: Annotated[str, bounded_text(500)] | None = None
    hashtags: list[str] | None = None
    overlays: dict[int, Annotated[str, bounded_text(60, minimum=0)]] = {}


_CONTENT: TypeAdapter[ReviewContent] = TypeAdapter(ReviewContent)
_IDEAS = TypeAdapter(list[Idea])


def parse_content(value: Any) -> ReviewContent:
    """Return the content that a JSON value holds. Raises ValidationError."""
    return _CONTENT.validate_python(value)


def open_review(gate: Gate, state: RunState) -> Review:
    """Return the review that the gate opens in this state."""
    content = content_at(gate, state)
    revision = state.get("revisions", {}).get(gate, 0) + 1
    return Review(gate=gate, revision=revision, digest=content.digest, content=content)


def content_at(gate: Gate, state: RunState) -> ReviewContent:
    """Return what the gate presents in this state."""
    ideas = state["ideas"]
    if gate == "ideation":
        return IdeasContent.model_validate({**ideas, "estimated_usd": estimate_usd(ideas)})
    return FilmContent(
        film=FilmFile.model_validate(state["film"]),
        title=ideas["title"],
        clips=[
            FilmClip(
                clip=number,
                take=state["clips"][str(number)]["take"],
                takes=sorted(int(take) for take in state["made"][str(number)]),
                overlay=idea.overlay,
            )
            for number, idea in used_ideas(state)
        ],
        usd_per_clip=Decimal(ideas["usd_per_clip"]),
        **state["caption"],
    )


def estimate_usd(ideas: IdeasState) -> Decimal:
    """Return the cost of the clips to order, in USD."""
    return Decimal(ideas["usd_per_clip"]) * len(ideas["make"])


def used_ideas(state: RunState) -> list[tuple[int, Idea]]:
    """Return the ideas that are in the film, each with the number of its clip."""
    dropped = state.get("dropped", [])
    ideas = enumerate(state["ideas"]["ideas"], start=1)
    return [(number, Idea.model_validate(idea)) for number, idea in ideas if number not in dropped]


@overload
def apply_edits(content: IdeasContent, edits: Any) -> IdeasContent: ...
@overload
def apply_edits(content: FilmContent, edits: Any) -> FilmContent: ...
def apply_edits(content: ReviewContent, edits: Any) -> ReviewContent:
    """Return the content with the edits of a reviewer. Raises EditError.

    At the ideation gate `edits` is the complete list of ideas, in any order; ideas may be left out as long as all
    clips are still to be ordered. At the publish gate it is an object with `caption`, `hashtags` and `overlays`.
    """
    if edits is None:
        return content
    try:
        return _edit_ideas(content, edits) if isinstance(content, IdeasContent) else _edit_film(content, edits)
    except ValidationError as error:
        raise EditError(f"{describe_validation_error(error, root='edits')}.") from error


def _edit_ideas(content: IdeasContent, edits: Any) -> IdeasContent:
    ideas, count = _IDEAS.validate_python(edits), len(content.ideas)
    if len(ideas) == count:
        return content.model_copy(update={"ideas": ideas})
    if not 1 <= len(ideas) < count or len(content.make) != count:
        raise EditError(f"edits: expected {count} ideas, got {len(ideas)}.")
    make = list(range(1, len(ideas) + 1))
    return content.model_copy(
        update={"ideas": ideas, "make": make, "estimated_usd": content.usd_per_clip * len(make)},
    )


def _edit_film(content: FilmContent, edits: Any) -> FilmContent:
    changes = FilmEdits.model_validate(edits)
    post = Caption(
        caption=content.caption if changes.caption is None else changes.caption,
        hashtags=content.hashtags if changes.hashtags is None else changes.hashtags,
    )
    if unknown := set(changes.overlays) - {clip.clip for clip in content.clips}:
        raise EditError(f"edits.overlays: the film has no clip {min(unknown)}.")
    clips = [
        clip.model_copy(update={"overlay": changes.overlays.get(clip.clip, clip.overlay)}) for clip in content.clips
    ]
    return content.model_copy(update={"caption": post.caption, "hashtags": post.hashtags, "clips": clips})


def changed_fields(before: ReviewContent, after: ReviewContent) -> list[str]:
    """Return the names of the fields that differ, sorted."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return sorted(name for name in new if new[name] != old.get(name))


def describe_clips(content: ReviewContent) -> str:
    """Return sentences about the offer for each clip to order; empty at the publish gate."""
    if not isinstance(content, IdeasContent):
        return ""
    each = f"Each is {content.seconds} s of {content.size} by {content.model}."
    return f"{each} {content.notice}" if content.notice else each


def interrupt_payload(review: Review) -> dict[str, Any]:
    """Return the review in the form that Studio, Agent Inbox and Agent Chat UI display and answer.

    Agent Chat UI checks the type of every field of `action_requests` and `review_configs`.
    """
    content = review.content
    if isinstance(content, IdeasContent):
        name, question = "make_clips", f"Make {len(content.make)} clips for {content.estimated_usd} USD?"
    else:
        name, question = "publish_film", f"Publish the film to {', '.join(content.platforms)}?"
    payload = review.model_dump(mode="json")
    description = f"{question} {describe_clips(content)}".strip()
    return {
        **payload,
        "action_requests": [{"name": name, "args": payload["content"], "description": description}],
        "review_configs": [{"action_name": name, "allowed_decisions": ["approve", "edit", "reject"]}],
    }
