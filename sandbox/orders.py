"""Orders: what a painter is told; in a room of its own, so that the server need not load a paint box."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """What is to be painted."""

    prompt: str
    seconds: int
    width: int
    height: int
    silent: bool = False

    @property
    def digest(self) -> bytes:
        """What everything in the picture is drawn from."""
        return hashlib.sha256(f"{self.prompt}|{self.seconds}|{self.width}x{self.height}".encode()).digest()
