"""Webhook sender: every event is stored before it is sent, signed, and retried until it is accepted."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from typing import Any

import httpx
from standardwebhooks import Webhook

from sandbox.delivery_faults import PlannedMessage, plan_messages
from sandbox.faults import FaultQueue
from sandbox.store import Row, Store

USER_AGENT = "MyloWare-Sandbox/1.0 (SANDBOX; compatible with OpenAI/1.0)"
#: Seconds before each retry; the last value repeats.
RETRY_DELAYS_SECONDS = (1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800, 3600)
REQUEST_TIMEOUT_SECONDS = 10.0
STALE_AGE_SECONDS = 600
FORGED_SECRET = "whsec_" + "Zm9yZ2Vk" * 5
#: Deliveries to make, each after the first attempt of those before it of its event: on a busy machine both are due.
NEXT = """
SELECT deliveries.*, url, secret, old_secret, old_secret_until
FROM deliveries JOIN endpoints ON endpoints.id = endpoint_id
WHERE state = 'due' AND NOT EXISTS (
    SELECT 1 FROM deliveries AS earlier WHERE earlier.endpoint_id = deliveries.endpoint_id AND earlier.attempts = 0
    AND earlier.created_at = deliveries.created_at AND earlier.number < deliveries.number
    AND earlier.due_at <= deliveries.due_at
) ORDER BY number
"""


class WebhookSender:
    """Sends events to all registered endpoints."""

    def __init__(self, store: Store, faults: FaultQueue) -> None:
        self._store, self._faults = store, faults
        self._wakeup = asyncio.Event()
        self._in_flight: dict[int, asyncio.Task[None]] = {}

    def enqueue_event(self, video_id: str, event_type: str) -> None:
        """Store the deliveries of an event; call it in the transaction of the change, and `wake` afterwards."""
        if self._faults.profile != "openai":
            return  # the other servers send no webhooks
        endpoints = self._store.fetch_all("SELECT id, event_types FROM endpoints")
        ids = [each["id"] for each in endpoints if event_type in json.loads(each["event_types"])]
        self.store_deliveries(ids, video_id, event_type, _format_event)

    def store_deliveries(
        self, endpoints: list[str], video_id: str, event_type: str, body: Callable[[PlannedMessage], Any]
    ) -> None:
        """Store the deliveries of a change of a video, after the pending faults, to the endpoints of these ids."""
        messages = plan_messages(self._store, self._faults, video_id, event_type)
        now, webhook_ids = time.time(), dict[tuple[str, str], str]()
        for endpoint_id, message in product(endpoints, messages):
            # Copies of an event share one webhook-id: a receiver recognises duplicates by it.
            webhook_id = webhook_ids.setdefault((endpoint_id, message.event_id), f"wh_{secrets.token_hex(16)}")
            fields = {"endpoint_id": endpoint_id, "webhook_id": webhook_id, "body": json.dumps(body(message))}
            due_at = now + message.delay
            self._store.insert("deliveries", **fields, manner=message.manner, created_at=now, due_at=due_at)

    def wake(self) -> None:
        """Make the sender check for due deliveries now."""
        self._wakeup.set()

    def has_unattempted_deliveries(self, video_id: str) -> bool:
        """Return whether a delivery about the video has not been attempted."""
        sql = "SELECT 1 FROM deliveries WHERE attempts = 0 AND instr(body, ?)"
        return self._store.fetch_one(sql, video_id) is not None

    async def run(self) -> None:
        """Send due deliveries until cancelled."""
        async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_SECONDS, trust_env=False) as client:
            try:
                while True:
                    self._wakeup.clear()
                    for row in self._fetch_due():
                        self._in_flight[row["number"]] = asyncio.create_task(self._send(client, row))
                    await self._wait_for_due()
            finally:
                for task in self._in_flight.values():
                    task.cancel()
                await asyncio.gather(*self._in_flight.values(), return_exceptions=True)

    def _fetch_due(self) -> list[Row]:
        now, rows = time.time(), self._store.fetch_all(NEXT)
        return [row for row in rows if row["due_at"] <= now and row["number"] not in self._in_flight]

    async def _wait_for_due(self) -> None:
        # One that has become due since the last look counts, too.
        rows = self._store.fetch_all(NEXT)
        waiting = [row["due_at"] for row in rows if row["number"] not in self._in_flight]
        next_due = min(waiting, default=time.time() + 60)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wakeup.wait(), max(0.005, next_due - time.time()))

    async def _send(self, client: httpx.AsyncClient, row: Row) -> None:
        status: int | None = None
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):  # recorded as a failed attempt and retried
            response = await client.post(row["url"], content=row["body"].encode(), headers=_build_headers(row))
            status = response.status_code
        self._record_attempt(row, status)
        del self._in_flight[row["number"]]
        self.wake()

    def _record_attempt(self, row: Row, status: int | None) -> None:
        now, attempts = time.time(), row["attempts"] + 1
        due_at = now + RETRY_DELAYS_SECONDS[min(attempts, len(RETRY_DELAYS_SECONDS)) - 1]
        state = "due" if row["manner"] == "genuine" else "sent"  # fault messages are not retried
        if status is not None and 200 <= status < 300:
            state = "delivered"
        self._store.execute(
            "UPDATE deliveries SET attempts = ?, last_status = ?, due_at = ?, state = ? WHERE number = ?",
            *(attempts, status, due_at, state, row["number"]),
        )


def _format_event(message: PlannedMessage) -> dict[str, Any]:
    event = {"id": message.event_id, "object": "event", "created_at": int(time.time())}
    return {**event, "type": message.event_type, "data": {"id": message.video_id}}


def _build_headers(row: Row) -> dict[str, str]:
    plain = {"user-agent": USER_AGENT, "content-type": "application/json"}
    if not row["secret"]:
        return plain  # a vendor whose customer has created no secret
    timestamp = int(time.time()) - (STALE_AGE_SECONDS if row["manner"] == "stale" else 0)
    secrets_in_use = [FORGED_SECRET if row["manner"] == "forged" else row["secret"]]
    if row["old_secret"] and row["old_secret_until"] > time.time():
        secrets_in_use.append(row["old_secret"])
    signed_at = datetime.fromtimestamp(timestamp, UTC)
    signatures = [Webhook(secret).sign(row["webhook_id"], signed_at, row["body"]) for secret in secrets_in_use]
    signed = {"webhook-id": row["webhook_id"], "webhook-timestamp": str(timestamp)}
    return {**plain, **signed, "webhook-signature": " ".join(signatures)}
