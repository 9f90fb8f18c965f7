"""Field types of the settings."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from providers.webhooks import Secret, parse_secret

#: Prefixes of this service's environment variables: an unknown variable with such a name is an error.
PREFIXES = (
    *("MYLOWARE_", "MODERATION", "VIDEO_", "UPLOAD_POST_", "REMOTION_", "REPLICATE_", "KLING_", "HIGGSFIELD_", "C2PA_"),
    "SPEECH_",
)


class SettingsError(ValueError):
    """A setting is missing or invalid. The message is one sentence that names it."""


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _check_not_blank(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("is set, but empty")
    return value


def _parse_url(value: str) -> str:
    if not re.match(r"https?://[^/]", value):
        raise ValueError("must be an http or https URL")
    return value.rstrip("/")


def _parse_host(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9.:_-]+", value := value.strip().lower().strip("[]")):
        raise ValueError("must be a host name or IP address, without scheme and port")
    return value


def default_path(path: str) -> AfterValidator:
    """Return a validator that appends `path` to a URL without a path."""
    return AfterValidator(lambda url: url if url.count("/") > 2 else url + path)


CommaSeparated = BeforeValidator(_split_commas)
NonEmptySecret = Annotated[SecretStr, AfterValidator(_check_not_blank)]
Url = Annotated[str, AfterValidator(_parse_url)]
#: The URL of an API, with the path /v1 if it has no path.
V1Url = Annotated[Url, default_path("/v1")]
Secrets = Annotated[list[NonEmptySecret], NoDecode, CommaSeparated]
WebhookSecret = Annotated[
    Secret, NoDecode, BeforeValidator(lambda text: parse_secret(text) if isinstance(text, str) else text)
]
WebhookSecrets = Annotated[list[WebhookSecret], NoDecode, CommaSeparated]
Urls = Annotated[list[Url], NoDecode, CommaSeparated]
Names = Annotated[list[str], NoDecode, CommaSeparated]
Hosts = Annotated[list[Annotated[str, AfterValidator(_parse_host)]], NoDecode, CommaSeparated]


MIN_KEY_CHARACTERS, MIN_DIFFERENT_CHARACTERS = 20, 8
GUESSABLE = re.compile(
    r"secret|password|passwort|test|demo|change.?me|let.?me.?in|(your|my).?(api.?)?key|1234|qwert", re.I
)


def weakness_of(key: str) -> str | None:
    """Return why an API key can be guessed or found by trying, without a part of it; None for a strong one."""
    if len(key) < MIN_KEY_CHARACTERS:
        return f"has fewer than {MIN_KEY_CHARACTERS} characters"
    if len(set(key)) < MIN_DIFFERENT_CHARACTERS:
        return f"has fewer than {MIN_DIFFERENT_CHARACTERS} different characters"
    return "contains a word that is tried first" if GUESSABLE.search(key) else None
