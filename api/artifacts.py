"""`GET /v1/artifacts/{digest}`: the kept files, whole or in part."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from api.authentication import ApiKeyHeader, AppStateDep, authenticate, client_address, count_request
from api.errors import ApiError, responses
from runs import media_links
from runs.errors import ArtifactNotFound
from storage.artifacts import Artifacts

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"], responses=responses(401, 422, 429))

BYTES = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}


Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


async def reader(
    request: Request,
    parts: AppStateDep,
    digest: Digest,
    key: ApiKeyHeader = None,
    expires: Annotated[int | None, Query(ge=0, lt=2**40, description="Of a link that works without a key.")] = None,
    signature: Annotated[str | None, Query(max_length=64, description="Of the same link.")] = None,
) -> None:
    """Lets in whoever has a key, or a link that we gave to this file. Raises ApiError 401, 403 or 429."""
    if expires is None or signature is None:
        await authenticate(request, parts, key)
    elif not await media_links.is_valid_link(parts.services, digest, expires, signature):
        await count_request(parts, client_address(request))
        raise ApiError(403, "link_unknown", "This link does not work, or no longer: ask for a new one.")


@router.get(
    "/{digest}",
    response_class=Response,
    dependencies=[Depends(reader)],
    responses={**responses(403, 404, 416), 200: BYTES, 206: BYTES, 304: {"description": "You have it already."}},
)
async def get_artifact(
    digest: Digest,
    parts: AppStateDep,
    range: Annotated[str | None, Header(max_length=200)] = None,  # noqa: A002 - the header's name
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """A file by its sha256. Knows one `Range`; the ETag is the digest."""
    return await file_answer(parts.services.artifacts, digest, range, if_none_match)


async def file_answer(artifacts: Artifacts, digest: str, wanted: str | None, if_none_match: str | None) -> Response:
    """The file, or the part of it that is `wanted`. Raises ArtifactNotFound, and ApiError 416."""
    row = await artifacts.find(digest)
    if row is None:
        raise ArtifactNotFound(f"There is no file {digest[:12]}….")
    headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if if_none_match and (digest in if_none_match or if_none_match.strip() == "*"):
        return Response(status_code=304, headers=headers)
    part = _part(wanted, row.size_bytes) if wanted else None
    start, end = part or (0, row.size_bytes)
    headers["Content-Length"] = str(end - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{row.size_bytes}"
    body = await artifacts.stream(digest, start, end)
    return StreamingResponse(body, 206 if part else 200, headers=headers, media_type=row.media_type)


def _part(header: str, size: int) -> tuple[int, int] | None:
    """The part asked for as (start, end), end not included; None for a header that means nothing or many parts."""
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
