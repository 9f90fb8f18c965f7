"""Check HTTP responses against the OpenAPI description of the API."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from cli.serve import openapi_description

#: Answered before or after routing, so that no route declares them.
UNDECLARED_STATUSES = (404, 405, 413, 500, 503)


def check_response(response: httpx.Response) -> None:
    """Fail unless a JSON response of the API has a declared status and fits the schema declared for it."""
    operation = _find_operation(response.request.method, response.request.url.path)
    if (
        operation is None
        or response.request.method == "HEAD"
        or response.headers.get("content-type", "").partition(";")[0] != "application/json"
    ):
        return
    response.read()
    where = f"{response.request.method} {response.request.url.path}: {response.status_code}"
    declared = operation["responses"].get(str(response.status_code))
    if declared is None:
        assert response.status_code in UNDECLARED_STATUSES, f"{where} is not declared: {response.text}"
        return
    schema = declared.get("content", {}).get("application/json", {}).get("schema", {})
    errors = [error.message for error in _validator(schema).iter_errors(response.json())]
    assert not errors, f"{where} does not fit its schema: {errors}\n{response.text}"


def _find_operation(method: str, path: str) -> dict[str, Any] | None:
    for pattern, operations in _routes():
        if pattern.fullmatch(path):
            operation: dict[str, Any] | None = operations.get(method.lower())
            return operation
    return None


@cache
def description() -> dict[str, Any]:
    """Return the OpenAPI description of the API. Do not modify it."""
    return openapi_description()


@cache
def _routes() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    # Paths without parameters come first: `/v1/runs/start` is no run.
    paths = sorted(description()["paths"].items(), key=lambda item: item[0].count("{"))
    return [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), operations) for path, operations in paths]


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": description()["components"]})
