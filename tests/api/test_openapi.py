"""The OpenAPI description: committed as served, and correct."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.app import App
from tests.openapi import description

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

    assert committed == description()
    assert httpx.get(f"{quiet_app.url}/openapi.json", timeout=60).json() == committed


def test_the_paths_of_the_api_reference_exist() -> None:
    """Each path supports its method."""
    paths = {re.sub(r":\w+}", "}", path): list(methods) for path, methods in description()["paths"].items()}

    assert {path: method for path, method in PATHS.items() if method not in paths.get(path, [])} == {}


OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(description()).get_all_operations()]


# `schema.parametrize` gives all operations the same name, of which parallel runs of pytest execute one only.
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label.replace("/", ":"))
def test_every_response_is_described(operation: Any, quiet_app: App) -> None:
    """Generated requests cause no server error, no undeclared status and, except for HTML, no undeclared body."""
    is_json = operation.path.startswith(("/v1/", "/health", "/ready"))
    body_checks = [content_type_conformance, response_schema_conformance] if is_json else []
    # Without a worker the app is not ready, which is a described 503.
    server_checks = [] if operation.path == "/ready" else [not_a_server_error]

    @settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(
            base_url=quiet_app.url,
            headers={"X-API-Key": quiet_app.client.headers["X-API-Key"]},
            checks=[*server_checks, status_code_conformance, *body_checks],
        )

    check()


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/runs/start", {"project": "tiny", "brief": "Rain", "budget_usd": ""}, "budget_usd"),
        ("/v1/runs/start", {"project": "tiny", "brief": "Rain", "budget_usd": "1e3"}, "budget_usd"),
        ("/v1/runs/start", {"project": "tiny", "brief": "Rain", "budget_usd": "100001"}, "budget_usd"),
        ("/v1/runs/{run_id}/approve", {"gate": "publish", "approved": False, "takes": {"x": 1}}, "takes"),
        ("/v1/runs/{run_id}/approve", {"gate": "publish", "approved": False, "takes": {" 1": 1}}, "takes"),
        ("/v1/runs/{run_id}/approve", {"gate": "publish", "approved": False, "takes": {"25": 1}}, "takes"),
        ("/v1/runs/{run_id}/retry", {"prompts": {"first": "Rain"}}, "prompts"),
        ("/v1/runs/{run_id}/retry", {"prompts": {"01": "Rain"}}, "prompts"),
    ],
    ids=str,
)
def test_what_is_refused_does_not_fit_the_description(
    quiet_app: App, path: str, body: dict[str, Any], field: str
) -> None:
    """A client that checks its request against the schema finds the fault before the server does."""
    operation = description()["paths"][path]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": description()["components"]})
    refused = quiet_app.client.post(path.format(run_id=uuid4()), json=body)

    assert refused.status_code == 422
    assert any(name.startswith(f"body.{field}") for name in refused.json()["error"]["details"]["fields"])
    assert not validator.is_valid(body)
    assert validator.is_valid({name: value for name, value in body.items() if name != field})


def test_405_names_the_methods_of_the_path(quiet_app: App) -> None:
    """Also where they are declared one by one."""
    for path, allowed in {
        "/review/token": "GET, POST",
        "/review/token/film": "GET, HEAD",
        "/v1/keys": "GET, POST",
        "/v1/webhooks/sora": "POST",
    }.items():
        answer = httpx.options(f"{quiet_app.url}{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path
        assert answer.json()["error"]["code"] == "method_not_allowed"


def test_head_of_an_artifact_is_its_get_without_the_body(quiet_app: App, tmp_path: Path) -> None:
    """A player learns the size and the type before it loads a part."""
    path = tmp_path / "clip"
    path.write_bytes(bytes(1000))
    store = quiet_app.state.services.artifacts.store
    url = f"/v1/artifacts/{quiet_app.in_loop(store(path, kind='clip', media_type='video/mp4', facts={}))}"
    for headers, status, length in (({}, 200, "1000"), ({"Range": "bytes=0-99"}, 206, "100")):
        head, get = (quiet_app.client.request(method, url, headers=headers) for method in ("HEAD", "GET"))
        same = ("content-length", "content-type", "etag", "accept-ranges", "content-range")
        assert (head.status_code, head.content, head.headers["content-length"]) == (status, b"", length)
        assert {name: head.headers.get(name) for name in same} == {name: get.headers.get(name) for name in same}
    assert httpx.head(f"{quiet_app.url}{url}").status_code == 401
    assert quiet_app.client.head(f"/v1/artifacts/{'0' * 64}").status_code == 404


def test_415_of_a_review_is_described(quiet_app: App) -> None:
    """It is a page for a browser, and JSON for other clients."""
    described = description()["paths"]["/review/{token}"]["post"]["responses"]["415"]["content"]
    for accept in ("text/html", "application/json"):
        headers = {"Accept": accept, "Content-Type": "text/plain"}
        answer = httpx.post(f"{quiet_app.url}/review/token", content=b"approve", headers=headers)
        assert answer.status_code == 415
        assert answer.headers["content-type"].partition(";")[0] in described
