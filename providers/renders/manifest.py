"""The render manifest: the data that describes a film, the same for every renderer; the timeline of clips and texts."""

from dataclasses import dataclass
from itertools import pairwise
from operator import not_
from typing import NamedTuple, Self

from pydantic import BaseModel, Field, ValidationError

from prompts.film_limits import MAX_FILM_SECONDS, MIN_FILM_SECONDS
from prompts.look import Look
from prompts.validation import describe_errors
from providers.base import Json, Refused

#: The longest cards in seconds, and the share of a clip that a card may have; as in the compositions of Remotion.
TITLE_SECONDS, END_SECONDS, CARD_SHARE = 2.0, 1.2, 0.48


class ClipSource(BaseModel, extra="forbid", frozen=True):
    """The origin of a clip, as far as it is known, for the provenance of the film.

    `delivered_sha256` is the digest of the provider's own file if the clip is not that file, and `start_image` that of
    the uploaded image that the clip starts from.
    """

    provider: str = Field("", max_length=200)
    model: str = Field("", max_length=200)
    delivered_sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    start_image: str = Field("", pattern="^([0-9a-f]{64})?$")


class Narration(BaseModel, extra="forbid", frozen=True):
    """The words that are spoken over a clip, the digest of the sound, and the model that speaks, as far as known."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    text: str = Field(min_length=1, max_length=1000)
    model: str = Field("", max_length=200, exclude_if=not_)


class ManifestClip(BaseModel, extra="forbid", frozen=True):
    """One clip of the film: the digest of a stored file, its length in the film, its caption, origin and narration."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    seconds: float = Field(gt=0, le=60)
    overlay: str = Field("", max_length=200)
    source: ClipSource = ClipSource()
    # Absent when empty, as the music of a film: the request of such a render is that of earlier versions.
    narration: Narration | None = Field(None, exclude_if=not_)


class Music(BaseModel, extra="forbid", frozen=True):
    """Music under a film: the digest of an uploaded sound, and a note on its licence."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    licence: str = Field(min_length=1, max_length=200)


class Manifest(BaseModel, extra="forbid", frozen=True):
    """A film: clips in order, each crossfading into the next over `crossfade_seconds`."""

    version: int = 1
    width: int = Field(1080, ge=16, le=2160)
    height: int = Field(1920, ge=16, le=2160)
    fps: int = Field(30, ge=1, le=60)
    crossfade_seconds: float = Field(0.5, ge=0, le=5)
    loudness_lufs: float = Field(-14.0, ge=-40, le=0)
    clips: list[ManifestClip] = Field(min_length=1, max_length=24)
    #: The composition, for renderers with compositions, and its texts and colour. Without a look, the embedded renderer
    #: uses none of them.
    composition: str = Field("shorts", pattern="^[a-z0-9_-]{1,64}$")
    title: str = Field("", max_length=120)
    props: dict[str, str] = Field(default_factory=dict, max_length=16)
    # Absent when nothing is on: such a manifest is that of an earlier version.
    look: Look = Field(Look(), exclude_if=lambda look: not look.is_any)
    # Absent without music: the request of such a render is that of earlier versions.
    music: Music | None = Field(None, exclude_if=not_)

    @property
    def sounds(self) -> list[str]:
        """Return the digests of the sounds that are mixed with those of the clips."""
        narrations = [clip.narration.digest for clip in self.clips if clip.narration]
        return [*([self.music.digest] if self.music else []), *narrations]

    @property
    def seconds(self) -> float:
        """Return the film's length in seconds."""
        return sum(clip.seconds for clip in self.clips) - self.crossfade_seconds * (len(self.clips) - 1)

    def with_look_of_composition(self) -> Self:
        """Return the manifest with the cards that the composition of the render service has."""
        has_cards = self.composition == "shorts"
        return self.model_copy(update={"look": Look(title_card=has_cards, end_card=has_cards)})


