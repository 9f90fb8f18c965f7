"""Side requests of chat clients: titles, tags, follow-up questions and searches. The model answers without tools."""

import re
from collections.abc import AsyncIterator, Sequence

from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage

from agents.structured import check_complete
from agents.texts import clean_text
from chat.confirmations import code_redactor
from chat.session import ChatServices
from chat.turns import StreamEvent, TurnResult
from providers.chat_models import estimate_tokens, model_errors, tokens_of
from runs.errors import InvalidRequest

#: The openings of the clients' side requests. Open WebUI puts "### Task:" before a person's message, too, when a file
#: is attached: "Respond to the user query …".
SIDE_REQUEST = re.compile(
    r"\s*(?:### Task:\s*(?:Generate|Suggest|Analyze|You are an autocompletion)\b"
    r"|(?:Please )?(?:Provide|Generate|Write) an? (?:extremely )?concise(?:, 5-word-or-less)? title\b"
    r"[^\n]{0,40}\b(?:the|this|a) conversation"
    r"|Analyze this conversation and provide:"
    r"|Detect (?:the|user) language\b)",
    re.IGNORECASE,
)


def is_side_request(message: str) -> bool:
    """Return whether the message is a side request of a client, and not a person's."""
    return bool(SIDE_REQUEST.match(message))


async def answer_side_request(
    chat: ChatServices, messages: Sequence[tuple[str, str]], actor_id: str
) -> AsyncIterator[StreamEvent | TurnResult]:
    """Let the model answer (role, text) messages without tools and without memory. Raises InvalidRequest."""
    redact = await code_redactor(chat.services.db, actor_id)
    prompt: list[AnyMessage] = [
        SystemMessage(redacted) if role in ("system", "developer") else HumanMessage(redacted)
        for role, text in messages
        if role != "assistant" and (redacted := redact(clean_text(text)))
    ]
    if not any(isinstance(message, HumanMessage) for message in prompt):
        raise InvalidRequest("The last message is empty.")
    async with chat.services.ledger.chat_call(estimate_tokens(prompt)) as record:
        async with model_errors():
            answer = await chat.model.ainvoke(prompt)
        tokens = tokens_of(answer, prompt)
        await record(*tokens)
    check_complete(answer)
    text = str(answer.text)
    yield StreamEvent("token", text)
    yield TurnResult(None, text, tokens=tokens)
