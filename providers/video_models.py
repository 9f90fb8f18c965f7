"""The video models that clips can be ordered from, and what each offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from prompts.project import Project, VideoChoice
from providers.video_profiles import Profile, ProfileError


@dataclass(frozen=True)
class VideoOffer:
    """A clip as a provider offers it, with its price in USD. `sound` is None if the profile does not state it."""

    provider: str
    model: str
    seconds: int
    size: str
    sound: bool | None
    usd: Decimal


@dataclass(frozen=True)
class VideoModel:
    """A video model at a provider, by the provider's name in the settings."""

    provider: str
    profile: Profile

    def suits(self, choice: VideoChoice | None) -> bool:
        """Return whether the choice names this provider and model, or none."""
        return choice is None or (
            choice.provider in (None, self.provider) and choice.model in (None, self.profile.model)
        )

    def offer(self, seconds: int, size: str, choice: VideoChoice | None) -> VideoOffer:
        """Return the offer for a clip. Raises ProfileError for one that the model cannot generate."""
        chosen = self.profile.choose_sound(choice.sound if choice else None)
        usd = self.profile.price(seconds, size, with_sound=bool(chosen))
        return VideoOffer(self.provider, self.profile.model, seconds, size, chosen, usd)


@dataclass(frozen=True)
class VideoModels:
    """The video models in the order of preference. `callbacks` are the URLs for webhooks, by provider."""

    models: Sequence[VideoModel]
    callbacks: Mapping[str, str] = field(default_factory=dict)

    def offer(self, seconds: int, size: str, *choices: VideoChoice | None) -> VideoOffer:
        """Return the offer of the first model that can generate the clip, by the first choice that has any.

        Raises ProfileError.
        """
        error = ProfileError("video_provider_missing", "No provider of clips is configured.")
        for choice in choices or (None,):
            suitable = [model for model in self.models if model.suits(choice)]
            if choice and not suitable:
                named = " ".join(filter(None, (choice.provider, choice.model)))
                error = ProfileError("video_provider_missing", f"The settings offer no video model of {named}.")
            for number, model in enumerate(suitable):
                try:
                    return model.offer(seconds, size, choice)
                except ProfileError as reason:
                    error = error if number else reason
        raise error

    def refusal(self, project: Project) -> ProfileError | None:
        """Return why no model generates the clips of the project, or None if one does."""
        try:
            self.offer(project.clip_seconds, project.clip_size, project.video)
        except ProfileError as error:
            return error
        return None

    def is_moderation(self, code: str, message: str) -> bool:
        """Return whether a failure means that a vendor's moderation refused a prompt."""
        return any(model.profile.is_moderation(code, message) for model in self.models)
