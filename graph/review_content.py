"""The content of a review, the digest that a decision is bound to, and the effect of edits."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import not_
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from agents.texts import CaptionText, DrawableText, EditedIdea, Hashtags, Idea, clean_text
from graph.decisions import Gate
from graph.state import CaptionState, ChangeResult, IdeasState, RunState
from prompts.project import MAX_CLIPS
from prompts.validation import describe_errors
from providers.film_mark import FilmMark
from providers.orders import digest_of
from providers.publications.post import caption_problem, fit_post
from providers.renders.manifest import Music
from providers.speech import SpeechOffer
from providers.video_models import PriceSource

#: What every gate shows with MODERATION=none.
UNMODERATED = "No moderation has checked the brief and the ideas, because MODERATION is none."


class EditError(ValueError):
    """The edits or the sample of a reviewer do not fit the content; the message names the place."""

    def __init__(self, message: str, field: str = "edits") -> None:
        super().__init__(message)
        self.field = field


def _parse_time(value: object) -> datetime:
    """Return a time in ISO form, in UTC. Raises ValueError for one without a zone."""
    try:
        at = datetime.fromisoformat(str(value).strip())
        if at.tzinfo:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its zone, such as 2026-12-01T18:00:00+01:00")


def _clean_music(value: Any) -> Any:
    """Return the music of an edit with a clean note on its licence, or None if it is empty."""
    if isinstance(value, dict) and isinstance(value.get("licence"), str):
        return {**value, "licence": clean_text(value["licence"])}
    return value or None


PublishTime = Annotated[datetime, BeforeValidator(_parse_time)]


class _Content(BaseModel, frozen=True, extra="forbid"):
    version: Literal[1] = 1
    # Absent when empty, as below: a review that an earlier version opened keeps its digest.
    moderation: Literal["none"] | None = Field(None, exclude_if=not_, description="Absent if the texts were moderated.")

    @property
    def remarks(self) -> list[str]:
        """Return sentences that a reviewer must see with the content."""
        return [UNMODERATED] if self.moderation else []

    @property
    def digest(self) -> str:
        """Return the digest that a decision about this content is bound to."""
        return digest_of(self.model_dump(mode="json"))

    def _edited(self, edits: Any) -> Self:
        """Return the content with these edits. Raises EditError or ValidationError."""
        raise NotImplementedError


def _price_usd(offer: Mapping[str, Any]) -> Decimal:
    """Return the price of the clips to order and of the narrations that are not ordered yet."""
    return cast("Decimal", offer["usd_per_clip"] * len(offer["make"]) + _speech_usd(**offer))


def _speech_usd(ideas: Sequence[Idea], speech: SpeechOffer | None, narrated: Collection[str], **_: Any) -> Decimal:
    return speech.usd_of({idea.narration for idea in ideas} - {*narrated}) if speech else Decimal(0)


class IdeasContent(_Content):
    """Content of the ideation gate: the ideas, the clips to order and their cost. Lengths in seconds.

    `speech` is the offer of the narrations, `narrated` are those that are ordered already. `follows` are the rules of
    the project that the ideas were made with.
    """

    gate: Literal["ideation"] = "ideation"
    title: str
    ideas: list[Idea]
    make: list[int]
    # Absent in reviews that an earlier version opened, which keep their digest.
    provider: str = Field("", exclude_if=not_)
    model: str
    sound: bool | None = Field(None, exclude_if=lambda sound: sound is None)
    seconds: int
    size: str
    usd_per_clip: Decimal
    price_source: PriceSource | None = Field(None, exclude_if=not_)
    speech: SpeechOffer | None = Field(None, exclude_if=not_)
    narrated: list[str] = Field([], exclude_if=not_)
    follows: list[str] = Field([], exclude_if=not_)
    estimated_usd: Decimal = Field(default_factory=_price_usd)
    notice: str | None = None

    @property
    def speech_note(self) -> str:
        """Return who speaks the narrations, and their price; empty without a voice."""
        if not self.speech:
            return ""
        narrator = f"{self.speech.voice} of {self.speech.model}"
        return f"{narrator} speaks the narrations for {_speech_usd(**vars(self))} USD of that."

    @property
    def price_note(self) -> str:
        """Return where the price is from, in words; empty for a list price."""
        return {"owner": "price set by you", "quote": f"quoted by {self.provider}"}.get(self.price_source or "", "")

    @property
    def remarks(self) -> list[str]:
        """Return sentences that a reviewer must see with the content."""
        return [*super().remarks, *([self.notice] if self.notice else [])]

    def _edited(self, edits: Any) -> Self:
        ideas = [Idea.model_construct(**vars(idea)) for idea in _EDITED_IDEAS.validate_python(edits)]
        count = len(self.ideas)
        if not self.speech and any(idea.narration for idea in ideas):
            raise EditError("edits: the project has no voice, so a clip can have no narration.")
        if len(ideas) == count:
            self._check_made_clips(ideas)
            return self._priced(ideas=ideas)
        if not ideas or len(self.make) != count:
            raise EditError(f"edits: expected {count} ideas, got {len(ideas)}.")
        return self._priced(ideas=ideas, make=list(range(1, len(ideas) + 1)))

    def with_sample(self, clips: Collection[int]) -> Self:
        """Return the content with these clips as the only ones to order. Raises EditError."""
        if not set(clips) <= set(self.make):
            offered = ", ".join(map(str, self.make)) or "none"
            raise EditError(f"sample: choose from the clips to generate: {offered}.", "sample")
        return self._priced(make=sorted(set(clips)))

    def _priced(self, **update: Any) -> Self:
        """Return the content with these changes and their price."""
        changed = self.model_copy(update=update)
        return changed.model_copy(update={"estimated_usd": _price_usd(vars(changed))})

    def _check_made_clips(self, ideas: Sequence[Idea]) -> None:
        """Raise EditError if an idea was changed whose clip is there already. The text over it can be changed."""
        for number, (before, after) in enumerate(zip(self.ideas, ideas, strict=True), start=1):
            if number not in self.make and after.model_copy(update={"overlay": before.overlay}) != before:
                raise EditError(f"edits: clip {number} is generated already. Request changes to get another one.")


class FilmFile(BaseModel):
    """The rendered film, by its digest, and its C2PA mark. `c2pa` is absent if the film is not marked."""

    digest: str
    seconds: float
    c2pa: FilmMark | None = Field(None, exclude_if=not_)


class FilmClip(BaseModel):
    """A clip of the film: the take in use, the takes to choose from, and the text over it."""

    clip: int
    take: int
    takes: list[int]
    overlay: str


class FilmContent(_Content):
    """Content of the publish gate: the film and the post. `usd_per_clip` is the price of another take.

    `destinations` are pages, boards or subreddits by platform, `publisher` is the service and account that posts, and
    `notices` are sentences about what a platform does not take, `warnings` about faults of the film and its clips. They
    are absent where there are none. Only approved content has `publish_at`: nothing is posted before that time.
    `labels` are the flags for generated content that the platforms get; with `disclosure` "required" no film without a
    valid mark is posted.
    """

    gate: Literal["publish"] = "publish"
    film: FilmFile
    title: str
    clips: list[FilmClip]
    usd_per_clip: Decimal
    caption: str
    hashtags: list[str]
    platforms: list[str]
    labelled_as_ai: Literal[True] = True
    # Absent when empty: a review that an earlier version opened keeps its digest.
    destinations: dict[str, str] = Field({}, exclude_if=not_)
    publisher: str = Field("", exclude_if=not_)
    notices: list[str] = Field([], exclude_if=not_)
    warnings: list[str] = Field([], exclude_if=not_)
    publish_at: PublishTime | None = Field(None, exclude_if=not_)
    music: Music | None = Field(None, exclude_if=not_)
    labels: dict[str, str] = Field({}, exclude_if=not_)
    disclosure: Literal["required", "optional"] | None = Field(None, exclude_if=not_)

    @property
    def mark_note(self) -> str:
        """Return in words whether and how the film is marked, and whether the project requires it."""
        mark, required = self.film.c2pa, " The project requires a mark." if self.disclosure == "required" else ""
        if mark is None:
            return f"Not marked as AI-generated by a C2PA manifest.{required}"
        kind = " (a certificate for development, which readers call untrusted)" if mark.development else ""
        return f"Marked as {mark.source_type} by a C2PA manifest, signed by {mark.signed_by}{kind}.{required}"

    @property
    def remarks(self) -> list[str]:
        """Return sentences that a reviewer must see with the content."""
        scheduled = [f"Scheduled for {self.publish_at:%Y-%m-%d %H:%M} UTC."] if self.publish_at else []
        return [*super().remarks, *self.warnings, *self.notices, *scheduled]

    def _edited(self, edits: Any) -> Self:
        changes = FilmEdits.model_validate(edits)
        if unknown := set(changes.overlays) - {clip.clip for clip in self.clips}:
            raise EditError(f"edits.overlays: the film has no clip {min(unknown)}.")
        overlays = {clip.clip: clip.overlay for clip in self.clips} | changes.overlays
        clips = [clip.model_copy(update={"overlay": overlays[clip.clip]}) for clip in self.clips]
        update = {**self._edited_post(changes), "clips": clips, "publish_at": changes.publish_at or self.publish_at}
        if "music" in changes.model_fields_set:
            update["music"] = changes.music
        if changes.platforms is not None:
            update |= self._only_on(changes.platforms)
        return self.model_copy(update=update)

    def _only_on(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the fields of the post for these platforms only."""
        if not names or not set(names) <= set(self.platforms):
            raise EditError(f"edits.platforms: choose from {', '.join(self.platforms)}.")
        chosen = {name: None for name in self.platforms if name in names}
        places, labels = ({n: each[n] for n in chosen if n in each} for each in (self.destinations, self.labels))
        return {"platforms": [*chosen], "destinations": places, "labels": labels}

    def _edited_post(self, changes: "FilmEdits") -> dict[str, Any]:
        """Return the edited fields of the post: a caption as it is, or not at all; hashtags as far as they fit."""
        if changes.caption is None and changes.hashtags is None:
            return {}
        if changes.caption and (problem := caption_problem(changes.caption, self.platforms)):
            raise EditError(f"edits.caption: {problem}.")
        caption = self.caption if changes.caption is None else changes.caption
        hashtags = self.hashtags if changes.hashtags is None else changes.hashtags
        return vars(fit_post(self.title, caption, hashtags, self.platforms))


