"""The settings: one class, read from the environment and from `.env`. `api/wiring.py` uses them, nothing else."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from prompts.project import FOLDER, Project, read_projects
from providers.video_profiles import VideoModel, load_profiles, profile_for
from providers.webhooks import Secret, parse_secret

OPENAI = "https://api.openai.com/v1"
#: Names that begin so are ours: one that is not known is a mistake.
OURS = ("MYLOWARE_", "VIDEO_", "UPLOAD_POST_", "REMOTION_")


class SettingsError(ValueError):
    """A setting cannot be used; the message is one sentence that names it."""


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _not_blank(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("is set, but empty")
    return value


def _url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or len(value.split("/")) < 3 or not value.split("/")[2]:
        raise ValueError("must be an http or https address")
    return value.rstrip("/")


def _host(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9.:_-]+", value := value.strip().lower().strip("[]")):
        raise ValueError("must be the name or address of a host, without a scheme and a port")
    return value


def _under(path: str) -> AfterValidator:
    """A rule for an address that may leave out the path under which such servers answer."""
    return AfterValidator(lambda url: url if url.count("/") > 2 else url + path)


Secretive = Annotated[SecretStr, AfterValidator(_not_blank)]
Url = Annotated[str, AfterValidator(_url)]
Secrets = Annotated[list[Secretive], NoDecode]
Urls = Annotated[list[Url], NoDecode]
Hosts = Annotated[list[Annotated[str, AfterValidator(_host)]], NoDecode]


class ModelServer(BaseModel):
    """Where the language model and the moderation are asked."""

    model_config = ConfigDict(frozen=True)

    base_url: str
    api_key: SecretStr
    model: str


class VideoServer(BaseModel):
    """Where clips are ordered, and the secrets of its webhooks."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    base_url: str
    api_key: SecretStr
    video: VideoModel
    webhook_secrets: tuple[Secret, ...]


class UploadPostPublisher(BaseModel):
    """Films are published through Upload-Post."""

    model_config = ConfigDict(frozen=True)

    publisher: Literal["upload_post"] = "upload_post"
    url: str
    api_key: SecretStr
    user: str


class FolderPublisher(BaseModel):
    """Films are laid into a folder."""

    model_config = ConfigDict(frozen=True)

    publisher: Literal["folder"] = "folder"
    folder: Path


