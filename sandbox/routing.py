"""Routers of the APIs, and what their requests have in common: bearer tokens and bodies of JSON."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request

from sandbox.responses import ApiError

#: Handlers by method and path, such as "GET /videos".
Routes = Mapping[str, Callable[..., Any]]


def build_router(prefix: str, routes: Routes, *checks: Callable[..., Any]) -> APIRouter:
    """Return the router of these handlers under a prefix; the checks precede each of them."""
    router = APIRouter(prefix=prefix, dependencies=[Depends(check) for check in checks])
    for route, handler in routes.items():
        method, path = route.split(" ")
        router.add_api_route(path, handler, methods=[method])
    return router


async def read_object(request: Request, refuse: Callable[[int, str], ApiError] = ApiError) -> dict[str, Any]:
    """Return the JSON object in the body. Raises the error of `refuse`."""
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise refuse(400, "The body is not JSON.") from error
    if not isinstance(body, dict):
        raise refuse(400, "The body is not a JSON object.")
    return body


async def require_bearer_token(request: Request) -> None:
    """Raise ApiError 401 unless the request has a bearer token; any is accepted that does not start with "wrong-"."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if token.startswith("wrong-"):
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(401, "Missing bearer authentication in header.", code="missing_api_key")