@dataclass(frozen=True)
class ClipSpan:
    """The film frames that show one clip, from `first_frame` up to but not including `end_frame`.

    It crossfades from the previous clip in the first `fade_in_frames`, and to the next clip in the last
    `fade_out_frames`.
    """

    first_frame: int
    end_frame: int
    fade_in_frames: int
    fade_out_frames: int

    @property
    def frames(self) -> int:
        """Return the number of frames."""
        return self.end_frame - self.first_frame

    def crossfade_weight(self, frame: int) -> float:
        """Return the weight (0..1) of this clip over the previous one at a frame of the film."""
        return min(1.0, (frame - self.first_frame + 1) / (self.fade_in_frames + 1))

    def caption_opacity(self, frame: int) -> float:
        """Return the opacity (0..1) of the clip's caption: it reaches 0 before the next caption appears."""
        fade_in = (frame - self.first_frame + 1) / (self.fade_in_frames + 1)
        fade_out = (self.end_frame - frame) / (self.fade_out_frames + 1)
        return max(0.0, min(1.0, 2 * fade_in - 1, 2 * fade_out - 1))


def parse_manifest(request: Json) -> Manifest:
    """Return the manifest of a request. Raises Refused, also if it has no valid timeline."""
    try:
        manifest = Manifest.model_validate(request)
    except ValidationError as error:
        problems = describe_errors(error.errors(), limit=5)
        raise Refused("manifest_invalid", f"The manifest is invalid: {problems}.") from error
    build_timeline(manifest)
    return manifest


def build_timeline(manifest: Manifest) -> list[ClipSpan]:
    """Return the span of each clip, from absolute times: rounding errors do not add up. Raises Refused."""
    if not MIN_FILM_SECONDS <= manifest.seconds <= MAX_FILM_SECONDS:
        limits = f"{MIN_FILM_SECONDS} to {MAX_FILM_SECONDS} seconds"
        raise Refused("manifest_invalid", f"A film must last {limits}, not {manifest.seconds:.1f}.")
    if manifest.width % 2 or manifest.height % 2:
        raise Refused("manifest_invalid", "The width and height of a film must be even.")
    bounds, start = [], 0.0
    for clip in manifest.clips:
        bounds.append((round(start * manifest.fps), round((start + clip.seconds) * manifest.fps)))
        start += clip.seconds - manifest.crossfade_seconds
    overlaps = [end - next_first for (_, end), (next_first, _) in pairwise(bounds)]
    fades = zip([0, *overlaps], [*overlaps, 0], strict=True)
    spans = [ClipSpan(*frames, *fade) for frames, fade in zip(bounds, fades, strict=True)]
    for number, span in enumerate(spans, start=1):
        if span.frames < max(1, span.fade_in_frames + span.fade_out_frames):
            raise Refused("manifest_invalid", f"Clip {number} is shorter than its crossfades.")
    return spans


class TextTimes(NamedTuple):
    """Frames of the film. A text is displayed from its first frame up to but not including its end."""

    title_end: int
    end_card_start: int
    #: The first frame and the end of the caption of each clip.
    captions: list[tuple[int, int]]


def plan_texts(manifest: Manifest) -> TextTimes:
    """Return the times of the texts, which do not overlap. Without a card, its time is empty."""
    spans, has_title = build_timeline(manifest), manifest.look.title_card and bool(manifest.title.strip())
    first, last = spans[0], spans[-1]
    title_end = _card_frames(first, first.fade_out_frames, TITLE_SECONDS * manifest.fps) if has_title else 0
    used = title_end if len(spans) == 1 else last.fade_in_frames
    end_frames = _card_frames(last, used, END_SECONDS * manifest.fps) if manifest.look.end_card else 0
    captions = [
        (span.first_frame + span.fade_in_frames // 2, span.end_frame - span.fade_out_frames // 2) for span in spans
    ]
    captions[0] = (max(captions[0][0], title_end), captions[0][1])
    captions[-1] = (captions[-1][0], last.end_frame - end_frames)
    return TextTimes(title_end, last.end_frame - end_frames, captions)


def _card_frames(span: ClipSpan, used_frames: int, most: float) -> int:
    return int(min(most, (span.frames - used_frames) * CARD_SHARE))
