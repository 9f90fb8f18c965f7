"""The product's threads in LangGraph Studio, read-only: a checkpointer and an authorization handler for its server.

`make studio THREADS=product` names both to the server. A write is refused by the handler, by the checkpointer and by
the database.
"""

import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph_sdk import Auth

from storage.database import open_pool
from storage.saver import ReadOnlyError, ReadOnlySaver

#: Environment variables: the connection string of the database, and the token of `cli/studio.py`.
DATABASE, TOKEN = "MYLOWARE_STUDIO_DATABASE", "MYLOWARE_STUDIO_TOKEN"
TOKEN_HEADER = b"x-myloware-token"
#: The two identities. Only the lister, which `cli/studio.py` runs, may create and update entries of the thread list.
LISTER, VIEWER = "lister", "viewer"

auth = Auth()


@asynccontextmanager
async def saver() -> AsyncIterator[ReadOnlySaver]:
    """Yield the checkpointer of Studio's server."""
    async with open_pool(os.environ[DATABASE], max_size=4, name="myloware-studio", read_only=True) as pool:
        yield ReadOnlySaver(pool)


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> str:
    """Return the identity of a caller: the lister by its token, a viewer otherwise."""
    is_lister = hmac.compare_digest(headers.get(TOKEN_HEADER, b""), os.environ[TOKEN].encode())
    return LISTER if is_lister else VIEWER


@auth.on
async def authorize(ctx: Auth.types.AuthContext, value: Any) -> None:
    """Refuse every write of a viewer with status 403."""
    if ctx.action not in ("read", "search") and ctx.user.identity != LISTER:
        raise Auth.exceptions.HTTPException(403, str(ReadOnlyError()))
