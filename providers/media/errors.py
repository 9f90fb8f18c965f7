"""What can be wrong with a clip that was delivered."""

from __future__ import annotations

from providers.base import ProviderError


class BadClip(ProviderError):
    """The delivered file cannot be used as a clip. It is never repaired silently: order the clip again.

    Its code is one of `clip_empty`, `clip_not_mp4`, `clip_truncated`, `clip_corrupt`, `clip_too_large`,
    `clip_wrong_format` and `clip_wrong_length`.
    """
