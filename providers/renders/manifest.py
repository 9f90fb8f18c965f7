"""The render manifest: the data that describes a film, the same for every renderer."""

from pydantic import BaseModel, Field


class ManifestClip(BaseModel, extra="forbid", frozen=True):
    """One clip of the film: the digest of a stored file, its length in the film, and its caption."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    seconds: float = Field(gt=0, le=60)
    overlay: str = Field("", max_length=200)


class Manifest(BaseModel, extra="forbid", frozen=True):
    """A film: clips in order, each crossfading into the next over `crossfade_seconds`."""

    version: int = 1
    width: int = Field(1080, ge=16, le=2160)
    height: int = Field(1920, ge=16, le=2160)
    fps: int = Field(30, ge=1, le=60)
    crossfade_seconds: float = Field(0.5, ge=0, le=5)
    loudness_lufs: float = Field(-14.0, ge=-40, le=0)
    clips: list[ManifestClip] = Field(min_length=1, max_length=24)
    #: The composition and its texts, for renderers with compositions; the embedded renderer ignores them.
    composition: str = Field("shorts", pattern="^[a-z0-9_-]{1,64}$")
    title: str = Field("", max_length=120)
    props: dict[str, str] = Field(default_factory=dict, max_length=16)

    @property
    def seconds(self) -> float:
        """Return the film's length in seconds."""
        return sum(clip.seconds for clip in self.clips) - self.crossfade_seconds * (len(self.clips) - 1)
