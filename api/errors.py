"""Error responses. Every error has one shape: `{"error": {"code", "message", "details"}}`."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.types import Scope

from prompts.validation import describe_errors
from providers.base import ProviderError, Unavailable, Unusable
from providers.webhooks import InvalidEvent, InvalidSignature
from runs import errors
from storage.database import DATABASE_UNAVAILABLE
from storage.locks import LockBusy, LockLost
from telemetry.logs import identified, log_outage

log = logging.getLogger(__name__)

#: The status code of each error class; the nearest class in the method resolution order counts.
STATUS_CODES: dict[type[Exception], int] = {
    errors.NotFound: 404,
    errors.InvalidRequest: 422,
    errors.ImageRefused: 422,
    errors.ApprovalNotPermitted: 403,
    errors.LinkClosed: 410,
    errors.RunPruned: 410,
    errors.RunError: 409,
    InvalidSignature: 401,
    InvalidEvent: 400,
    Unusable: 422,
    Unavailable: 503,
    ProviderError: 502,
}

STREAM_RETRY_SECONDS = 5


class ErrorDetail(BaseModel):
    """A stable code for programs, a message for people, and details that depend on the code."""

    code: str
    message: str
    details: dict[str, Any]


class ErrorBody(BaseModel, extra="allow"):
    """The body of every error response."""

    error: ErrorDetail


class ApiError(Exception):
    """An error response."""

    def __init__(
        self, status: int, code: str, message: str, details: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers
        self.body: dict[str, Any] = {"error": {"code": code, "message": message, "details": details or {}}}

    def as_response(self) -> JSONResponse:
        """Return the error as an HTTP response."""
        return JSONResponse(self.body, self.status, self.headers)


def too_many_requests(code: str, message: str, wait_seconds: int) -> ApiError:
    """Return a 429 with the number of seconds after which the client can retry."""
    error = ApiError(429, code, message, headers={"Retry-After": str(wait_seconds)})
    error.body["retry_after_seconds"] = wait_seconds
    return error


def body_too_large(limit: int) -> ApiError:
    """Return the error for a request body of more bytes than the limit."""
    return ApiError(413, "body_too_large", f"The request body must not exceed {limit} bytes.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the declaration of these error statuses for a route."""
    return {status: {"model": ErrorBody} for status in statuses}


def to_api_error(error: Exception) -> ApiError:
    """Return the error response for an exception. Unexpected exceptions are logged and become `internal_error`."""
    match error:
        case ApiError():
            return error
        case RequestValidationError():
            return invalid_request(error)
        case errors.InvalidRequest():
            # The same form as the validation errors of a request body: the path of the field, and the message.
            fields = {f"body.{error.details['field']}": error.message} if "field" in error.details else {}
            return ApiError(422, error.code, error.message, {"fields": fields})
        case errors.TooManyStreams():
            return too_many_requests(error.code, error.message, STREAM_RETRY_SECONDS)
        case errors.RunError() | ProviderError():
            status = next(filter(None, map(STATUS_CODES.get, type(error).__mro__)))
            return ApiError(status, error.code, error.message, getattr(error, "details", None))
        case LockBusy():
            return ApiError(409, "session_busy", "The session is processing another message. Retry when it is done.")
        case _ if isinstance(error, (*DATABASE_UNAVAILABLE, LockLost)):
            log_outage("database", error)
            message = "Database unavailable; retry in a few seconds. Use the same Idempotency-Key."
            return ApiError(503, "database_unavailable", message, headers={"Retry-After": "5"})
    log.error("unhandled exception", exc_info=error)
    message = "Internal error. The details are in the server log under this request id."
    return ApiError(500, "internal_error", message)


def route_of(scope: Scope) -> str:
    """Return the path template of a request. A reviewer's link in the path itself is a secret."""
    return re.sub(r":\w+}", "}", getattr(scope.get("route"), "path", "(no route)"))


def install_error_handlers(app: FastAPI) -> None:
    """Register the handlers that answer every error of the app in the common shape."""
    for kind in (*STATUS_CODES, ApiError, RequestValidationError, LockBusy, LockLost, *DATABASE_UNAVAILABLE):
        app.add_exception_handler(kind, _handle_known)
    app.exception_handler(HTTPException)(_handle_http)
    app.add_exception_handler(Exception, _handle_unexpected)


async def _handle_known(_request: Request, error: Exception) -> JSONResponse:
    return to_api_error(error).as_response()


def invalid_request(error: RequestValidationError) -> ApiError:
    """Return the error response for a request with invalid fields."""
    # The rejected input is not repeated: it may be text that cannot be encoded.
    fields = {".".join(map(str, fault["loc"])): fault["msg"] for fault in error.errors()}
    message = f"{describe_errors(error.errors())}."
    return ApiError(422, "invalid_request", message, {"fields": fields})


def _allow_header(request: Request) -> Mapping[str, str] | None:
    """Return the methods of the path. The framework names only those of the first of its routes."""
    paths = request.app.openapi()["paths"]
    for path in sorted(paths, key=lambda path: path.count("{")):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path):
            return {"Allow": ", ".join(sorted(method.upper() for method in paths[path]))}
    return None


def http_error(request: Request, error: HTTPException) -> ApiError:
    """Return the error response for an error of the framework."""
    if error.status_code == 413:
        return body_too_large(request.scope[MAX_BODY_SIZE_SCOPE_KEY])
    phrase = HTTPStatus(error.status_code).phrase
    code, message = phrase.lower().replace(" ", "_"), f"{phrase.capitalize()}."
    message = "The request cannot be parsed." if error.status_code == 400 else message
    headers = (_allow_header(request) if error.status_code == 405 else None) or error.headers
    return ApiError(error.status_code, code, message, headers=headers)


async def _handle_http(request: Request, error: HTTPException) -> JSONResponse:
    return http_error(request, error).as_response()


async def _handle_unexpected(request: Request, error: Exception) -> JSONResponse:
    request_id = getattr(request.state, "request_id", "")
    # This handler runs outside the middleware that adds the request id.
    with identified(request=request_id):
        log.error("%s %s failed (request %s)", request.method, route_of(request.scope), request_id)
        known = to_api_error(error)
    known.headers = {"X-Request-ID": request_id}
    return known.as_response()
