"""`GET /v1/artifacts/{digest}`: stored files, whole or in part."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Security
from fastapi.responses import Response, StreamingResponse

from api.authentication import API_KEY_HEADER, BEARER, AppStateDep, authenticate, client_address, count_request
from api.errors import ApiError, responses
from runs import media_links
from runs.errors import ArtifactNotFound
from storage.artifacts import Artifacts

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"], responses=responses(401, 422, 429))

_BYTES: dict[str, Any] = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}
#: The responses of a route that serves a file.
FILE_RESPONSES: dict[int | str, dict[str, Any]] = {
    **responses(404, 416),
    200: _BYTES,
    206: _BYTES,
    304: {"description": "Not modified."},
}

Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
RangeHeader = Annotated[str | None, Header(max_length=200)]
IfNoneMatchHeader = Annotated[str | None, Header(max_length=1000)]


async def authorize_reader(
    request: Request,
    state: AppStateDep,
    digest: Digest,
    expires: Annotated[int | None, Query(ge=0, lt=2**40, description="Of a signed link, used without a key.")] = None,
    signature: Annotated[str | None, Query(max_length=64, description="Of the same link.")] = None,
) -> None:
    """Require an API key or a signed link to this file. Raises ApiError 401, 403 or 429."""
    if expires is None or signature is None:
        await authenticate(request, state)
    elif not await media_links.is_valid_link(state.services.db, digest, expires, signature):
        await count_request(state, client_address(request))
        raise ApiError(403, "link_not_found", "The link is invalid or has expired. Request a new one.")


ROUTE: dict[str, Any] = {
    "response_class": Response,
    "dependencies": [Depends(authorize_reader), Security(API_KEY_HEADER), Security(BEARER)],
    "responses": {**responses(403), **FILE_RESPONSES},
}


@router.head("/{digest}", **ROUTE)
@router.get("/{digest}", **ROUTE)
async def get_artifact(
    request: Request,
    digest: Digest,
    state: AppStateDep,
    range: RangeHeader = None,  # noqa: A002 - the header's name
    if_none_match: IfNoneMatchHeader = None,
) -> Response:
    """Return a file by its sha256. Supports a single `Range`; the ETag is the digest."""
    return await file_response(request, state.services.artifacts, digest, range, if_none_match)


async def file_response(
    request: Request, artifacts: Artifacts, digest: str, range_header: str | None, if_none_match: str | None
) -> Response:
    """Return the file or the requested range of it; for HEAD its headers. Raises ArtifactNotFound, or ApiError 416."""
    row = await artifacts.find(digest)
    if row is None:
        raise ArtifactNotFound(f"Artifact {digest[:12]}… not found.")
    headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if if_none_match and (digest in if_none_match or if_none_match.strip() == "*"):
        return Response(status_code=304, headers=headers)
    byte_range = _parse_range(range_header, row.size_bytes) if range_header else None
    start, end = byte_range or (0, row.size_bytes)
    headers["Content-Length"] = str(end - start)
    if byte_range:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{row.size_bytes}"
    status = 206 if byte_range else 200
    if request.method == "HEAD":
        return Response(None, status, headers, row.media_type)
    body = await artifacts.stream(digest, start, end)
    return StreamingResponse(body, status, headers=headers, media_type=row.media_type)


def _parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the range as (start, end), end exclusive; None for a malformed header or several ranges."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip(), re.ASCII)
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or end <= start:
        raise ApiError(
            416, "range_not_satisfiable", f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end
