"""The look of a film: what the renderer adds to its clips."""

from pydantic import BaseModel


class Look(BaseModel, extra="forbid", frozen=True):
    """What the embedded renderer adds to the clips. The compositions of the render service have looks of their own."""

    #: The title of the film over the start of the first clip.
    title_card: bool = False
    #: The words of a caption appear one after the other.
    word_captions: bool = False
    #: "Made with AI" over the darkened end of the last clip.
    end_card: bool = False
    #: A slow push-in on passages in which the picture does not move.
    movement: bool = False

    @property
    def is_any(self) -> bool:
        """Return whether something is on."""
        return any(self.model_dump().values())
