"""Types of the texts that agents write. They need no language model, so commands that only read start fast."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator

from providers.media.text_layout import require_drawable
from providers.publications.post import normalize_hashtags


def clean_text(text: str) -> str:
    """Return text that every table and checkpoint can store: without NUL, lone surrogates and outer white space."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode().strip()


def bounded_text(limit: int, *, minimum: int = 1) -> AfterValidator:
    """Return a validator for text of `minimum` to `limit` characters after `clean_text`.

    The length is checked here and not in the JSON schema, because strict model servers refuse schemas with string
    limits.
    """

    def check(text: str) -> str:
        text = clean_text(text)
        if not minimum <= len(text) <= limit:
            raise ValueError(f"must have {minimum} to {limit} characters, not {len(text)}")
        return text

    return AfterValidator(check)


OverlayText = Annotated[str, bounded_text(60, minimum=0)]
#: Text over a clip as a model or a reviewer writes it. Texts of earlier versions are read as they are.
DrawableText = Annotated[OverlayText, AfterValidator(require_drawable)]
CaptionText = Annotated[str, bounded_text(500)]
Hashtags = Annotated[list[str], BeforeValidator(normalize_hashtags)]


class Idea(BaseModel, extra="forbid"):
    """The content of one clip."""

    title: Annotated[str, bounded_text(60)]
    scene: Annotated[str, bounded_text(600)]
    sound: Annotated[str, bounded_text(200)]
    overlay: OverlayText


class NewIdea(Idea):
    """The content of one clip, with an overlay that the film can show."""

    overlay: DrawableText