ReviewContent = Annotated[IdeasContent | FilmContent, Field(discriminator="gate")]


class Review(BaseModel, frozen=True):
    """A review: the content that a gate presents under a revision number, counted per gate from 1.

    `requested` is what the last comment requested. It is not part of the content that a decision is bound to.
    """

    gate: Gate
    revision: int
    digest: str
    content: ReviewContent
    requested: list[ChangeResult] = []


class FilmEdits(BaseModel, extra="forbid"):
    """Changes to a film that need no new clip. `overlays` are texts by clip number; see `FilmContent.publish_at`.

    `music` is null or empty to remove it; `platforms` are the only ones to publish on, of those of the film.
    """

    caption: CaptionText | None = None
    hashtags: Hashtags | None = None
    overlays: dict[int, DrawableText] = {}
    publish_at: PublishTime | None = None
    music: Annotated[Music | None, BeforeValidator(_clean_music)] = None
    platforms: list[str] | None = None


#: The fields of a post that edits change.
EDITED_POST = {"caption", "hashtags", "notices", "publish_at", "platforms", "destinations", "labels"}

ContentT = TypeVar("ContentT", bound=_Content)
_CONTENT: TypeAdapter[ReviewContent] = TypeAdapter(ReviewContent)
_IDEAS = TypeAdapter(list[Idea])
_EDITED_IDEAS = TypeAdapter(Annotated[list[EditedIdea], Field(max_length=MAX_CLIPS)])


