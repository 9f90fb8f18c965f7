"""Sessions of the console: a browser that has signed in with an API key, and links that sign in once."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

from storage import api_keys
from storage.actors import RequestContext
from storage.api_keys import ApiKeyRow, get_key
from storage.database import Database

#: A session ends after this time, and with its key.
SESSION_LIFETIME = timedelta(days=7)
LINK_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True)
class Session:
    """A signed-in browser, with a chat session. It has the rights of its key; its forms carry the CSRF token."""

    key: ApiKeyRow
    csrf_token: str
    chat_id: str

    @property
    def context(self) -> RequestContext:
        """Return the context of a request of this session."""
        return RequestContext(self.key.actor, "console")

    def accepts(self, csrf_token: str) -> bool:
        """Return whether the token of a form is that of this session."""
        return hmac.compare_digest(csrf_token.encode("utf-8", "replace"), self.csrf_token.encode())


async def find_session(db: Database, token: str | None) -> Session | None:
    """Return the session with this token, or None if it or its key has ended."""
    key = await api_keys.find_session_key(db, token) if token else None
    if key is None or token is None:
        return None
    csrf_token, chat_id = (hashlib.sha256(f"{use}.{token}".encode()).hexdigest() for use in ("csrf", "chat"))
    return Session(key, csrf_token, f"console:{chat_id}")


async def create_sign_in_link(db: Database, base_url: str, page: str = "") -> str | None:
    """Return a link that signs in once with the operator's key, within ten minutes; None without a valid key.

    It leads to the page with this path, by default to the start page.
    """
    key = await api_keys.find_operator_key(db)
    if key is None:
        return None
    token = await api_keys.add_token(db, "link", key.id, LINK_LIFETIME)
    return f"{base_url}/sign-in/{token}" + (f"?next={page}" if page else "")


async def use_sign_in_link(db: Database, token: str) -> ApiKeyRow | None:
    """Return the key of a sign-in link, which is then used; None if it or its key has ended."""
    key_id = await api_keys.take_link_key_id(db, token)
    key = await get_key(db, key_id) if key_id else None
    return None if key is None or key.has_ended else key
