"""The threads of the product's Postgres in LangGraph Studio: to be looked at, and nothing else.

`make studio THREADS=product` names `saver` and `auth` to Studio's server, beside the graphs of `studio.py`. Whatever
would change a thread is refused at the door, again by the checkpointer, and again by the database.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph_sdk import Auth

from storage.database import open_pool
from storage.saver import ReadOnlyError, ReadOnlySaver

#: The database, and what `cli/studio.py` shows to be let in: it alone tells the server which threads there are.
DATABASE, TOKEN = "MYLOWARE_STUDIO_DATABASE", "MYLOWARE_STUDIO_TOKEN"
HEADER = b"x-myloware-token"
LISTER, VISITOR = "lister", "visitor"

auth = Auth()


@asynccontextmanager
async def saver() -> AsyncIterator[ReadOnlySaver]:
    """The checkpointer of Studio's server, for as long as it serves."""
    async with open_pool(os.environ[DATABASE], max_size=4, name="myloware-studio", read_only=True) as pool:
        yield ReadOnlySaver(pool)


@auth.authenticate
async def who(headers: dict[bytes, bytes]) -> str:
    """Everybody who reaches the server may look."""
    is_lister = hmac.compare_digest(headers.get(HEADER, b""), os.environ[TOKEN].encode())
    return LISTER if is_lister else VISITOR


@auth.on
async def only_look(ctx: Auth.types.AuthContext, value: Any) -> None:
    """Refuse whatever is not a look."""
    if ctx.action not in ("read", "search") and ctx.user.identity != LISTER:
        raise Auth.exceptions.HTTPException(403, str(ReadOnlyError()))
