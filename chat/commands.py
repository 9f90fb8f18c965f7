"""Read the messages that confirm by a code, withdraw, or almost confirm: no model reads them."""

import re
from collections.abc import Callable
from typing import NamedTuple

from chat.questions import ANY_CODE, CODE, REDACTED, redact_codes
from storage import confirmations as table
from storage.database import Database

#: The whole message is the word and the code, with at most a polite phrase before and punctuation around them.
COMMAND = re.compile(
    rf"[\W_]*(?:(?:yes|ok|okay|please|i)\b[\W_]*)*(approve|confirm|revise|reject|cancel)[\W_]+({CODE})[\W_]*(?:please[\W_]*)?",
    re.IGNORECASE,
)
#: The whole message withdraws what waits for confirmation: all of it, or what has this code.
WITHDRAWAL = re.compile(
    r"[\W_]*(?:(?:no|oh|ok|okay|actually|please|sorry)\b[\W_]*)*"
    rf"(?:never\s?mind|forget (?:it|that|about it)|withdraw(?: it| that| them| all)?)(?:[\W_]+({CODE}))?[\W_]*",
    re.IGNORECASE,
)
REVIEW_LINK = re.compile(r"(/review/)[\w.-]+")
#: A longer message, or one with a question mark, is not an attempt to confirm.
NEAR_MISS = re.compile(r"[^?]{1,60}")


class ConfirmationCommand(NamedTuple):
    """A message that confirms: its word (`approve`, `revise`, `reject`, `cancel` or `confirm`) and its code."""

    word: str
    code: str


def parse_command(message: str) -> ConfirmationCommand | None:
    """Return the confirmation that the message consists of, or None for any other message."""
    match = COMMAND.fullmatch(message.strip())
    return ConfirmationCommand(match[1].lower(), match[2].upper()) if match else None


async def code_redactor(db: Database, actor_id: str) -> Callable[[str], str]:
    """Return a function that redacts what the actor was shown and no model ever reads: codes and reviewers' links."""
    codes = await table.list_codes(db, actor_id)
    return lambda text: REVIEW_LINK.sub(rf"\1{REDACTED}", redact_codes(text, codes))


async def answer_about_codes(db: Database, actor_id: str, session_id: str, words: str) -> str | None:
    """Return the answer to a message that withdraws, or that fails to confirm; None for any other message.

    `words` are the person's own. Nothing is decided.
    """
    is_withdrawal, named = bool(WITHDRAWAL.fullmatch(words)), set(ANY_CODE.findall(words.upper()))
    if not is_withdrawal and not (named and NEAR_MISS.fullmatch(words)):
        return None
    rows = await table.list_open(db, actor_id, session_id)
    codes = [code for code in rows if code in (named or rows)]
    if not codes:
        return None
    if is_withdrawal:
        await table.withdraw(db, actor_id, session_id, codes)
        return f"Withdrawn: {', '.join(codes)} can no longer be confirmed. Nothing was decided."
    commands = " or ".join(f"“{rows[code].verdict} {code}”" for code in codes)
    return f"Nothing was decided: a confirmation is a message of exactly these words: {commands}."
