"""The files that the settings name, and the accounts at providers of clips with their models."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

from pydantic import SecretStr

from api.settings import NO_KEY, Settings
from api.settings_types import SettingsError
from prompts.project import Project, ProjectError
from providers.video_models import VideoModel, VideoModels
from providers.video_profiles import Profile, ProfileError, load_profiles, profile_for
from providers.webhooks import Secret

#: The name of the provider with the open `/v1/videos` contract. The others have the names of their vendors.
OPEN_PROVIDER = "videos"


@dataclass(frozen=True)
class VideoAccount:
    """An account at a provider of clips. Without a URL it is at the vendor's own.

    New runs order from offered accounts only; the others answer for older orders.
    """

    provider: str
    api_key: SecretStr
    base_url: str | None
    webhook_secrets: Sequence[Secret]
    profiles: Sequence[Profile]
    is_offered: bool


class CheckedSettings(NamedTuple):
    """The projects and the accounts at providers of clips, read and checked before anything is opened.

    `offered` are the names of the projects that can be started, as far as a video model can generate their clips.
    """

    projects: dict[str, Project]
    accounts: list[VideoAccount]
    video: VideoModels
    offered: frozenset[str]

    def refusals(self) -> dict[str, ProfileError]:
        """Return, by name, the offered projects whose clips no video model generates, each with the reason."""
        found = {name: self.video.refusal(self.projects[name]) for name in self.offered}
        return {name: refusal for name, refusal in found.items() if refusal}


def check_settings(settings: Settings) -> CheckedSettings:
    """Read the files that the settings name. Raises SettingsError naming the file or variable."""
    try:
        projects = settings.projects()
        accounts = video_accounts(settings, datetime.now(UTC).date())
    except (ProjectError, ProfileError) as error:
        raise SettingsError(str(error)) from error
    offered = frozenset(settings.offered_projects or projects)
    if unknown := sorted(offered - projects.keys()):
        raise SettingsError(f"MYLOWARE_PROJECTS: {unknown[0]!r} is unknown; choose from {', '.join(sorted(projects))}.")
    for name in offered:
        if not settings.notify_escalate_urls and any(g.on_due == "escalate" for g in projects[name].gates.values()):
            raise SettingsError(f"{name}.md: a gate escalates, but MYLOWARE_NOTIFY_ESCALATE_URLS is not set.")
    return CheckedSettings(projects, accounts, video_models(settings, accounts), offered)


def video_accounts(settings: Settings, today: date) -> list[VideoAccount]:
    """Return the accounts in the order of preference. Raises SettingsError or ProfileError."""
    keys = settings.video_keys
    if not keys:  # the default of the open contract, which may be refused with the reason
        keys = {OPEN_PROVIDER: settings.openai_api_key or NO_KEY}
    offered = settings.video_providers or list(keys)
    if missing := [name for name in offered if name not in keys]:
        raise SettingsError(f"VIDEO_PROVIDERS: {missing[0]} has no key. Set one, or choose from {', '.join(keys)}.")
    profiles, names = load_profiles(settings.video_profiles), [*offered, *(keys.keys() - set(offered))]
    accounts = []
    for name in names:
        own, secrets = _profiles_of(name, profiles, settings, today), settings.webhook_secrets(name)
        accounts.append(VideoAccount(name, keys[name], settings.vendor_url(name), secrets, own, name in offered))
    return accounts


def _profiles_of(name: str, profiles: Sequence[Profile], settings: Settings, today: date) -> list[Profile]:
    if name == OPEN_PROVIDER:
        return [profile_for(profiles, settings.vendor_url(name) or "", settings.video_model or "sora-2", today)]
    return [each for each in profiles if each.kind == name and not (each.shutdown and today >= each.shutdown)]


def video_models(settings: Settings, accounts: Sequence[VideoAccount]) -> VideoModels:
    """Return the models of the offered accounts, with the URLs for webhooks of vendors that need one per order."""
    models = [
        VideoModel(account.provider, profile.model_copy(update={"models": (model,)}))
        for account in accounts
        if account.is_offered
        for profile in account.profiles
        for model in profile.models
    ]
    return VideoModels(models, {each.provider: url for each in accounts if (url := callback_url(settings, each))})


def callback_url(settings: Settings, account: VideoAccount) -> str | None:
    """Return the URL for webhooks about orders of the account; None if the vendor cannot send any."""
    public = settings.public_url or ""
    # A server of one's own may be on the same machine.
    if account.provider == OPEN_PROVIDER or not public.startswith("https://" if account.base_url is None else "http"):
        return None
    return f"{public}/v1/webhooks/video/{account.provider}"