class Settings(BaseSettings):
    """Every setting. Money is in USD."""

    model_config = SettingsConfigDict(env_file=".env", extra="forbid", frozen=True, populate_by_name=True)

    data_dir: Path = Field(Path(".myloware"), alias="MYLOWARE_DATA_DIR")
    api_keys: Secrets | None = Field(None, alias="MYLOWARE_API_KEYS")
    limited_api_keys: Secrets | None = Field(None, alias="MYLOWARE_LIMITED_API_KEYS")
    projects_dir: Path | None = Field(None, alias="MYLOWARE_PROJECTS_DIR")
    store_url: str | None = Field(None, alias="MYLOWARE_STORE_URL")
    publish_folder: Path | None = Field(None, alias="MYLOWARE_PUBLISH_FOLDER")
    day_cap_usd: Decimal = Field(Decimal(100), alias="MYLOWARE_DAY_CAP_USD", ge=0)
    rate_limit: int = Field(60, alias="MYLOWARE_RATE_LIMIT", ge=1)
    database_url: Secretive | None = Field(None, alias="DATABASE_URL")

    openai_api_key: Secretive | None = Field(None, alias="OPENAI_API_KEY")
    openai_base_url: Annotated[Url, _under("/v1")] | None = Field(None, alias="OPENAI_BASE_URL")
    openai_model: str = Field("gpt-5-mini", alias="OPENAI_MODEL", min_length=1)
    usd_per_million_input_tokens: Decimal = Field(Decimal(0), alias="OPENAI_USD_PER_MILLION_INPUT_TOKENS", ge=0)
    usd_per_million_output_tokens: Decimal = Field(Decimal(0), alias="OPENAI_USD_PER_MILLION_OUTPUT_TOKENS", ge=0)

    video_base_url: Annotated[Url, _under("/v1")] | None = Field(None, alias="VIDEO_BASE_URL")
    video_model: str | None = Field(None, alias="VIDEO_MODEL", min_length=1)
    video_api_key: Secretive | None = Field(None, alias="VIDEO_API_KEY")
    video_webhook_secrets: Secrets | None = Field(None, alias="VIDEO_WEBHOOK_SECRETS")
    video_profiles: Path | None = Field(None, alias="VIDEO_PROFILES")

    remotion_url: Url | None = Field(None, alias="REMOTION_URL")
    remotion_service_key: Secretive | None = Field(None, alias="REMOTION_SERVICE_KEY")
    remotion_webhook_secrets: Secrets | None = Field(None, alias="REMOTION_WEBHOOK_SECRETS")

    upload_post_url: Annotated[Url, _under("/api")] | None = Field(None, alias="UPLOAD_POST_URL")
    upload_post_api_key: Secretive | None = Field(None, alias="UPLOAD_POST_API_KEY")
    upload_post_user: str = Field("myloware", alias="UPLOAD_POST_USER", min_length=1)

    public_url: Url | None = Field(None, alias="MYLOWARE_PUBLIC_URL")
    notify_urls: Urls | None = Field(None, alias="MYLOWARE_NOTIFY_URLS")
    notify_escalate_urls: Urls | None = Field(None, alias="MYLOWARE_NOTIFY_ESCALATE_URLS")
    notify_secret: Secretive | None = Field(None, alias="MYLOWARE_NOTIFY_SECRET")
    notify_private_hosts: Hosts | None = Field(None, alias="MYLOWARE_NOTIFY_PRIVATE_HOSTS")

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: Any) -> Any:
        fields = (
            "api_keys",
            "limited_api_keys",
            "video_webhook_secrets",
            "remotion_webhook_secrets",
            "notify_urls",
            "notify_escalate_urls",
            "notify_private_hosts",
        )
        lists = {name for field in fields for name in (field, cls.model_fields[field].alias)}
        return {name: _listed(value) if name in lists else value for name, value in values.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if set(self.api_keys or []) & set(self.limited_api_keys or []):
            raise ValueError("MYLOWARE_LIMITED_API_KEYS and MYLOWARE_API_KEYS have a key in common")
        if self.publish_folder and (self.upload_post_url or self.upload_post_api_key):
            raise ValueError("MYLOWARE_PUBLISH_FOLDER and UPLOAD_POST_… are both set: choose one publisher")
        if self.upload_post_url and not self.upload_post_api_key:
            raise ValueError("UPLOAD_POST_URL is set, and UPLOAD_POST_API_KEY is missing")
        return self

    @model_validator(mode="after")
    def _notices_can_be_sent(self) -> Self:
        named = {"MYLOWARE_NOTIFY_URLS": self.notify_urls, "MYLOWARE_NOTIFY_ESCALATE_URLS": self.notify_escalate_urls}
        for name, urls in named.items():
            if urls and self.notify_secret is None:
                raise ValueError(f"{name} is set, and MYLOWARE_NOTIFY_SECRET, which signs what is sent, is missing")
            for position, url in enumerate(urls or [], start=1):
                parts = urlsplit(url)
                if parts.username is not None:
                    raise ValueError(f"{name}: address {position} has a user name in it, which is not sent")
                if parts.scheme != "https" and parts.hostname not in (self.notify_private_hosts or ()):
                    raise ValueError(
                        f"{name}: address {position} must be https, or its host named in MYLOWARE_NOTIFY_PRIVATE_HOSTS"
                    )
        return self

    @property
    def models_missing(self) -> bool:
        """Whether no model server is set."""
        return self.openai_api_key is None and self.openai_base_url is None

    @property
    def video_missing(self) -> bool:
        """Whether no maker of clips is set."""
        return self.video_base_url is None and self.video_model is None and self.video_api_key is None

    @property
    def publisher_missing(self) -> bool:
        """Whether no publisher is set."""
        return self.publish_folder is None and self.upload_post_api_key is None

    @property
    def models(self) -> ModelServer:
        """The model server. Call it only when it is not missing."""
        key = self.openai_api_key or SecretStr("none")
        return ModelServer(base_url=self.openai_base_url or OPENAI, api_key=key, model=self.openai_model)

    def video(self, today: date) -> VideoServer:
        """The maker of clips. Raises ProfileError for a model nothing is known of, or past its shutdown date."""
        base_url, model = self.video_base_url or OPENAI, self.video_model or "sora-2"
        profile = profile_for(load_profiles(self.video_profiles), base_url, model, today)
        return VideoServer(
            base_url=base_url,
            api_key=self.video_api_key or self.openai_api_key or SecretStr("none"),
            video=VideoModel(model, profile),
            webhook_secrets=_secrets("VIDEO_WEBHOOK_SECRETS", self.video_webhook_secrets),
        )

    @property
    def render_secrets(self) -> tuple[Secret, ...]:
        """The secrets of the render service's webhooks."""
        return _secrets("REMOTION_WEBHOOK_SECRETS", self.remotion_webhook_secrets)

    @property
    def notice_secret(self) -> Secret | None:
        """What notices to the outside are signed with."""
        given = _secrets("MYLOWARE_NOTIFY_SECRET", [self.notify_secret] if self.notify_secret else None)
        return given[0] if given else None

    @property
    def publisher(self) -> UploadPostPublisher | FolderPublisher:
        """Who publishes. Call it only when it is not missing."""
        if self.upload_post_api_key is not None:
            url = self.upload_post_url or "https://api.upload-post.com/api"
            return UploadPostPublisher(url=url, api_key=self.upload_post_api_key, user=self.upload_post_user)
        if self.publish_folder is None:
            raise SettingsError("No publisher is set: set UPLOAD_POST_API_KEY or MYLOWARE_PUBLISH_FOLDER.")
        return FolderPublisher(folder=self.publish_folder)

    def projects(self) -> dict[str, Project]:
        """Every project by name. Raises ProjectError naming the file and the place."""
        return read_projects([FOLDER, *([self.projects_dir] if self.projects_dir else [])])


def _secrets(name: str, given: list[SecretStr] | None) -> tuple[Secret, ...]:
    secrets = []
    for position, secret in enumerate(given or [], start=1):
        try:
            secrets.append(parse_secret(secret.get_secret_value()))
        except ValueError as error:
            raise SettingsError(f"{name}: secret {position} cannot be used: {error}.".replace("..", ".")) from None
    return tuple(secrets)


def variables() -> dict[str, str]:
    """The name of every environment variable, with the name of its field."""
    return {str(field.alias): name for name, field in Settings.model_fields.items()}


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises SettingsError: one sentence that names the setting."""
    known = variables()
    for name in environment if environment is not None else os.environ:
        if name.startswith(OURS) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name}: there is no such setting.{hint}")
    try:
        settings = Settings()
        _ = settings.render_secrets, settings.notice_secret
        _secrets("VIDEO_WEBHOOK_SECRETS", settings.video_webhook_secrets)
    except ValidationError as error:
        raise SettingsError(_first(error)) from None
    return settings


def _first(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    fields = {field: variable for variable, field in variables().items()}
    place = str(fault["loc"][0]) if fault["loc"] else ""
    place = fields.get(place, place.upper())
    if fault["type"] == "extra_forbidden":
        return f"{place}: there is no such setting; it stands in the file .env."
    said = fault["msg"].removeprefix("Value error, ").removesuffix(".")
    return f"{place}: {said}." if place else f"{said}."
