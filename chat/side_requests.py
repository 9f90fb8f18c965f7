"""Tell the words of a person from what a chat client sends in their name: its own requests, and what it quotes."""

import re
import tomllib
from pathlib import Path

_TEXTS = tomllib.loads(Path(__file__).with_name("side_requests.toml").read_text(encoding="utf-8"))
#: The form of a person's message in which Open WebUI quotes files and search results.
WITH_SOURCES = re.compile(r"\s*### Task:\s*Respond to the user query\b", re.IGNORECASE)
SIDE_REQUEST = re.compile(rf"\s*(?:{'|'.join(_TEXTS['openings'])})", re.IGNORECASE)
_TAG = r"(?:chat_history|context|source)\b[^>]*>"
#: From the first tag to the last one that closes: a quoted text cannot end the quotation.
QUOTATION = re.compile(rf"<{_TAG}(?:.*</{_TAG}|.*)", re.IGNORECASE | re.DOTALL)
QUERY_TAG = re.compile(r"</?user_query>", re.IGNORECASE)

#: For the person and the model, where a client names no conversation, and for the model, where it sends no history.
NO_CONVERSATION_ID: str = _TEXTS["no_conversation_id"]
SINGLE_MESSAGE: str = _TEXTS["single_message"]


def is_side_request(message: str) -> bool:
    """Return whether the message is a request of a client itself, and not a person's."""
    return bool(SIDE_REQUEST.match(message)) and not WITH_SOURCES.match(message)


def own_words(message: str) -> str:
    """Return the person's own words: the message without what its client quotes and adds to it."""
    before, *after = QUOTATION.split(message)
    words = after if WITH_SOURCES.match(message) else [before, *after]
    return QUERY_TAG.sub("", " ".join(words)).strip()
