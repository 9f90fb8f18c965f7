"""OpenAI-compatible `/v1/webhook_endpoints`: the receivers of events and their signing secrets."""

import base64
import json
import secrets
import time
from typing import Any

from pydantic import BaseModel, Field

from sandbox.responses import ApiError
from sandbox.routing import Routes, build_router, require_bearer_token
from sandbox.store import Store

EVENT_TYPES = ["video.completed", "video.failed"]


def generate_secret() -> str:
    """Return a new signing secret of 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class EndpointRequest(BaseModel):
    """Request to send events to a URL."""

    url: str = Field(pattern="^https?://")
    event_types: list[str] = Field(EVENT_TYPES, min_length=1)


class WebhookEndpoints:
    """Registry of the webhook endpoints and handlers of their API."""

    def __init__(self, store: Store) -> None:
        self._store = store
        routes: Routes = {"POST ": self.create, "DELETE /{endpoint_id}": self.delete}
        self.router = build_router("/v1/webhook_endpoints", routes, require_bearer_token)

    def register(self, url: str, secret: str, event_types: list[str], name: str | None = None) -> str:
        """Store an endpoint and return its id; an endpoint of the same name is updated and keeps its id."""
        existing = self._store.fetch_one("SELECT id FROM endpoints WHERE name = ?", name)
        if existing is not None:
            self._store.execute("UPDATE endpoints SET url = ?, secret = ? WHERE id = ?", url, secret, existing["id"])
            return str(existing["id"])
        endpoint_id = f"we_{secrets.token_hex(12)}"
        fields = {"id": endpoint_id, "name": name, "url": url, "event_types": json.dumps(event_types)}
        self._store.insert("endpoints", **fields, secret=secret, created_at=time.time())
        return endpoint_id

    async def create(self, endpoint: EndpointRequest) -> dict[str, Any]:
        """Register a URL and return the endpoint with its secret, which no later request returns."""
        secret = generate_secret()
        fields = {"id": self.register(endpoint.url, secret, endpoint.event_types), "object": "webhook_endpoint"}
        return {**fields, **endpoint.model_dump(), "created_at": int(time.time()), "signing_secret": secret}

    async def delete(self, endpoint_id: str) -> dict[str, Any]:
        """Delete an endpoint together with its pending deliveries."""
        if not self._store.execute("DELETE FROM endpoints WHERE id = ?", endpoint_id):
            raise ApiError(404, f"No webhook endpoint '{endpoint_id}'.", code="not_found", param="id")
        return {"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}
