"""Gates of a chat session's runs that opened, for its person: in Markdown, and in no model's words."""

import re
from collections.abc import Sequence
from datetime import datetime

from storage.database import Database
from storage.reviews import OpenGate, list_gates_opened_since
from storage.runs import SHORT_ID_CHARACTERS


async def describe_gate_news(db: Database, run_ids: Sequence[str], since: datetime, base_url: str) -> str:
    """Return a line about each gate of these runs that opened after this time and is open; links have this base."""
    opened = await list_gates_opened_since(db, run_ids, since) if run_ids else []
    return "\n".join(describe_open_gate(each, base_url) for each in opened)


def describe_open_gate(opened: OpenGate, base_url: str) -> str:
    """Return a sentence with a link to the review, named by the title, and the short id of the run."""
    title = re.sub(r"[^\w ,.!?'-]+", " ", opened.title).strip()[:80] or "its review"
    link = f"[{title}]({base_url}/runs/{opened.run_id}/{opened.gate})"
    return f"The {opened.gate} gate of run {str(opened.run_id)[:SHORT_ID_CHARACTERS]} opened: {link}"
