"""A publication: a stored film with its title, caption and hashtags, labelled as made by AI."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from providers.base import Json

_NAMESPACE = uuid.UUID("5f0c1f0e-6f4e-5a53-9d0a-3f1f3f0b6a11")


@dataclass(frozen=True)
class Post:
    """An ordered publication. `digest` is the sha256 of the film; hashtags can start with `#` or not."""

    digest: str
    caption: str
    hashtags: tuple[str, ...]
    title: str
    platforms: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return caption and hashtags as published with the film."""
        tags = " ".join(f"#{tag.lstrip('#')}" for tag in self.hashtags)
        return "\n\n".join(part for part in (self.caption, tags) if part)


def read_post(request: Json) -> Post:
    """Return the publication that an order's request describes."""
    return Post(
        digest=request["digest"],
        caption=request["caption"],
        hashtags=tuple(request.get("hashtags") or ()),
        title=request.get("title") or "",
        platforms=tuple(request["platforms"]),
    )


def id_of(request: Json, key: str) -> str:
    """Return the id of an order, known before it is placed: its `request_id`, or one derived from its key."""
    return str(request.get("request_id") or uuid.uuid5(_NAMESPACE, key).hex)
