"""Admin: what was charged and published, which faults are to come, and how fast things go."""

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.faults import FAULTS, Fault, Faults, UnknownFault
from sandbox.store import Store


class FaultOrder(BaseModel):
    """A fault to come; its parameters stand beside `fault` and `times`."""

    model_config = ConfigDict(extra="allow")

    fault: str
    times: int | None = Field(1, ge=1)


class Pace(BaseModel):
    """The least time a video takes, and how long its content is kept."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(0, ge=0)
    keep_seconds: float = Field(3600, ge=0)


class Admin:
    """`/sandbox`, for whoever runs the tests; no key is asked for, it is meant for loopback."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults

    def routes(self) -> APIRouter:
        """Its routes."""
        router = APIRouter()
        router.add_api_route("/health", self.health, methods=["GET"])
        router.add_api_route("/sandbox/counts", self.counts, methods=["GET"])
        router.add_api_route("/sandbox/charges", self.charges, methods=["GET"])
        router.add_api_route("/sandbox/posts", self.posts, methods=["GET"])
        router.add_api_route("/sandbox/deliveries", self.deliveries, methods=["GET"])
        router.add_api_route("/sandbox/faults", self.order_fault, methods=["POST"])
        router.add_api_route("/sandbox/faults", self.faults, methods=["GET"])
        router.add_api_route("/sandbox/faults", self.clear_faults, methods=["DELETE"])
        router.add_api_route("/sandbox/pace", self.set_pace, methods=["POST"])
        return router

    async def health(self) -> dict[str, str]:
        """Whether it is there."""
        return {"status": "ok", "service": "sandbox"}

    async def counts(self) -> dict[str, Any]:
        """The numbers that matter: what was paid for and what was published."""
        by_status = self._store.all("SELECT status, count(*) AS n FROM videos GROUP BY status")
        return {
            "charges": self._store.number("SELECT count(*) FROM charges"),
            "charged_usd": round(self._store.number("SELECT sum(usd) FROM charges"), 2),
            "posts": self._store.number("SELECT count(*) FROM posts"),
            "videos": {row["status"]: row["n"] for row in by_status},
            "duplicate_prompts": self._store.number("SELECT count(*) - count(DISTINCT prompt) FROM charges"),
        }

    async def charges(self) -> list[dict[str, Any]]:
        """Every charge, oldest first."""
        return [dict(row) for row in self._store.all("SELECT * FROM charges ORDER BY at")]

    async def posts(self) -> list[dict[str, Any]]:
        """Every upload, oldest first, with its flags and what became of it on each platform."""
        rows = self._store.all("SELECT * FROM posts ORDER BY number")
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

    async def deliveries(self) -> list[dict[str, Any]]:
        """Every webhook that was to be sent, and how it went."""
        rows = self._store.all("SELECT * FROM deliveries ORDER BY number")
        return [dict(row) | {"body": json.loads(row["body"])} for row in rows]

    async def order_fault(self, request: Request) -> Response:
        """Orders a fault: {"fault": name, "times": k, ...parameters}; `times` null is until cleared."""
        try:
            order = FaultOrder.model_validate_json(await request.body())
            fault = self._faults.order(order.fault, order.times, order.model_extra or {})
        except (ValidationError, UnknownFault) as error:
            return JSONResponse({"error": {"code": "unknown_fault", "message": str(error)}}, 422)
        return JSONResponse(_shown(fault), 201)

    async def faults(self) -> dict[str, Any]:
        """The faults still to come, and all there are."""
        return {"faults": [_shown(fault) for fault in self._faults.all()], "known": FAULTS}

    async def clear_faults(self, fault: str | None = None) -> dict[str, int]:
        """Clears all faults, or those of one name."""
        return {"cleared": self._faults.clear(fault)}

    async def set_pace(self, pace: Pace) -> Pace:
        """Sets how fast videos are made from now on."""
        self._store.keep_setting("pace", str(pace.seconds))
        self._store.keep_setting("keep", str(pace.keep_seconds))
        return pace


def _shown(fault: Fault) -> dict[str, Any]:
    return {"fault": fault.name, "times": fault.times, **fault.params}
