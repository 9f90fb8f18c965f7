"""OpenAI-compatible `/v1/webhook_endpoints`: the receivers of events and their signing secrets."""

import base64
import json
import secrets
import time
from typing import Any

from fastapi import APIRouter, Depends, Request

from sandbox.responses import ApiError, require_bearer_token
from sandbox.store import Row, Store

EVENT_TYPES = ["video.completed", "video.failed"]
SECRET_OVERLAP_SECONDS = 24 * 3600


def generate_secret() -> str:
    """Return a new signing secret of 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class WebhookEndpoints:
    """Registry of the webhook endpoints and handlers of their API."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> APIRouter:
        """Return the router of the webhook endpoint API."""
        router = APIRouter(prefix="/v1/webhook_endpoints", dependencies=[Depends(require_bearer_token)])
        router.add_api_route("", self.create, methods=["POST"])
        router.add_api_route("", self.list, methods=["GET"])
        router.add_api_route("/{endpoint_id}", self.retrieve, methods=["GET"])
        router.add_api_route("/{endpoint_id}", self.delete, methods=["DELETE"])
        router.add_api_route("/{endpoint_id}/rotate_secret", self.rotate_secret, methods=["POST"])
        return router

    def register(self, url: str, secret: str, event_types: list[str], name: str | None = None) -> str:
        """Store an endpoint and return its id; an endpoint of the same name is updated and keeps its id."""
        existing = self._store.fetch_one("SELECT id FROM endpoints WHERE name = ?", name)
        if existing is not None:
            self._store.execute("UPDATE endpoints SET url = ?, secret = ? WHERE id = ?", url, secret, existing["id"])
            return str(existing["id"])
        endpoint_id = f"we_{secrets.token_hex(12)}"
        self._store.execute(
            "INSERT INTO endpoints (id, name, url, event_types, secret, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            *(endpoint_id, name, url, json.dumps(event_types), secret, time.time()),
        )
        return endpoint_id

    async def create(self, request: Request) -> dict[str, Any]:
        """Register a URL and return the endpoint with its secret, which no later request returns."""
        body = await _read_json(request)
        url, event_types = body.get("url"), body.get("event_types", EVENT_TYPES)
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise ApiError(400, "url must be an http or https URL.", code="invalid_value", param="url")
        if not isinstance(event_types, list) or not event_types:
            raise ApiError(400, "event_types must name events.", code="invalid_value", param="event_types")
        secret = generate_secret()
        endpoint_id = self.register(url, secret, event_types)
        return _format_endpoint(self._fetch(endpoint_id)) | {"signing_secret": secret}

    async def list(self) -> dict[str, Any]:
        """Return all endpoints, oldest first."""
        rows = self._store.fetch_all("SELECT * FROM endpoints WHERE event_types <> '[]' ORDER BY created_at")
        return {"object": "list", "data": [_format_endpoint(row) for row in rows], "has_more": False}

    async def retrieve(self, endpoint_id: str) -> dict[str, Any]:
        """Return one endpoint."""
        return _format_endpoint(self._fetch(endpoint_id))

    async def delete(self, endpoint_id: str) -> dict[str, Any]:
        """Delete an endpoint together with its pending deliveries."""
        self._fetch(endpoint_id)
        self._store.execute("DELETE FROM endpoints WHERE id = ?", endpoint_id)
        return {"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}

    async def rotate_secret(self, endpoint_id: str, request: Request) -> dict[str, Any]:
        """Replace the secret and return the new one.

        The old secret also signs for 24 hours if the request sets `keep_old_secret_active_for_24_hours`; otherwise
        it is invalid immediately.
        """
        row = self._fetch(endpoint_id)
        keep_old = (await _read_json(request)).get("keep_old_secret_active_for_24_hours", False)
        secret = generate_secret()
        self._store.execute(
            "UPDATE endpoints SET secret = ?, old_secret = ?, old_secret_until = ? WHERE id = ?",
            secret,
            row["secret"] if keep_old else None,
            time.time() + SECRET_OVERLAP_SECONDS if keep_old else None,
            endpoint_id,
        )
        return _format_endpoint(self._fetch(endpoint_id)) | {"signing_secret": secret}

    def _fetch(self, endpoint_id: str) -> Row:
        row = self._store.fetch_one("SELECT * FROM endpoints WHERE id = ?", endpoint_id)
        if row is None:
            raise ApiError(404, f"No webhook endpoint '{endpoint_id}'.", code="not_found", param="id")
        return row


def _format_endpoint(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "webhook_endpoint",
        "url": row["url"],
        "event_types": json.loads(row["event_types"]),
        "created_at": int(row["created_at"]),
    }


async def _read_json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise ApiError(400, "The body is not JSON.", code="invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, "The body is not a JSON object.", code="invalid_json")
    return body
