"""Specification of a clip, separate from the renderer so that the server does not import the rendering libraries."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class ClipSpec:
    """Everything that determines the bytes of a rendered clip; width and height are in pixels.

    `image` is the path of the image that it starts from.
    """

    prompt: str
    seconds: int
    width: int
    height: int
    silent: bool = False
    image: str = ""

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 digest that seeds the random choices of the renderer."""
        return hashlib.sha256(f"{self.prompt}|{self.seconds}|{self.width}x{self.height}".encode()).digest()