def parse_content(value: Any) -> ReviewContent:
    """Return the content that a JSON value holds. Raises ValidationError."""
    return _CONTENT.validate_python(value)


def open_review(gate: Gate, state: RunState) -> Review:
    """Return the review that the gate opens in this state."""
    content = content_at(gate, state)
    revision, requested = next_revision(gate, state), state.get("requested", [])
    return Review(gate=gate, revision=revision, digest=content.digest, content=content, requested=requested)


def next_revision(gate: Gate, state: RunState) -> int:
    """Return the revision of the next review of the gate: the number of decisions at it, plus one."""
    return int(state.get("decisions", {}).get(gate, {}).get("revision", 0)) + 1


def content_at(gate: Gate, state: RunState) -> ReviewContent:
    """Return what the gate presents in this state."""
    ideas = state["ideas"]
    if gate == "ideation":
        return IdeasContent.model_validate(ideas)
    clips, made = state["clips"], state["made"]
    return FilmContent(
        moderation=ideas.get("moderation"),
        film=FilmFile.model_validate(state["film"]),
        title=ideas["title"],
        clips=[
            FilmClip(clip=n, take=clips[str(n)]["take"], takes=sorted(map(int, made[str(n)])), overlay=idea.overlay)
            for n, idea in used_ideas(state)
        ],
        usd_per_clip=Decimal(ideas["usd_per_clip"]),
        warnings=state["film"].get("notices", []),
        music=Music.model_validate(state["music"]) if state.get("music") else None,
        **state["caption"],
    )


