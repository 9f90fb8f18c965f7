"""A publication: a stored film with its title, caption and hashtags, labelled as made by AI."""

import uuid
from operator import not_
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from providers.base import Json
from providers.publications.texts import post_text

_NAMESPACE = uuid.UUID("5f0c1f0e-6f4e-5a53-9d0a-3f1f3f0b6a11")


class Post(BaseModel):
    """The publication in an order's request.

    `digest` is the sha256 of the film; hashtags can start with `#` or not. `destinations` are the page, board or
    subreddit of the platforms that need one.
    """

    model_config = ConfigDict(frozen=True)

    title: Annotated[str, BeforeValidator(lambda title: title or "")] = ""
    caption: str
    hashtags: Annotated[tuple[str, ...], BeforeValidator(lambda hashtags: hashtags or ())] = ()
    platforms: tuple[str, ...]
    destinations: dict[str, str] = Field({}, exclude_if=not_)
    digest: str

    @property
    def text(self) -> str:
        """Return caption and hashtags as published with the film."""
        return post_text(self.caption, self.hashtags)


def id_of(request: Json, key: str) -> str:
    """Return the id of an order, known before it is placed: its `request_id`, or one derived from its key."""
    return str(request.get("request_id") or uuid.uuid5(_NAMESPACE, key).hex)
