"""Errors about delivered clips."""

from providers.base import ProviderError


class InvalidClip(ProviderError):
    """The delivered file cannot be used as a clip and is not repaired silently: order the clip again.

    The code is one of `clip_empty`, `clip_not_mp4`, `clip_truncated`, `clip_corrupt`, `clip_too_large`,
    `clip_wrong_format` and `clip_wrong_length`.
    """
