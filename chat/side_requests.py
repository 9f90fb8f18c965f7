"""Tell the words of a person from what a chat client sends in their name: its own requests, and what it quotes."""

import re

#: The form of a person's message in which Open WebUI quotes files and search results.
WITH_SOURCES = re.compile(r"\s*### Task:\s*Respond to the user query\b", re.IGNORECASE)
#: The openings of the clients' own requests: titles, tags, follow-up questions, search queries and the like.
SIDE_REQUEST = re.compile(
    r"\s*(?:### Task:"
    r"|Your task is to reflect the speaker's likely facial expression\b"
    r"|You have been provided with a set of responses from various models\b"
    r"|(?:Please )?(?:Provide|Generate|Write) an? (?:extremely )?concise(?:, 5-word-or-less)? title\b"
    r"[^\n]{0,40}\b(?:the|this|a) conversation"
    r"|Analyze this conversation and provide:"
    r"|Detect (?:the|user) language\b)",
    re.IGNORECASE,
)
_TAG = r"(?:chat_history|context|source)\b[^>]*>"
#: From the first tag to the last one that closes: a quoted text cannot end the quotation.
QUOTATION = re.compile(rf"<{_TAG}(?:.*</{_TAG}|.*)", re.IGNORECASE | re.DOTALL)
QUERY_TAG = re.compile(r"</?user_query>", re.IGNORECASE)

#: For the person and the model, where a client names no conversation.
NO_CONVERSATION_ID = (
    "This client sends no conversation id, so I can only read here and give links: I start and cancel no run and"
    " prepare no decision. In Open WebUI set ENABLE_FORWARD_USER_INFO_HEADERS=true, in LibreChat the header"
    ' X-Conversation-Id: "{{LIBRECHAT_BODY_CONVERSATIONID}}"; any other client sends X-Conversation-Id or'
    " metadata.conversation_id."
)
#: For the model, with a single message in a session that has a history.
SINGLE_MESSAGE = (
    "This message came without the conversation before it: it is a request of the client itself, or the edited first"
    " message. You can only read. If a person asks for more, they write it as the next message."
)


def is_side_request(message: str) -> bool:
    """Return whether the message is a request of a client itself, and not a person's."""
    return bool(SIDE_REQUEST.match(message)) and not WITH_SOURCES.match(message)


def own_words(message: str) -> str:
    """Return the person's own words: the message without what its client quotes and adds to it."""
    before, *after = QUOTATION.split(message)
    words = after if WITH_SOURCES.match(message) else [before, *after]
    return QUERY_TAG.sub("", " ".join(words)).strip()
