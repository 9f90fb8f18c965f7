"""The settings, read from the environment and from `.env`. Only `api` and the CLI use them."""

import difflib
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api import settings_types as types
from api.settings_types import SettingsError, weakness_of
from prompts.project import FOLDER, Project, ProjectError, read_projects
from prompts.validation import describe_errors
from providers.webhooks import Secret

OPENAI_URL = "https://api.openai.com/v1"
UPLOAD_POST_URL = "https://api.upload-post.com/api"
#: Sent as the API key to servers that need none.
NO_KEY = SecretStr("none")
#: The services that the sandbox can replace.
Service = Literal["language model and moderation", "video", "publishing"]
#: Settings that count only with another one.
NEEDED = {
    "UPLOAD_POST_URL": "UPLOAD_POST_API_KEY",
    "MYLOWARE_DATABASE_DIRECT_URL": "DATABASE_URL",
    "HIGGSFIELD_KEY_ID": "HIGGSFIELD_KEY_SECRET",
    "HIGGSFIELD_KEY_SECRET": "HIGGSFIELD_KEY_ID",
    "C2PA_CERTIFICATE": "C2PA_KEY",
    "C2PA_KEY": "C2PA_CERTIFICATE",
    "MYLOWARE_SANDBOX_URL": "SANDBOX_WEBHOOK_SECRET",
    "SLACK_WEBHOOK_URL": "MYLOWARE_PUBLIC_URL",
    "TELEGRAM_CHAT_ID": "TELEGRAM_BOT_TOKEN",
    "TELEGRAM_BOT_TOKEN": "TELEGRAM_CHAT_ID",
}


