"""Actors: simulated API clients that start runs, approve at gates, request changes, and retry failed runs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx

from providers.orders import OrderKey, digest_of
from tests.chaos.environment import PROVIDERS

#: How often an actor retries one run after failures with the same code.
MAX_RETRIES = 8
#: How often a request is repeated until it is answered, and the seconds between two attempts.
MAX_ATTEMPTS, ATTEMPT_INTERVAL_SECONDS = 120, 0.5
POLL_INTERVAL_SECONDS = 0.4
COMMENTS = ("Warmer light, please.", "Slower, and from further away.")

Run = dict[str, Any]


class Actors:
    """All clients of the API. A request without an answer is repeated with the same idempotency key."""

    def __init__(
        self, api: httpx.AsyncClient, sandbox: httpx.AsyncClient, api_keys: Sequence[str], rng: random.Random
    ) -> None:
        self.api, self.sandbox, self.api_keys, self.rng = api, sandbox, api_keys, rng
        #: Each run draws one of these providers of clips.
        self.providers: Sequence[str] = PROVIDERS
        #: Ids of the runs whose start was acknowledged.
        self.started: list[str] = []
        #: The last known state of each run, by run id.
        self.open_runs: dict[str, Run] = {}
        self.ended_runs: dict[str, Run] = {}
        self.duplicate_decisions: list[str] = []
        self.unexpected_responses: list[str] = []
        self.retries = 0
        #: Whether some reviews are answered with a request for changes.
        self.requests_changes = True
        self._decided: set[tuple[str, str, int]] = set()
        self._revised: set[str] = set()
        self._failures: Counter[tuple[str, str]] = Counter()

    async def run(self, needs_runs: Callable[[], bool], concurrent_runs: int) -> None:
        """Start runs while `needs_runs()` is true, and respond to the state of all open runs, until cancelled."""
        while True:
            while needs_runs() and len(self.open_runs) < concurrent_runs:
                await self.start_run()
            await asyncio.gather(*(self._poll_run(run_id) for run_id in list(self.open_runs)))
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def start_run(self) -> None:
        """Start one run; the request is repeated with the same key until it is acknowledged."""
        clips = 2 if self.rng.random() < 0.2 else 1
        project, brief = self.rng.choice(self.providers), f"Rain on a quiet window, {len(self.started)}"
        body = {"project": project, "brief": brief, "options": {"clips": clips}}
        response = await self._request("/v1/runs/start", body, f"start-{uuid4()}")
        if response is None or response.status_code != 200:
            self.unexpected_responses.append(f"start: {response and response.text}")
            return
        run_id = response.json()["run_id"]
        self.started.append(run_id)
        self.open_runs[run_id] = {"status": "pending"}

    async def _poll_run(self, run_id: str) -> None:
        response = await self._send("GET", f"/v1/runs/{run_id}")
        if response is None or response.status_code != 200:
            return
        run = self.open_runs[run_id] = response.json()
        if run["review"]:
            await self._decide(run)
        elif run["status"] == "completed":
            self.ended_runs[run_id] = self.open_runs.pop(run_id)
        elif run["status"] == "failed":
            await self._retry(run)

    async def _decide(self, run: Run) -> None:
        """Answer an open review, from one or two clients that each send the request twice."""
        review = run["review"]
        revision = (run["run_id"], review["gate"], review["revision"])
        if revision in self._decided:
            return
        self._decided.add(revision)
        body = {"gate": review["gate"], "digest": review["digest"], **self._choose_verdict(run)}
        path = f"/v1/runs/{run['run_id']}/approve"
        keys = [key for _ in range(self.rng.choice((1, 1, 2))) for key in [f"decide-{uuid4()}"] * 2]
        responses = await asyncio.gather(*(self._request(path, body, key) for key in keys))
        answered = [(key, response) for key, response in zip(keys, responses, strict=True) if response is not None]
        accepted = {key for key, response in answered if response.status_code == 200}
        if len(accepted) > 1:
            self.duplicate_decisions.append(f"{len(accepted)} decisions were acknowledged for {revision}")
        for _, response in answered:
            if response.status_code not in (200, 409):
                self.unexpected_responses.append(f"decision: {response.status_code} {response.text[:200]}")

    def _choose_verdict(self, run: Run) -> dict[str, Any]:
        """Approve, or request a change with a probability of 15 %, at most once per run."""
        if not self.requests_changes or run["run_id"] in self._revised or self.rng.random() > 0.15:
            return {"approved": True}
        self._revised.add(run["run_id"])
        if run["review"]["gate"] == "publish" and self.rng.random() < 0.5:
            return {"approved": False, "decision": "revise", "clips": [1]}
        return {"approved": False, "comment": self.rng.choice(COMMENTS)}

    async def _retry(self, run: Run) -> None:
        """Retry a failed run if it can be retried; orders of unknown outcome are looked up at the provider first."""
        run_id, error = run["run_id"], run["error"]
        self._failures[run_id, error["code"]] += 1
        if not error["retryable"] or self._failures[run_id, error["code"]] > MAX_RETRIES:
            self.ended_runs[run_id] = self.open_runs.pop(run_id)
            return
        was_made = [await self._was_made(order) for order in error.get("unknown_orders", [])]
        body: dict[str, Any] = {"not_made": bool(was_made) and not any(was_made)}
        response = await self._request(f"/v1/runs/{run_id}/retry", body, f"retry-{uuid4()}")
        if body["not_made"] and response is not None and response.status_code == 409:
            body["confirm"] = response.json()["error"]["details"].get("confirm")
            response = await self._request(f"/v1/runs/{run_id}/retry", body, f"retry-{uuid4()}")
        if response is not None and response.status_code == 200:
            self.retries += 1

    async def _was_made(self, order: dict[str, Any]) -> bool:
        """Return whether the sandbox has the clip or the post of an order of unknown outcome."""
        if order["kind"] == "publication":
            while True:  # a person tries again when the page does not load
                response = await self.sandbox.get(order["lookup_url"], headers={"Authorization": "Apikey any"})
                if response.status_code != 500:
                    break
                await asyncio.sleep(ATTEMPT_INTERVAL_SECONDS)
            assert response.status_code in (200, 404), response.text
            return response.status_code == 200
        key = OrderKey.parse(order["order"])
        tag = f"(Slate {digest_of(key.run_id)[:8]}-{key.number}-{key.attempt},"
        charges = (await self.sandbox.get("/sandbox/charges")).json()
        return any(tag in charge["prompt"] for charge in charges)

    async def _request(self, path: str, body: dict[str, Any], idempotency_key: str) -> httpx.Response | None:
        """Send a POST request until it has a final response; None if there is none after all attempts."""
        for _ in range(MAX_ATTEMPTS):
            response = await self._send("POST", path, body, idempotency_key)
            if response is not None and response.status_code < 500 and not _is_in_progress(response):
                return response
            await asyncio.sleep(ATTEMPT_INTERVAL_SECONDS)
        self.unexpected_responses.append(f"POST {path}: no response after {MAX_ATTEMPTS} attempts")
        return None

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, idempotency_key: str | None = None
    ) -> httpx.Response | None:
        headers = {"X-API-Key": self.api_keys[0]}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        with suppress(httpx.HTTPError):
            return await self.api.request(method, path, json=body, headers=headers)
        return None


def _is_in_progress(response: httpx.Response) -> bool:
    """Return whether the first request with the same idempotency key has no response yet."""
    return response.status_code == 409 and "request_in_progress" in response.text
