"""Webhooks: every event is written down before it is sent, signed, and sent again until it is taken."""

import asyncio
import contextlib
import json
import secrets
import time
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook

from sandbox.faults import Faults
from sandbox.store import Row, Store
from sandbox.weather import Planned, plan

USER_AGENT = "MyloWare-Sandbox/1.0 (SANDBOX; speaks like OpenAI/1.0)"
BACKOFF = (1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800, 3600)
GIVE_UP_AFTER = 72 * 3600
TIMEOUT = 10.0
STALE_BY = 600
FORGED_SECRET = "whsec_" + "Zm9yZ2Vk" * 5


class Courier:
    """Carries events to every registered endpoint."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults
        self._awake = asyncio.Event()
        self._on_the_way: dict[int, asyncio.Task[None]] = {}

    def announce(self, video_id: str, event: str) -> None:
        """Writes down what is to be told, in the transaction that makes it true; `nudge` after it."""
        if self._faults.profile != "openai":
            return  # none of the other servers sends webhooks
        planned = plan(self._store, self._faults, video_id, event)
        for endpoint in self._store.all("SELECT * FROM endpoints"):
            if event in json.loads(endpoint["event_types"]):
                self._write(endpoint["id"], planned)

    def _write(self, endpoint_id: str, planned: list[Planned]) -> None:
        now = time.time()
        names: dict[str, str] = {}
        for one in planned:
            body = {
                "id": one.event_id,
                "object": "event",
                "created_at": int(now),
                "type": one.event,
                "data": {"id": one.video_id},
            }
            # Copies of one event carry one webhook-id: it is what a receiver knows them by.
            webhook_id = names.setdefault(one.event_id, f"wh_{secrets.token_hex(16)}")
            self._store.write(
                "INSERT INTO deliveries (endpoint_id, webhook_id, body, manner, created_at, due_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                *(endpoint_id, webhook_id, json.dumps(body), one.manner, now, now + one.delay),
            )

    def nudge(self) -> None:
        """There is something new to carry."""
        self._awake.set()

    def untold(self, video_id: str) -> bool:
        """Whether an event of the video has not been tried yet."""
        sql = "SELECT 1 FROM deliveries WHERE attempts = 0 AND json_extract(body, '$.data.id') = ?"
        return self._store.one(sql, video_id) is not None

    async def run(self) -> None:
        """Carries what is due, for ever."""
        async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client:
            try:
                while True:
                    self._awake.clear()
                    for row in self._due():
                        self._on_the_way[row["number"]] = asyncio.create_task(self._carry(client, row))
                    await self._rest()
            finally:
                for task in self._on_the_way.values():
                    task.cancel()
                await asyncio.gather(*self._on_the_way.values(), return_exceptions=True)

    def _due(self) -> list[Row]:
        rows = self._store.all(
            "SELECT deliveries.*, url, secret, old_secret, old_secret_until FROM deliveries"
            " JOIN endpoints ON endpoints.id = endpoint_id"
            " WHERE state = 'due' AND due_at <= ? ORDER BY number",
            time.time(),
        )
        return [row for row in rows if row["number"] not in self._on_the_way]

    async def _rest(self) -> None:
        sql = "SELECT min(due_at) FROM deliveries WHERE state = 'due' AND due_at > ?"
        next_due = self._store.number(sql, time.time()) or time.time() + 60
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._awake.wait(), max(0.005, next_due - time.time()))

    async def _carry(self, client: httpx.AsyncClient, row: Row) -> None:
        status: int | None = None
        try:
            answer = await client.post(row["url"], content=row["body"].encode(), headers=_headers(row))
            status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL):
            pass  # not taken: it is tried again
        self._record(row, status)
        del self._on_the_way[row["number"]]
        self.nudge()

    def _record(self, row: Row, status: int | None) -> None:
        now, attempts = time.time(), row["attempts"] + 1
        due_at = now + BACKOFF[min(attempts, len(BACKOFF)) - 1]
        if status is not None and 200 <= status < 300:
            state = "delivered"
        elif row["manner"] != "genuine":
            state = "sent"  # who plays a trick does not try again
        else:
            state = "due" if due_at - row["created_at"] <= GIVE_UP_AFTER else "given_up"
        self._store.write(
            "UPDATE deliveries SET attempts = ?, last_status = ?, due_at = ?, state = ? WHERE number = ?",
            *(attempts, status, due_at, state, row["number"]),
        )


def _headers(row: Row) -> dict[str, str]:
    at = int(time.time()) - (STALE_BY if row["manner"] == "stale" else 0)
    keys = [FORGED_SECRET if row["manner"] == "forged" else row["secret"]]
    if row["old_secret"] and row["old_secret_until"] > time.time():
        keys.append(row["old_secret"])
    moment = datetime.fromtimestamp(at, UTC)
    signatures = [Webhook(key).sign(row["webhook_id"], moment, row["body"]) for key in keys]
    return {
        "user-agent": USER_AGENT,
        "content-type": "application/json",
        "webhook-id": row["webhook_id"],
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signatures),
    }