class Settings(BaseSettings):
    """All settings. Amounts are in USD."""

    model_config = SettingsConfigDict(env_file=".env", extra="forbid", frozen=True, populate_by_name=True)

    data_dir: Path = Field(Path(".myloware"), alias="MYLOWARE_DATA_DIR")
    log_format: Literal["text", "json"] = Field("text", alias="MYLOWARE_LOG")
    log_level: Literal["debug", "info", "warning", "error"] | None = Field(None, alias="MYLOWARE_LOG_LEVEL")
    api_keys: types.Secrets | None = Field(None, alias="MYLOWARE_API_KEYS")
    limited_api_keys: types.Secrets | None = Field(None, alias="MYLOWARE_LIMITED_API_KEYS")
    projects_dir: Path | None = Field(None, alias="MYLOWARE_PROJECTS_DIR")
    offered_projects: types.Names | None = Field(None, alias="MYLOWARE_PROJECTS")
    metrics_port: int | None = Field(None, alias="MYLOWARE_METRICS_PORT", ge=0, le=65535)
    metrics_host: str = Field("127.0.0.1", alias="MYLOWARE_METRICS_HOST", min_length=1)
    otel_endpoint: types.Url | None = Field(None, alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    store_url: str | None = Field(None, alias="MYLOWARE_STORE_URL")
    publish_folder: Path | None = Field(None, alias="MYLOWARE_PUBLISH_FOLDER")
    day_cap_usd: Decimal = Field(Decimal(100), alias="MYLOWARE_DAY_CAP_USD", ge=0)
    rate_limit: int = Field(60, alias="MYLOWARE_RATE_LIMIT", ge=1)
    keep_days: int | None = Field(None, alias="MYLOWARE_KEEP_DAYS", ge=1, le=36_500)
    cache_bytes: int = Field(20_000_000_000, alias="MYLOWARE_CACHE_BYTES", ge=0)
    database_url: types.NonEmptySecret | None = Field(None, alias="DATABASE_URL")
    database_direct_url: types.NonEmptySecret | None = Field(None, alias="MYLOWARE_DATABASE_DIRECT_URL")

    openai_api_key: types.NonEmptySecret | None = Field(None, alias="OPENAI_API_KEY")
    openai_base_url: types.V1Url | None = Field(None, alias="OPENAI_BASE_URL")
    openai_model: str = Field("gpt-5-mini", alias="OPENAI_MODEL", min_length=1)
    openai_timeout_seconds: float = Field(120, alias="OPENAI_TIMEOUT_SECONDS", gt=0, le=86_400)
    openai_max_tokens: int = Field(8000, alias="OPENAI_MAX_TOKENS", ge=1)
    usd_per_million_input_tokens: Decimal = Field(Decimal(0), alias="OPENAI_USD_PER_MILLION_INPUT_TOKENS", ge=0)
    usd_per_million_output_tokens: Decimal = Field(Decimal(0), alias="OPENAI_USD_PER_MILLION_OUTPUT_TOKENS", ge=0)

    moderation: Literal["model", "none"] | None = Field(None, alias="MODERATION")
    moderation_base_url: types.V1Url | None = Field(None, alias="MODERATION_BASE_URL")
    moderation_api_key: types.NonEmptySecret | None = Field(None, alias="MODERATION_API_KEY")
    moderation_model: str = Field("omni-moderation-latest", alias="MODERATION_MODEL", min_length=1)
    speech_base_url: types.V1Url | None = Field(None, alias="SPEECH_BASE_URL")
    speech_api_key: types.NonEmptySecret = Field(NO_KEY, alias="SPEECH_API_KEY")
    speech_model: str = Field("gpt-4o-mini-tts", alias="SPEECH_MODEL", min_length=1)
    speech_price: Decimal = Field(Decimal("0.015"), alias="SPEECH_USD_PER_1000_CHARACTERS", ge=0)

    video_base_url: types.V1Url | None = Field(None, alias="VIDEO_BASE_URL")
    video_model: str | None = Field(None, alias="VIDEO_MODEL", min_length=1)
    video_api_key: types.NonEmptySecret | None = Field(None, alias="VIDEO_API_KEY")
    video_webhook_secrets: types.WebhookSecrets | None = Field(None, alias="VIDEO_WEBHOOK_SECRETS")
    video_profiles: Path | None = Field(None, alias="VIDEO_PROFILES")
    video_providers: types.Names | None = Field(None, alias="VIDEO_PROVIDERS")
    replicate_api_token: types.NonEmptySecret | None = Field(None, alias="REPLICATE_API_TOKEN")
    replicate_base_url: types.Url | None = Field(None, alias="REPLICATE_BASE_URL")
    replicate_webhook_secrets: types.WebhookSecrets | None = Field(None, alias="REPLICATE_WEBHOOK_SECRETS")
    kling_api_key: types.NonEmptySecret | None = Field(None, alias="KLING_API_KEY")
    kling_base_url: types.Url | None = Field(None, alias="KLING_BASE_URL")
    kling_webhook_secrets: types.WebhookSecrets | None = Field(None, alias="KLING_WEBHOOK_SECRETS")
    higgsfield_key_id: types.NonEmptySecret | None = Field(None, alias="HIGGSFIELD_KEY_ID")
    higgsfield_key_secret: types.NonEmptySecret | None = Field(None, alias="HIGGSFIELD_KEY_SECRET")
    higgsfield_base_url: types.Url | None = Field(None, alias="HIGGSFIELD_BASE_URL")
    higgsfield_webhook_secrets: types.WebhookSecrets | None = Field(None, alias="HIGGSFIELD_WEBHOOK_SECRETS")

    remotion_url: types.Url | None = Field(None, alias="REMOTION_URL")
    remotion_service_key: types.NonEmptySecret | None = Field(None, alias="REMOTION_SERVICE_KEY")
    remotion_webhook_secrets: types.WebhookSecrets | None = Field(None, alias="REMOTION_WEBHOOK_SECRETS")

    c2pa_certificate: Path | None = Field(None, alias="C2PA_CERTIFICATE")
    c2pa_key: Path | None = Field(None, alias="C2PA_KEY")

    upload_post_url: Annotated[types.Url, types.default_path("/api")] | None = Field(None, alias="UPLOAD_POST_URL")
    upload_post_api_key: types.NonEmptySecret | None = Field(None, alias="UPLOAD_POST_API_KEY")
    upload_post_user: str = Field("myloware", alias="UPLOAD_POST_USER", min_length=1)

    sandbox_url: types.Url | None = Field(None, alias="MYLOWARE_SANDBOX_URL")
    sandbox_webhook_secret: types.WebhookSecret | None = Field(None, alias="SANDBOX_WEBHOOK_SECRET")

    public_url: types.Url | None = Field(None, alias="MYLOWARE_PUBLIC_URL")
    allowed_hosts: types.Hosts | None = Field(None, alias="MYLOWARE_ALLOWED_HOSTS")
    cors_origins: types.Urls | None = Field(None, alias="MYLOWARE_CORS_ORIGINS")
    trusted_proxies: types.Hosts | None = Field(None, alias="MYLOWARE_TRUSTED_PROXIES")
    notify_urls: types.Urls | None = Field(None, alias="MYLOWARE_NOTIFY_URLS")
    notify_escalate_urls: types.Urls | None = Field(None, alias="MYLOWARE_NOTIFY_ESCALATE_URLS")
    notify_secret: types.WebhookSecret | None = Field(None, alias="MYLOWARE_NOTIFY_SECRET")
    notify_private_hosts: types.Hosts | None = Field(None, alias="MYLOWARE_NOTIFY_PRIVATE_HOSTS")
    slack_webhook_url: types.NonEmptySecret | None = Field(None, alias="SLACK_WEBHOOK_URL")
    telegram_bot_token: types.NonEmptySecret | None = Field(None, alias="TELEGRAM_BOT_TOKEN")
    telegram_chat_id: str | None = Field(None, alias="TELEGRAM_CHAT_ID", min_length=1)
    telegram_base_url: types.Url = Field("https://api.telegram.org", alias="TELEGRAM_BASE_URL")

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if set(self.api_keys or []) & set(self.limited_api_keys or []):
            raise ValueError("MYLOWARE_LIMITED_API_KEYS and MYLOWARE_API_KEYS have a key in common")
        values = {name: getattr(self, field) for name, field in variables().items()}
        for name, needed in NEEDED.items():
            if values[name] is not None and values[needed] is None:
                raise ValueError(f"{name} is set, but {needed} is missing")
        return self

    @model_validator(mode="after")
    def _check_notification_urls(self) -> Self:
        lists = {"MYLOWARE_NOTIFY_URLS": self.notify_urls, "MYLOWARE_NOTIFY_ESCALATE_URLS": self.notify_escalate_urls}
        for name, urls in lists.items():
            if urls and self.notify_secret is None:
                raise ValueError(f"{name} is set, but MYLOWARE_NOTIFY_SECRET, which signs notifications, is missing")
            for position, url in enumerate(urls or [], start=1):
                parts = urlsplit(url)
                if parts.username is not None:
                    raise ValueError(f"{name}: URL {position} contains a user name, which is not supported")
                self._check_https(f"{name}: URL {position}", url)
        if self.telegram_bot_token and self.public_url is None:
            raise ValueError("TELEGRAM_BOT_TOKEN is set, but MYLOWARE_PUBLIC_URL is missing")
        self._check_https(
            "SLACK_WEBHOOK_URL", self.slack_webhook_url.get_secret_value() if self.slack_webhook_url else ""
        )
        self._check_https("TELEGRAM_BASE_URL", self.telegram_base_url)
        return self

    def _check_https(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        if url and parts.scheme != "https" and parts.hostname not in (self.notify_private_hosts or ()):
            raise ValueError(f"{name} must be https, or its host be listed in MYLOWARE_NOTIFY_PRIVATE_HOSTS")

    @property
    def host_names(self) -> frozenset[str]:
        """Return the host names, besides the addresses of this machine, under which pages and API are served."""
        public = urlsplit(self.public_url or "").hostname
        return frozenset([*(self.allowed_hosts or ()), *([public] if public else ())])

    @property
    def secrets(self) -> list[str]:
        """Return every secret of the settings."""
        values = [each for value in dict(self).values() for each in (value if isinstance(value, list) else [value])]
        texts = [each.text for each in values if isinstance(each, Secret)]
        return texts + [each.get_secret_value() for each in values if isinstance(each, SecretStr) and each != NO_KEY]

    @property
    def keep(self) -> timedelta | None:
        """Return how long ended runs are kept, or None for ever."""
        return timedelta(days=self.keep_days) if self.keep_days else None

    @property
    def session_url(self) -> str:
        """Return the address of the database for what needs a session. Raises SettingsError without a database."""
        url = self.database_direct_url or self.database_url
        if url is None:
            raise SettingsError("DATABASE_URL is not set.")
        return url.get_secret_value()

    @property
    def session_variable(self) -> str:
        """Return the name of the setting that `session_url` comes from."""
        return "MYLOWARE_DATABASE_DIRECT_URL" if self.database_direct_url else "DATABASE_URL"

    @property
    def missing_services(self) -> list[Service]:
        """Return the services that are not configured. The sandbox replaces them."""
        configured: dict[Service, object] = {
            "language model and moderation": self.openai_api_key or self.openai_base_url,
            "video": self.video_keys or None,
            "publishing": self.publish_folder or self.upload_post_api_key,
        }
        return [service for service, setting in configured.items() if setting is None]

    @property
    def sandbox_services(self) -> list[Service]:
        """Return the services that the sandbox replaces in complete settings, by its models and its key."""
        marks: dict[Service, str] = {
            "language model and moderation": "openai_model",
            "video": "video_model",
            "publishing": "upload_post_api_key",
        }
        return [name for name, own in sandbox_settings("").items() if getattr(self, marks[name]) == own[marks[name]]]

    @property
    def video_keys(self) -> dict[str, SecretStr]:
        """Return the API keys of the configured providers of clips, by name."""
        higgsfield = [key.get_secret_value() for key in (self.higgsfield_key_id, self.higgsfield_key_secret) if key]
        is_open = any((self.video_base_url, self.video_model, self.video_api_key))
        keys = {
            "videos": (self.video_api_key or self.openai_api_key or NO_KEY) if is_open else None,
            "replicate": self.replicate_api_token,
            "kling": self.kling_api_key,
            "higgsfield": SecretStr(":".join(higgsfield)) if higgsfield else None,
        }
        return {name: key for name, key in keys.items() if key}

    def webhook_secrets(self, provider: str) -> Sequence[Secret]:
        """Return the secrets of webhooks of a provider of clips."""
        field = "video_webhook_secrets" if provider == "videos" else f"{provider}_webhook_secrets"
        secrets: Sequence[Secret] | None = getattr(self, field, None)
        return secrets or ()

    def vendor_url(self, provider: str) -> str | None:
        """Return the URL of a provider of clips, if it is not the vendor's own."""
        if provider == "videos":
            return self.video_base_url or OPENAI_URL
        url: str | None = getattr(self, f"{provider}_base_url", None)
        return url

    def weak_keys(self) -> list[str]:
        """Return a sentence for every API key that can be guessed or found by trying."""
        lists = {"MYLOWARE_API_KEYS": self.api_keys, "MYLOWARE_LIMITED_API_KEYS": self.limited_api_keys}
        return [
            f"{name}: key {position} {fault}. Use a long random one, such as the output of `openssl rand -hex 24`."
            for name, keys in lists.items()
            for position, key in enumerate(keys or [], start=1)
            if (fault := weakness_of(key.get_secret_value()))
        ]

    def usd_of_tokens(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return the cost of a model call, in USD."""
        million = self.usd_per_million_input_tokens * input_tokens + self.usd_per_million_output_tokens * output_tokens
        return million / 1_000_000

    def projects(self) -> dict[str, Project]:
        """Return every project by name. Raises ProjectError naming the file and the field."""
        projects = read_projects([FOLDER, *([self.projects_dir] if self.projects_dir else [])])
        # With neither a folder nor a key, the sandbox publishes.
        if self.publish_folder and not self.upload_post_api_key:
            for name, project in projects.items():
                if project.publisher not in (None, "folder"):
                    raise ProjectError(f"{name}.md: publisher: {project.publisher} needs UPLOAD_POST_API_KEY: set it.")
        return projects


def variables() -> dict[str, str]:
    """Return the field name of every environment variable."""
    return {str(field.alias): name for name, field in Settings.model_fields.items()}


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process. Raises SettingsError: one sentence that names the setting."""
    known = variables()
    for name in environment if environment is not None else os.environ:
        if name.startswith(types.PREFIXES) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name}: unknown setting.{hint}")
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        if fault["type"] == "extra_forbidden":
            raise SettingsError(f"{str(fault['loc'][0]).upper()}: unknown setting in the file .env.") from None
        raise SettingsError(f"{describe_errors([fault])}.") from None


def sandbox_settings(url: str) -> dict[Service, dict[str, object]]:
    """Return the settings that make the sandbox at `url` the provider of each of these services."""
    key, own = SecretStr("sandbox"), {"video_base_url": f"{url}/v1", "video_model": "sandbox-video"}
    unset = ("video_providers", "replicate_api_token", "kling_api_key", "higgsfield_key_id", "higgsfield_key_secret")
    models = {"openai_base_url": f"{url}/v1", "openai_api_key": key, "openai_model": "sandbox-rules"}
    return {
        "language model and moderation": {**models, "speech_base_url": f"{url}/v1"},
        "video": {**dict.fromkeys(unset, None), **own, "video_api_key": key},
        "publishing": {"upload_post_url": f"{url}/api", "upload_post_api_key": key},
    }
