"""Which pictures of a film belong to which clip, counted in frames."""

from __future__ import annotations

from dataclasses import dataclass

from providers.base import ProviderError
from providers.renders.manifest import Manifest

MIN_SECONDS, MAX_SECONDS = 3, 180


class BadManifest(ProviderError):
    """The manifest does not describe a film that can be made."""

    def __init__(self, message: str) -> None:
        super().__init__("manifest_invalid", message)


@dataclass(frozen=True)
class Cut:
    """The frames of the film one clip is seen in, from `first` up to and without `end`.

    In the first `fade_in` of them it comes out of the clip before, in the last `fade_out` it goes into the next.
    """

    first: int
    end: int
    fade_in: int
    fade_out: int

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.end - self.first

    def share(self, frame: int) -> float:
        """How much of the picture is this clip's rather than the one's before, 0..1, at a frame of the film."""
        return min(1.0, (frame - self.first + 1) / (self.fade_in + 1))

    def text_share(self, frame: int) -> float:
        """How visible its text is, 0..1: one text has gone before the next comes."""
        coming = (frame - self.first + 1) / (self.fade_in + 1)
        going = (self.end - frame) / (self.fade_out + 1)
        return max(0.0, min(1.0, 2 * coming - 1, 2 * going - 1))


def timeline(manifest: Manifest) -> list[Cut]:
    """The cut of each clip. Times are rounded as a whole, so that no error adds up.

    Raises BadManifest.
    """
    if not MIN_SECONDS <= manifest.seconds <= MAX_SECONDS:
        raise BadManifest(f"A film lasts {MIN_SECONDS} to {MAX_SECONDS} seconds, not {manifest.seconds:.1f}.")
    if manifest.width % 2 or manifest.height % 2:
        raise BadManifest("A film's width and height are even numbers.")
    starts: list[int] = []
    ends: list[int] = []
    start = 0.0
    for clip in manifest.clips:
        starts.append(round(start * manifest.fps))
        ends.append(round((start + clip.seconds) * manifest.fps))
        start += clip.seconds - manifest.crossfade_seconds
    overlaps = [end - next_start for end, next_start in zip(ends, starts[1:], strict=False)]
    cuts = [
        Cut(first, end, fade_in, fade_out)
        for first, end, fade_in, fade_out in zip(starts, ends, [0, *overlaps], [*overlaps, 0], strict=True)
    ]
    for number, cut in enumerate(cuts, start=1):
        if cut.frames < max(1, cut.fade_in + cut.fade_out):
            raise BadManifest(f"Clip {number} is shorter than its crossfades.")
    return cuts
