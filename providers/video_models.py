"""The video models that clips can be ordered from, and what each offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from prompts.project import Project, VideoChoice
from providers.base import ProviderError
from providers.video_profiles import Profile, ProfileError
from providers.video_provider import VideoProvider

#: Where a price is from: a list price in a built-in profile, a quote of the provider, or the owner's own profile.
PriceSource = Literal["profile", "quote", "owner"]
#: A price depends on everything in a request but its words.
QUOTED_PROMPT = "A calm scene."

#: How much the shapes of an image and of the clip that starts from it may differ.
SHAPE_TOLERANCE = 0.02


@dataclass(frozen=True)
class VideoOffer:
    """A clip as a provider offers it, with its price in USD. `sound` is None if the profile does not state it."""

    provider: str
    model: str
    seconds: int
    size: str
    sound: bool | None
    usd_per_clip: Decimal
    price_source: PriceSource = "profile"


@dataclass(frozen=True)
class VideoModel:
    """A video model at a provider, by the provider's name in the settings."""

    provider: str
    profile: Profile

    def suits(self, choice: VideoChoice | None) -> bool:
        """Return whether the choice names this provider and model, or none."""
        named = choice or VideoChoice()
        return named.provider in (None, self.provider) and named.model in (None, self.profile.model)

    def offer(self, seconds: int, size: str, choice: VideoChoice | None) -> VideoOffer:
        """Return the offer for a clip. Raises ProfileError for one that the model cannot generate."""
        chosen = self.profile.choose_sound(choice.sound if choice else None)
        usd = self.profile.price(seconds, size, with_sound=bool(chosen))
        source: PriceSource = "owner" if self.profile.is_own else "profile"
        return VideoOffer(self.provider, self.profile.model, seconds, size, chosen, usd, source)


@dataclass(frozen=True)
class VideoModels:
    """The video models in the order of preference.

    By the name of the provider, `callbacks` are the URLs for webhooks, and `providers` those that may quote prices.
    """

    models: Sequence[VideoModel]
    callbacks: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, VideoProvider] = field(default_factory=dict)

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

    async def with_quote(self, offer: VideoOffer) -> VideoOffer:
        """Return the offer at the price that its provider quotes, or as it is if there is no quote at present."""
        provider = self.providers.get(offer.provider)
        request = {"model": offer.model, "prompt": QUOTED_PROMPT, "seconds": offer.seconds, "size": offer.size}
        if offer.sound is not None:
            request["sound"] = offer.sound
        try:
            usd = await provider.quote(request) if provider else None
        except ProviderError:
            usd = None
        return offer if usd is None else replace(offer, usd_per_clip=usd, price_source="quote")

    def image_refusal(self, provider: str, model: str, size: str, image: tuple[int, int]) -> str | None:
        """Return why a clip of this offer cannot start from an image of these pixels, or None if it can."""
        choice, clip = VideoChoice(provider=provider or None, model=model), [int(side) for side in size.split("x")]
        profile = next((each.profile for each in self.models if each.suits(choice)), None)
        if profile is None or not profile.start_image:
            return f"{model} takes no start image: remove the image, or set another model."
        stretch = abs(image[0] * clip[1] / (image[1] * clip[0]) - 1)
        # The open contract takes an image of the size of the clip only.
        if stretch <= SHAPE_TOLERANCE if profile.input_fields else list(image) == clip:
            return None
        form = "in the shape of" if profile.input_fields else "of exactly"
        return f"{model} takes a start image {form} {size} pixels, and this one has {image[0]}x{image[1]}."

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
