"""The OpenAPI description: committed as served, and correct."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cli.serve import openapi_description
from tests.app import App

ROOT = Path(__file__).parents[2]

#: The paths of the API reference.
PATHS = {
    "/health": "get",
    "/v1/runs/start": "post",
    "/v1/runs/{run_id}": "get",
    "/v1/runs/{run_id}/approve": "post",
    "/v1/chat/supervisor": "post",
    "/v1/webhooks/sora": "post",
    "/v1/webhooks/remotion": "post",
}


def test_the_committed_description_is_the_served_one(quiet_app: App) -> None:
    """After a change of the API run `myloware openapi > openapi.json`."""
    committed = json.loads((ROOT / "openapi.json").read_text())

    assert committed == openapi_description()
    assert httpx.get(f"{quiet_app.url}/openapi.json").json() == committed


def test_the_paths_of_the_api_reference_exist() -> None:
    """Each path supports its method."""
    paths = {re.sub(r":\w+}", "}", path): list(methods) for path, methods in openapi_description()["paths"].items()}

    assert {path: method for path, method in PATHS.items() if method not in paths.get(path, [])} == {}


OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(openapi_description()).get_all_operations()]


# `schema.parametrize` gives all operations the same name, of which parallel runs of pytest execute one only.
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label.replace("/", ":"))
def test_every_response_is_described(operation: Any, quiet_app: App) -> None:
    """Generated requests cause no server error, no undeclared status and, except for HTML, no undeclared body."""
    is_json = operation.path.startswith(("/v1/", "/health"))
    body_checks = [content_type_conformance, response_schema_conformance] if is_json else []

    @settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(
            base_url=quiet_app.url,
            headers={"X-API-Key": quiet_app.client.headers["X-API-Key"]},
            checks=[not_a_server_error, status_code_conformance, *body_checks],
        )

    check()
