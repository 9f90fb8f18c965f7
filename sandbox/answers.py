"""Answers: errors in the shape OpenAI gives them, and responses that break off on purpose."""

from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

HTML_PAGE = "<!doctype html><title>502 Bad Gateway</title><h1>Bad gateway</h1><p>SANDBOX: an ordered fault.</p>"


class ApiError(Exception):
    """A refusal; becomes the status and the error body a client of OpenAI expects."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def api_error(request: Request, error: Exception) -> Response:
    """Turns an ApiError into its response."""
    assert isinstance(error, ApiError)  # noqa: S101 - registered for this class alone
    return JSONResponse(error.body, error.status, error.headers)


def server_error() -> ApiError:
    """A 500 as OpenAI gives it."""
    message = "The server had an error while processing your request. (SANDBOX: an ordered fault.)"
    return ApiError(500, message, code="server_error", kind="server_error")


def rate_limited(params: dict[str, Any]) -> ApiError:
    """A 429 with Retry-After."""
    headers = {"Retry-After": f"{params['retry_after']:g}"}
    message = "Rate limit reached. (SANDBOX: an ordered fault.)"
    return ApiError(429, message, code="rate_limit_exceeded", kind="requests", headers=headers)


async def require_bearer(request: Request) -> None:
    """Any key will do, but there has to be one."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise ApiError(401, "Missing bearer authentication in header.", code="missing_api_key")


class CutResponse(Response):
    """Says how long it is (if asked to), sends its body and drops the connection without ending it."""

    def __init__(self, body: bytes, media_type: str, declared_length: int | None = None) -> None:
        super().__init__(body, media_type=media_type)
        del self.headers["content-length"]
        if declared_length is not None:
            self.headers["content-length"] = str(declared_length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
