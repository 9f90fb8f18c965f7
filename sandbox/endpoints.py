"""Webhook endpoints: who is told, and with which secret."""

import base64
import json
import secrets
import time
from typing import Any

from fastapi import APIRouter, Depends, Request

from sandbox.answers import ApiError, require_bearer
from sandbox.store import Row, Store

EVENT_TYPES = ["video.completed", "video.failed"]
OVERLAP_SECONDS = 24 * 3600


def new_secret() -> str:
    """A signing secret of 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Endpoints:
    """`/v1/webhook_endpoints`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> APIRouter:
        """Its routes."""
        router = APIRouter(prefix="/v1/webhook_endpoints", dependencies=[Depends(require_bearer)])
        router.add_api_route("", self.create, methods=["POST"])
        router.add_api_route("", self.list, methods=["GET"])
        router.add_api_route("/{endpoint_id}", self.show, methods=["GET"])
        router.add_api_route("/{endpoint_id}", self.delete, methods=["DELETE"])
        router.add_api_route("/{endpoint_id}/rotate_secret", self.rotate, methods=["POST"])
        return router

    def keep(self, url: str, secret: str, event_types: list[str], name: str | None = None) -> str:
        """Registers an endpoint and returns its id; a name it was already known by keeps its id."""
        known = self._store.one("SELECT id FROM endpoints WHERE name = ?", name)
        if known is not None:
            self._store.write("UPDATE endpoints SET url = ?, secret = ? WHERE id = ?", url, secret, known["id"])
            return str(known["id"])
        endpoint_id = f"we_{secrets.token_hex(12)}"
        self._store.write(
            "INSERT INTO endpoints (id, name, url, event_types, secret, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            *(endpoint_id, name, url, json.dumps(event_types), secret, time.time()),
        )
        return endpoint_id

    async def create(self, request: Request) -> dict[str, Any]:
        """Registers a URL. The secret is shown here and never again."""
        body = await _body(request)
        url, event_types = body.get("url"), body.get("event_types", EVENT_TYPES)
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise ApiError(400, "url must be an http or https URL.", code="invalid_value", param="url")
        if not isinstance(event_types, list) or not event_types:
            raise ApiError(400, "event_types must name events.", code="invalid_value", param="event_types")
        secret = new_secret()
        endpoint_id = self.keep(url, secret, event_types)
        return _shown(self._row(endpoint_id)) | {"signing_secret": secret}

    async def list(self) -> dict[str, Any]:
        """Every endpoint."""
        rows = self._store.all("SELECT * FROM endpoints ORDER BY created_at")
        return {"object": "list", "data": [_shown(row) for row in rows], "has_more": False}

    async def show(self, endpoint_id: str) -> dict[str, Any]:
        """One endpoint."""
        return _shown(self._row(endpoint_id))

    async def delete(self, endpoint_id: str) -> dict[str, Any]:
        """Forgets an endpoint, and what was still to be told to it."""
        self._row(endpoint_id)
        self._store.write("DELETE FROM endpoints WHERE id = ?", endpoint_id)
        return {"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}

    async def rotate(self, endpoint_id: str, request: Request) -> dict[str, Any]:
        """Gives a new secret; the old one signs too for a day if asked, otherwise it is dead at once."""
        row = self._row(endpoint_id)
        keep_old = (await _body(request)).get("keep_old_secret_active_for_24_hours", False)
        secret = new_secret()
        self._store.write(
            "UPDATE endpoints SET secret = ?, old_secret = ?, old_secret_until = ? WHERE id = ?",
            secret,
            row["secret"] if keep_old else None,
            time.time() + OVERLAP_SECONDS if keep_old else None,
            endpoint_id,
        )
        return _shown(self._row(endpoint_id)) | {"signing_secret": secret}

    def _row(self, endpoint_id: str) -> Row:
        row = self._store.one("SELECT * FROM endpoints WHERE id = ?", endpoint_id)
        if row is None:
            raise ApiError(404, f"No webhook endpoint '{endpoint_id}'.", code="not_found", param="id")
        return row


def _shown(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "webhook_endpoint",
        "url": row["url"],
        "event_types": json.loads(row["event_types"]),
        "created_at": int(row["created_at"]),
    }


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise ApiError(400, "The body is not JSON.", code="invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, "The body is not a JSON object.", code="invalid_json")
    return body
