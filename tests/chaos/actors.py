"""The people: they start runs, click twice, ask for changes, and look at the provider before they say "not made"."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx

from providers.orders import digest_of

ENDED = ("completed", "failed")
#: How often a person presses retry for one and the same reason.
PATIENCE = 8
COMMENTS = ("Warmer light, please.", "Slower, and from further away.")


class Actors:
    """Everybody who uses the product. They try again whatever was not answered, with the same key."""

    def __init__(self, api: httpx.AsyncClient, sandbox: httpx.AsyncClient, keys: list[str], chance: random.Random):
        self.api, self.sandbox, self.keys, self.chance = api, sandbox, keys, chance
        self.started: list[str] = []
        #: Where each run that has not ended stood last.
        self.open: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, dict[str, Any]] = {}
        self.answered_twice: list[str] = []
        self.retries = 0
        self.strange: list[str] = []
        self._answered: set[tuple[str, str, int]] = set()
        self._asked_for_changes: set[str] = set()
        self._tries: Counter[tuple[str, str]] = Counter()

    async def start(self) -> None:
        """Start one run, once, however often it takes to be told so."""
        key = f"start-{uuid4()}"
        clips = 2 if self.chance.random() < 0.2 else 1
        body = {"project": "tiny", "brief": f"Rain on a quiet window, {len(self.started)}", "options": {"clips": clips}}
        answer = await self._ask("POST", "/v1/runs/start", body, key)
        if answer is None or answer.status_code != 200:
            self.strange.append(f"a start was answered with {answer and answer.text}")
            return
        run_id = answer.json()["run_id"]
        self.started.append(run_id)
        self.open[run_id] = {"status": "pending"}

    async def live(self, want_more: Callable[[], bool], at_once: int) -> None:
        """Start runs while more are wanted, and look after all of them, until cancelled."""
        while True:
            while want_more() and len(self.open) < at_once:
                await self.start()
            await asyncio.gather(*(self._look_after(run_id) for run_id in list(self.open)))
            await asyncio.sleep(0.4)

    async def _look_after(self, run_id: str) -> None:
        answer = await self._once("GET", f"/v1/runs/{run_id}", None, None)
        if answer is None or answer.status_code != 200:
            return
        run = answer.json()
        self.open[run_id] = run
        if run["review"]:
            await self._decide(run)
        elif run["status"] == "completed":
            self.ended[run_id] = self.open.pop(run_id)
        elif run["status"] == "failed":
            await self._see_to(run)

    async def _decide(self, run: dict[str, Any]) -> None:
        review = run["review"]
        which = (run["run_id"], review["gate"], review["revision"])
        if which in self._answered:
            return
        self._answered.add(which)
        body = {"gate": review["gate"], "digest": review["digest"], **self._verdict(run)}
        path = f"/v1/runs/{run['run_id']}/approve"
        # Two people and their double clicks.
        clicks = [key for _ in range(self.chance.choice((1, 1, 2))) for key in [f"decide-{uuid4()}"] * 2]
        said = await asyncio.gather(*(self._ask("POST", path, body, key) for key in clicks))
        yes = {
            key for key, answer in zip(clicks, said, strict=True) if answer is not None and answer.status_code == 200
        }
        if len(yes) > 1:
            self.answered_twice.append(f"{len(yes)} clicks were each told that they had decided {which}")
        for answer in said:
            if answer is not None and answer.status_code not in (200, 409):
                self.strange.append(f"a decision was answered with {answer.status_code}: {answer.text[:200]}")

    def _verdict(self, run: dict[str, Any]) -> dict[str, Any]:
        if run["run_id"] in self._asked_for_changes or self.chance.random() > 0.15:
            return {"approved": True}
        self._asked_for_changes.add(run["run_id"])
        if run["review"]["gate"] == "publish" and self.chance.random() < 0.5:
            return {"approved": False, "decision": "revise", "clips": [1]}
        return {"approved": False, "comment": self.chance.choice(COMMENTS)}

    async def _see_to(self, run: dict[str, Any]) -> None:
        """Press retry where it helps; what is of unknown outcome is looked up at the provider first."""
        error = run["error"]
        self._tries[run["run_id"], error["code"]] += 1
        if not error["retryable"] or self._tries[run["run_id"], error["code"]] > PATIENCE:
            self.ended[run["run_id"]] = self.open.pop(run["run_id"])
            return
        made = [await self._was_made(run["run_id"], order) for order in error.get("unknown_orders", [])]
        body = {"not_made": bool(made) and not any(made)}
        answer = await self._ask("POST", f"/v1/runs/{run['run_id']}/retry", body, f"retry-{uuid4()}")
        if answer is not None and answer.status_code == 200:
            self.retries += 1

    async def _was_made(self, run_id: str, order: dict[str, Any]) -> bool:
        if order["kind"] == "publication":
            content = await self.sandbox.get(order["look_at"], headers={"Authorization": "Apikey any"})
            assert content.status_code in (200, 404), content.text
            return content.status_code == 200
        _, _, number, take = order["order"].split(":")
        slate = f"(Slate {digest_of(run_id)[:8]}-{number}-{take},"
        return any(slate in charge["prompt"] for charge in (await self.sandbox.get("/sandbox/charges")).json())

    async def _ask(self, method: str, path: str, body: Any, key: str | None) -> httpx.Response | None:
        """The answer, asked for until there is one."""
        for _ in range(120):
            answer = await self._once(method, path, body, key)
            under_way = answer is not None and answer.status_code == 409 and "request_under_way" in answer.text
            if answer is not None and answer.status_code < 500 and not under_way:
                return answer
            await asyncio.sleep(0.5)
        self.strange.append(f"{method} {path} was never answered")
        return None

    async def _once(self, method: str, path: str, body: Any, key: str | None) -> httpx.Response | None:
        headers = {"X-API-Key": self.keys[0]} | ({"Idempotency-Key": key} if key else {})
        with suppress(httpx.HTTPError):
            return await self.api.request(method, path, json=body, headers=headers)
        return None