def channels_of(content: ReviewContent, state: RunState) -> RunState:
    """Return the channels that hold what can be edited at a gate, with this content."""
    if isinstance(content, IdeasContent):
        return {
            "ideas": {**state["ideas"], "ideas": [idea.model_dump() for idea in content.ideas], "make": content.make}
        }
    overlays = {clip.clip: clip.overlay for clip in content.clips}
    post = content.model_dump(mode="json", include=EDITED_POST)
    kept = {name: value for name, value in state["caption"].items() if name not in EDITED_POST}
    caption = cast("CaptionState", {**kept, "notices": [], **post})
    update: RunState = {"caption": caption, "ideas": with_overlays(state["ideas"], overlays)}
    # A run that never had music has no channel of it.
    if content.music or "music" in state:
        update["music"] = content.music.model_dump() if content.music else {}
    return update


def with_overlays(ideas: IdeasState, overlays: Mapping[int, str]) -> IdeasState:
    """Return the ideas with these texts over their clips, by clip number."""
    edited = [{**idea, "overlay": overlays.get(n, idea["overlay"])} for n, idea in enumerate(ideas["ideas"], start=1)]
    return {**ideas, "ideas": edited}


def ideas_of(state: RunState) -> list[Idea]:
    """Return all ideas, in order of their clip numbers."""
    return _IDEAS.validate_python(state["ideas"]["ideas"])


def used_ideas(state: RunState) -> list[tuple[int, Idea]]:
    """Return the ideas that are in the film, each with the number of its clip."""
    dropped = state.get("dropped", [])
    return [(number, idea) for number, idea in enumerate(ideas_of(state), start=1) if number not in dropped]


def edited_content(content: ContentT, edits: Any, sample: Collection[int] = ()) -> ContentT:
    """Return the content with the edits and the sample of a reviewer. Raises EditError.

    At the ideation gate `edits` is the complete list of ideas, in any order; ideas may be left out and added as long as
    all clips are still to be ordered. At the publish gate it is an object: see `FilmEdits`.
    """
    try:
        edited = content if edits is None else content._edited(edits)
    except ValidationError as error:
        raise EditError(f"{describe_errors(error.errors(), root='edits')}.") from error
    if not sample:
        return edited
    if not isinstance(edited, IdeasContent):
        raise EditError("sample: only the ideation gate offers clips.", "sample")
    return edited.with_sample(sample)


def changed_fields(before: ReviewContent, after: ReviewContent) -> list[str]:
    """Return the names of the fields that differ, sorted."""
    return sorted(name for name, value in after if value != getattr(before, name))


def describe_clips(content: ReviewContent) -> str:
    """Return the remarks on the content, at the ideation gate after a sentence about each clip to order."""
    if not isinstance(content, IdeasContent):
        return " ".join(content.remarks)
    sound = {True: ", with sound", False: ", without sound", None: ""}[content.sound]
    provider = f" at {content.provider}" if content.provider else ""
    price = f", {content.price_note}" if content.price_note else ""
    each = f"Each is {content.seconds} s of {content.size} by {content.model}{provider}{sound}{price}."
    follows = f"Follows: {'; '.join(content.follows)}." if content.follows else ""
    starts = [f"Clip {n} starts from image {idea.image[:8]}." for n, idea in enumerate(content.ideas, 1) if idea.image]
    return " ".join([each, *filter(None, [content.speech_note, follows]), *starts, *content.remarks])


def interrupt_payload(review: Review) -> dict[str, Any]:
    """Return the review in the form that Studio, Agent Inbox and Agent Chat UI display and answer.

    Agent Chat UI checks the type of every field of `action_requests` and `review_configs`, and reads `args`. Agent
    Inbox reads `arguments`, and cannot show a null.
    """
    content = review.content
    if isinstance(content, IdeasContent):
        name, question = "make_clips", f"Make {len(content.make)} clips for {content.estimated_usd} USD?"
    else:
        name, question = "publish_film", f"Publish the film to {', '.join(content.platforms)}?"
    payload = review.model_dump(mode="json")
    args = {name: value for name, value in payload["content"].items() if value is not None}
    description = f"{question} {describe_clips(content)}".strip()
    return {
        **payload,
        "action_requests": [{"name": name, "args": args, "arguments": args, "description": description}],
        "review_configs": [{"action_name": name, "allowed_decisions": ["approve", "edit", "reject"]}],
    }
