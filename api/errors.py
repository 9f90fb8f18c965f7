"""One shape for every error: `{"error": {"code", "message", "details"}}`."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from providers.base import ProviderError, Unavailable
from runs import errors as of_runs
from storage.database import DatabaseUnavailable
from storage.locks import LockLost

log = logging.getLogger(__name__)

#: The status of each refusal of `runs/`; the nearest class counts.
STATUS: dict[type[of_runs.RunError], int] = {
    of_runs.ProjectNotFound: 404,
    of_runs.RunNotFound: 404,
    of_runs.RevisionNotFound: 404,
    of_runs.ArtifactNotFound: 404,
    of_runs.GateNotOpen: 409,
    of_runs.StaleReview: 409,
    of_runs.BudgetExceeded: 409,
    of_runs.ApprovalNotPermitted: 403,
    of_runs.ConfirmationNotFound: 404,
    of_runs.LinkNotFound: 404,
    of_runs.LinkClosed: 410,
    of_runs.RunEnded: 409,
    of_runs.NotRetryable: 409,
    of_runs.OutcomeUnknown: 409,
}


class ErrorDetail(BaseModel):
    """What is wrong: a code for programs, a sentence for people."""

    code: str
    message: str
    details: dict[str, Any]


class ErrorBody(BaseModel):
    """The body of every error."""

    model_config = ConfigDict(extra="allow")

    error: ErrorDetail


class ApiError(Exception):
    """A request that cannot be met. `extra` is laid beside `error` in the body."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": code, "message": message, "details": details or {}}, **(extra or {})}
        self.headers = headers


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These errors, as a route declares them."""
    return {status: {"model": ErrorBody} for status in statuses}


def to_api_error(error: Exception) -> ApiError:
    """What a door says of an error that its function raised; one that nobody thought of is written to the log."""
    match error:
        case ApiError():
            return error
        case of_runs.InvalidRequest():
            # Told like any other field that does not fit: its path, and what is wrong with it.
            fields = {f"body.{error.details['field']}": error.message} if "field" in error.details else {}
            return ApiError(422, error.code, error.message, {"fields": fields})
        case of_runs.RunError():
            status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
            return ApiError(status, error.code, error.message, error.details)
        case Unavailable():
            return ApiError(503, error.code, error.message)
        case ProviderError():
            return ApiError(502, error.code, error.message)
        case DatabaseUnavailable() | LockLost():
            said = "The database is away: try again soon. The same Idempotency-Key does nothing twice."
            log.warning("the database is away: %s", str(error).partition("\n")[0])
            return ApiError(503, "database_unavailable", said, headers={"Retry-After": "5"})
    log.error("something broke", exc_info=error)
    return ApiError(500, "internal_error", "Something broke inside; it was written to the log.")


def install(app: FastAPI) -> None:
    """Answer every error of this app in the one shape."""

    async def ours(_request: Request, error: Exception) -> JSONResponse:
        known = to_api_error(error)
        return JSONResponse(known.body, known.status, known.headers)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        # What was sent is not repeated: it may be anything, down to text that cannot be encoded.
        assert isinstance(error, RequestValidationError)  # noqa: S101 - it is installed for nothing else
        fields = {".".join(map(str, fault["loc"])): fault["msg"] for fault in error.errors()}
        first = next(iter(fields.items()), ("body", "it cannot be read"))
        return await ours(_request, ApiError(422, "invalid_request", f"{first[0]}: {first[1]}.", {"fields": fields}))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is installed for nothing else
        known = {404: "not_found", 405: "method_not_allowed", 400: "bad_request", 415: "unsupported_media_type"}
        said = {404: "There is nothing at this address.", 405: "This address does not know that method."}
        code = known.get(error.status_code, "http_error")
        message = said.get(error.status_code, "The request cannot be read.")
        return JSONResponse(ApiError(error.status_code, code, message).body, error.status_code, error.headers)

    async def broken(request: Request, error: Exception) -> JSONResponse:
        request_id = getattr(request.state, "request_id", "")
        # Of the address only its form: a reviewer's link is a secret.
        route = getattr(request.scope.get("route"), "path", "an unknown address")
        log.error("%s %s broke (request %s)", request.method, route, request_id)
        known = to_api_error(error)
        # This one is answered outside the middleware that names the request.
        return JSONResponse(known.body, known.status, {"X-Request-ID": request_id})

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(of_runs.RunError, ours)
    app.add_exception_handler(ProviderError, ours)
    app.add_exception_handler(DatabaseUnavailable, ours)
    app.add_exception_handler(LockLost, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, broken)
