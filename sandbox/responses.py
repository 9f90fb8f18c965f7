"""Errors in the format of the OpenAI API and of vendors, and responses that are truncated on purpose."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

Headers = dict[str, str] | None
HTML_ERROR_PAGE = "<!doctype html><title>502 Bad Gateway</title><h1>Bad gateway</h1><p>SANDBOX: injected fault.</p>"

#: Code and message of injected errors by their status.
INJECTED_ERRORS = {
    401: ("invalid_api_key", "Incorrect API key provided: sandbox."),
    429: ("rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", "The server had an error while processing your request."),
}


class ApiError(Exception):
    """Request failure that is returned as an HTTP status with an OpenAI error body."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, headers: Headers = None
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        kind = "server_error" if status >= 500 else "requests" if status == 429 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class VendorError(ApiError):
    """Request failure in a vendor's own form."""

    def __init__(self, status: int, body: dict[str, Any], headers: Headers = None) -> None:
        super().__init__(status, str(body), headers=headers)
        self.body = body


async def handle_invalid_request(request: Request, error: Exception) -> Response:
    """Return the response to a request that does not have the fields or types of its model."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is registered for this class only
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:])
    return JSONResponse(ApiError(400, f"{param}: {first['msg']}", code="invalid_value", param=param).body, 400)


async def handle_api_error(request: Request, error: Exception) -> Response:
    """Return the response of an ApiError."""
    assert isinstance(error, ApiError)  # noqa: S101 - the handler is registered for this class only
    return JSONResponse(error.body, error.status, error.headers)


def injected_error(status: int, params: dict[str, Any]) -> ApiError:
    """Return the error of a fault with the status 401, 429 or 500; one of 429 has a Retry-After header."""
    code, message = INJECTED_ERRORS[status]
    headers = {"Retry-After": f"{params['retry_after']:g}"} if status == 429 else None
    return ApiError(status, f"{message} (SANDBOX: injected fault.)", code=code, headers=headers)


class TruncatedResponse(Response):
    """Response that sends its body and drops the connection without ending the response.

    The Content-Length header is `declared_length`; without one the response has no such header.
    """

    def __init__(self, body: bytes, media_type: str, declared_length: int | None = None) -> None:
        super().__init__(body, media_type=media_type)
        del self.headers["content-length"]
        if declared_length is not None:
            self.headers["content-length"] = str(declared_length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response without its end."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
