"""What a render is made from: data only, the same for every renderer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ManifestClip(BaseModel):
    """One clip of the film: a kept file, how many seconds of it, and the text laid over it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    seconds: float = Field(gt=0, le=60)
    overlay: str = Field("", max_length=200)


class Manifest(BaseModel):
    """A film: clips in order, each crossfading into the next over `crossfade_seconds`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    width: int = Field(1080, ge=16, le=2160)
    height: int = Field(1920, ge=16, le=2160)
    fps: int = Field(30, ge=1, le=60)
    crossfade_seconds: float = Field(0.5, ge=0, le=5)
    loudness_lufs: float = Field(-14.0, ge=-40, le=0)
    clips: list[ManifestClip] = Field(min_length=1, max_length=24)
    #: The look and its own words, for a renderer that has looks; the embedded one has none and leaves them out.
    composition: str = Field("shorts", pattern="^[a-z0-9_-]{1,64}$")
    title: str = Field("", max_length=120)
    props: dict[str, str] = Field(default_factory=dict, max_length=16)

    @property
    def seconds(self) -> float:
        """The film's length in seconds."""
        return sum(clip.seconds for clip in self.clips) - self.crossfade_seconds * (len(self.clips) - 1)
