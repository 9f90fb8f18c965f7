"""Admin API: charges, posts, webhook deliveries, fault injection and timing."""

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.faults import FAULTS, Fault, FaultQueue, UnknownFault
from sandbox.store import Store


class FaultRequest(BaseModel):
    """Request to inject a fault; the parameters of the fault are further fields of the same object."""

    model_config = ConfigDict(extra="allow")

    fault: str
    times: int | None = Field(1, ge=1)


class Pace(BaseModel):
    """Minimum duration of a video job and retention time of its content, both in seconds."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(0, ge=0)
    keep_seconds: float = Field(3600, ge=0)


class AdminApi:
    """Handlers of `/health` and `/sandbox`; they require no API key because the sandbox listens on loopback."""

    def __init__(self, store: Store, faults: FaultQueue) -> None:
        self._store, self._faults = store, faults

    def routes(self) -> APIRouter:
        """Return the router of the admin API."""
        router = APIRouter()
        router.add_api_route("/health", self.get_health, methods=["GET"])
        router.add_api_route("/sandbox/counts", self.get_counts, methods=["GET"])
        router.add_api_route("/sandbox/charges", self.list_charges, methods=["GET"])
        router.add_api_route("/sandbox/posts", self.list_posts, methods=["GET"])
        router.add_api_route("/sandbox/deliveries", self.list_deliveries, methods=["GET"])
        router.add_api_route("/sandbox/faults", self.inject_fault, methods=["POST"])
        router.add_api_route("/sandbox/faults", self.list_faults, methods=["GET"])
        router.add_api_route("/sandbox/faults", self.clear_faults, methods=["DELETE"])
        router.add_api_route("/sandbox/pace", self.set_pace, methods=["POST"])
        return router

    async def get_health(self) -> dict[str, str]:
        """Return the status and the name of the service."""
        return {"status": "ok", "service": "sandbox"}

    async def get_counts(self) -> dict[str, Any]:
        """Return totals of charges, posts, duplicate prompts and videos by status."""
        by_status = self._store.fetch_all("SELECT status, count(*) AS n FROM videos GROUP BY status")
        return {
            "charges": self._store.fetch_number("SELECT count(*) FROM charges"),
            "charged_usd": round(self._store.fetch_number("SELECT sum(usd) FROM charges"), 2),
            "posts": self._store.fetch_number("SELECT count(*) FROM posts"),
            "videos": {row["status"]: row["n"] for row in by_status},
            "duplicate_prompts": self._store.fetch_number("SELECT count(*) - count(DISTINCT prompt) FROM charges"),
        }

    async def list_charges(self) -> list[dict[str, Any]]:
        """Return every charge, oldest first."""
        return [dict(row) for row in self._store.fetch_all("SELECT * FROM charges ORDER BY at")]

    async def list_posts(self) -> list[dict[str, Any]]:
        """Return every upload with its flags and its result on each platform, oldest first."""
        rows = self._store.fetch_all("SELECT * FROM posts ORDER BY number")
        return [
            {
                "request_id": row["request_id"],
                "idempotency_key": row["idempotency_key"],
                "user": row["profile"],
                "title": row["title"],
                "sha256": row["sha256"],
                "bytes": row["bytes"],
                "video_url": row["video_url"],
                "flags": json.loads(row["fields"]),
                "platforms": json.loads(row["results"]),
                "at": row["created_at"],
            }
            for row in rows
        ]

    async def list_deliveries(self) -> list[dict[str, Any]]:
        """Return every webhook delivery with its attempts and state, oldest first."""
        rows = self._store.fetch_all("SELECT * FROM deliveries ORDER BY number")
        return [dict(row) | {"body": json.loads(row["body"])} for row in rows]

    async def inject_fault(self, request: Request) -> Response:
        """Queue a fault from `{"fault": name, "times": k, ...parameters}`; `times` null keeps it until cleared."""
        try:
            fields = FaultRequest.model_validate_json(await request.body())
            fault = self._faults.inject(fields.fault, fields.times, fields.model_extra or {})
        except (ValidationError, UnknownFault) as error:
            return JSONResponse({"error": {"code": "unknown_fault", "message": str(error)}}, 422)
        return JSONResponse(_format_fault(fault), 201)

    async def list_faults(self) -> dict[str, Any]:
        """Return the pending faults and the faults that can be injected."""
        return {"faults": [_format_fault(fault) for fault in self._faults.list_pending()], "known": FAULTS}

    async def clear_faults(self, fault: str | None = None) -> dict[str, int]:
        """Remove all pending faults, or those of one name, and return their number."""
        return {"cleared": self._faults.clear(fault)}

    async def set_pace(self, pace: Pace) -> Pace:
        """Set the minimum duration and the content retention of the videos created from now on."""
        self._store.set_setting("min_job_seconds", str(pace.seconds))
        self._store.set_setting("content_ttl_seconds", str(pace.keep_seconds))
        return pace


def _format_fault(fault: Fault) -> dict[str, Any]:
    return {"fault": fault.name, "times": fault.times, **fault.params}
