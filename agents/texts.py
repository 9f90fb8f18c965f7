"""Types of the texts that agents write. They need no language model, so commands that only read start fast."""

from dataclasses import dataclass
from operator import not_
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from providers.media.text_layout import require_drawable
from providers.publications.post import normalize_hashtags


def clean_text(text: str) -> str:
    """Return text that every table and checkpoint can store: without NUL, lone surrogates and outer white space."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode().strip()


@dataclass(frozen=True)
class TextLength:
    """A validator for text of `minimum` to `limit` characters after `clean_text`.

    The JSON schema has no lengths, because strict model servers refuse them; the core schema has: see
    `agents/structured.py`.
    """

    limit: int
    minimum: int = 1

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the text with this validator."""
        lengths = {"minLength": self.minimum, "maxLength": self.limit}
        return no_info_after_validator_function(self._check, handler(source), metadata={"lengths": lengths})

    def _check(self, text: str) -> str:
        text = clean_text(text)
        if not self.minimum <= len(text) <= self.limit:
            raise ValueError(f"must have {self.minimum} to {self.limit} characters, not {len(text)}")
        return text


OverlayText = Annotated[str, TextLength(60, minimum=0)]
NarrationText = Annotated[str, TextLength(1_000, minimum=0)]
#: Text over a clip as a model or a reviewer writes it. Texts of earlier versions are read as they are.
DrawableText = Annotated[OverlayText, AfterValidator(require_drawable)]
CaptionText = Annotated[str, TextLength(500)]
Hashtags = Annotated[list[str], BeforeValidator(normalize_hashtags)]


class _Idea(BaseModel, extra="forbid"):
    title: Annotated[str, TextLength(60)]
    scene: Annotated[str, TextLength(600)]
    sound: Annotated[str, TextLength(200)]


class Idea(_Idea):
    """The content of one clip. It starts from the image with the digest `image`; `narration` is spoken."""

    overlay: OverlayText
    # Absent when empty: a review without them keeps its digest.
    narration: Annotated[NarrationText, BeforeValidator(lambda words: words or "")] = Field("", exclude_if=not_)
    image: Annotated[str, BeforeValidator(lambda image: image or "")] = Field(
        "", pattern=r"^([0-9a-f]{64})?$", exclude_if=not_
    )


class NewIdea(_Idea):
    """The content of one clip as a model writes it, with an overlay that the film can show."""

    overlay: DrawableText


class NarratedIdea(NewIdea):
    """The content of one clip as a model writes it, with words to speak over it."""

    narration: NarrationText


class EditedIdea(Idea):
    """The content of one clip as a reviewer edits it, with an overlay that the film can show."""

    overlay: DrawableText
