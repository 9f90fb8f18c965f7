"""`/v1/keys`: list, add and revoke API keys, with a key that has the right `admin`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, Field

from api.authentication import AppStateDep, CallerDep, IdempotentDep, require_admin
from api.errors import ApiError, responses
from api.schemas import RequestBody
from api.wiring import AppState
from storage import api_keys
from storage.actors import RequestContext, Right
from storage.api_keys import NAME_PATTERN, KeyView

router = APIRouter(
    prefix="/v1/keys", tags=["keys"], dependencies=[Depends(require_admin)], responses=responses(401, 403, 422, 429)
)


class KeyList(BaseModel):
    """All API keys, oldest first, also those that have ended."""

    keys: Sequence[KeyView]


class AddKeyRequest(RequestBody):
    """The name, the rights and the end of a new API key."""

    name: str = Field(pattern=NAME_PATTERN, examples=["website"])
    can: Right = Field(description="Each right includes those before it: start, approve, admin.")
    expires_at: AwareDatetime | None = None


class KeyAdded(KeyView):
    """A new API key. `key` is shown once: it is null when the request is repeated with its Idempotency-Key."""

    key: str | None


@router.get("")
async def list_keys(state: AppStateDep) -> KeyList:
    """Return all API keys: names, rights, ends and last uses."""
    return KeyList(keys=await api_keys.list_keys(state.services.db))


@router.post("", response_model=KeyAdded, responses=responses(400, 409, 413))
async def add_key(body: AddKeyRequest, state: AppStateDep, idempotent: IdempotentDep) -> JSONResponse:
    """Add an API key. To replace one, add another, let its clients use it, and revoke the first."""
    if completed := await idempotent.find_completed(body):
        return JSONResponse(completed.body, completed.status_code)
    async with idempotent.in_progress() as store:
        key, row = await create_key(state, body, idempotent.context)
        # The stored response has no key: only its digest is ever stored.
        content = await store(KeyAdded.model_validate({**vars(row), "key": None}))
    return JSONResponse({**content, "key": key})


async def create_key(state: AppState, body: AddKeyRequest, context: RequestContext) -> tuple[str, KeyView]:
    """Add an API key and return it with its row. Raises ApiError 409, and 422 for an end in the past."""
    if body.expires_at and body.expires_at <= datetime.now(UTC):
        raise ApiError(422, "invalid_request", "expires_at is in the past.", {"fields": {"body.expires_at": "is past"}})
    added = await api_keys.add_key(state.services.db, body.name, body.can, body.expires_at, context=context)
    if added is None:
        raise ApiError(409, "key_name_taken", f"There is a key named {body.name}: revoke it, or choose a name.")
    return added


@router.delete("/{name_or_id}", responses=responses(404, 409))
async def revoke_key(name_or_id: Annotated[str, Path(max_length=64)], state: AppStateDep, caller: CallerDep) -> KeyView:
    """End an API key at once. One that is still in the settings is valid again when the service restarts."""
    return await end_key(state, name_or_id, RequestContext(caller.actor, "api"))


async def end_key(state: AppState, name_or_id: str, context: RequestContext) -> KeyView:
    """End an API key. Raises ApiError 404, and 409 for the last one that can manage keys."""
    try:
        row = await api_keys.revoke_key(state.services.db, name_or_id, context=context, keep_admin=True)
    except api_keys.LastAdminKey:
        message = "This is the last key that can manage keys: add another one with the right admin before."
        raise ApiError(409, "last_admin_key", message) from None
    if row is None:
        raise ApiError(404, "key_not_found", "API key not found. GET /v1/keys lists names and ids.")
    return row
