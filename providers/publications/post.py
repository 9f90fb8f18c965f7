"""What is published: a kept film with its words, made by AI and always labelled so."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from providers.base import Json

_NAMESPACE = uuid.UUID("5f0c1f0e-6f4e-5a53-9d0a-3f1f3f0b6a11")


@dataclass(frozen=True)
class Post:
    """A publication as ordered. `digest` is the film's sha256; `hashtags` stand with or without their `#`."""

    digest: str
    caption: str
    hashtags: Sequence[str]
    title: str
    platforms: Sequence[str]

    @property
    def text(self) -> str:
        """Caption and hashtags, as they stand under the film."""
        tags = " ".join(f"#{tag.lstrip('#')}" for tag in self.hashtags)
        return "\n\n".join(part for part in (self.caption, tags) if part)


def read_post(request: Json) -> Post:
    """The post that an order's request asks for."""
    return Post(
        digest=request["digest"],
        caption=request["caption"],
        hashtags=tuple(request.get("hashtags") or ()),
        title=request.get("title") or "",
        platforms=tuple(request["platforms"]),
    )


def id_of(request: Json, key: str) -> str:
    """The id of an order, known before it is placed: its own `request_id`, else one made from its key."""
    return str(request.get("request_id") or uuid.uuid5(_NAMESPACE, key).hex)
