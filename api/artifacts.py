"""`/v1/artifacts`: stored files, whole or in part, and uploads of images and sounds."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Security
from fastapi.responses import Response, StreamingResponse
from starlette.datastructures import UploadFile

from api import authentication as auth
from api.authentication import AppStateDep, CallerDep
from api.errors import ApiError, responses
from runs import links
from runs.errors import ArtifactNotFound
from runs.uploads import StoredImage, StoredSound, store_upload

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"], responses=responses(401, 422, 429))

CACHE_CONTROL = "private, max-age=31536000, immutable"
_BINARY = {"type": "string", "format": "binary"}
_TYPES = ("video/mp4", "image/jpeg", "application/x-subrip")
_BYTES: dict[str, Any] = {"content": {media_type: {"schema": _BINARY} for media_type in _TYPES}}
#: The responses of a route that serves a file.
FILE_RESPONSES = {**responses(404, 416), 200: _BYTES, 206: _BYTES, 304: {"description": "Not modified."}}

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
_FORM: dict[str, Any] = {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}
_UPLOADS = {
    "multipart/form-data": {"schema": _FORM},
    **{name: {"schema": _BINARY} for name in (*IMAGE_TYPES, "audio/*")},
}
UPLOAD: dict[str, Any] = {"requestBody": {"required": True, "content": _UPLOADS}}

Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@dataclass
class FileRequest:
    """A request for a stored file, whole or in part."""

    request: Request
    state: AppStateDep
    range: Annotated[str | None, Header(max_length=200)] = None
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None

    async def respond(self, digest: str) -> Response:
        """Return the file or the range of it; for HEAD its headers. Raises ArtifactNotFound, or ApiError 416."""
        artifacts, known = self.state.services.artifacts, self.if_none_match or ""
        row = await artifacts.find(digest)
        if row is None:
            raise ArtifactNotFound(f"Artifact {digest[:12]}… not found.")
        headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes", "Cache-Control": CACHE_CONTROL}
        if digest in known or known.strip() == "*":
            return Response(status_code=304, headers=headers)
        byte_range = _parse_range(self.range, row.size_bytes) if self.range else None
        start, end = byte_range or (0, row.size_bytes)
        headers["Content-Length"] = str(end - start)
        if byte_range:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{row.size_bytes}"
        status = 206 if byte_range else 200
        if self.request.method == "HEAD":
            return Response(None, status, headers, row.media_type)
        body = await artifacts.stream(digest, start, end)
        return StreamingResponse(body, status, headers=headers, media_type=row.media_type)


FileRequestDep = Annotated[FileRequest, Depends()]


async def authorize_reader(
    request: Request,
    state: AppStateDep,
    digest: Digest,
    expires: Annotated[int | None, Query(ge=0, lt=2**40, description="Of a signed link, used without a key.")] = None,
    signature: Annotated[str | None, Query(max_length=64, description="Of the same link.")] = None,
) -> None:
    """Require an API key or a signed link to this file. Raises ApiError 401, 403 or 429."""
    if expires is None or signature is None:
        await auth.authenticate(request, state)
    elif not await links.is_valid_link(state.services.db, digest, expires, signature):
        await auth.count_request(state, auth.client_address(request))
        raise ApiError(403, "link_not_found", "The link is invalid or has expired. Request a new one.")


ROUTE: dict[str, Any] = {
    "response_class": Response,
    "dependencies": [Depends(authorize_reader), Security(auth.API_KEY_HEADER), Security(auth.BEARER)],
    "responses": {**responses(403), **FILE_RESPONSES},
}


@router.head("/{digest}", **ROUTE)
@router.get("/{digest}", **ROUTE)
async def get_artifact(digest: Digest, file: FileRequestDep) -> Response:
    """Return a file by its sha256. Supports a single `Range`; the ETag is the digest."""
    return await file.respond(digest)


@router.post("", status_code=201, responses=responses(400, 413, 415, 503), openapi_extra=UPLOAD)
async def upload_file(request: Request, state: AppStateDep, _caller: CallerDep) -> StoredImage | StoredSound:
    """Store an image that clips can start from, or a sound for films, such as music.

    It is the body itself or the field `file` of a form. An image is a PNG, JPEG or WebP file of 300 to 8,000 pixels a
    side. It is stored upright and without metadata, as a JPEG of at most 1,920 pixels a side. A sound is a WAV, MP3,
    M4A, AAC, Ogg, FLAC, AIFF or WebM file of at most ten minutes. It is stored as FLAC, without metadata. The response
    describes what is stored.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in IMAGE_TYPES or media_type.startswith("audio/"):
        return await store_upload(state.services, await request.body())
    if media_type != "multipart/form-data":
        raise ApiError(415, "unsupported_media_type", "Send a PNG, JPEG or WebP image, or audio.")
    async with request.form(max_files=1) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ApiError(422, "invalid_request", "The form has no file in its field `file`.")
        return await store_upload(state.services, await file.read())


def _parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the range as (start, end), end exclusive; None for a malformed header or several ranges."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip(), re.ASCII)
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or end <= start:
        headers = {"Content-Range": f"bytes */{size}"}
        raise ApiError(416, "range_not_satisfiable", f"The file has {size} bytes.", headers=headers)
    return start, end
