"""Processes killed around creates at the emulators of vendors: an order is charged once, or a person decides."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import httpx
import pytest

from providers.higgsfield import Higgsfield
from providers.kling import Kling
from providers.native_videos import NativeVideos
from providers.orders import Order, OrderKey
from providers.replicate import Replicate
from providers.results import Succeeded
from providers.video_profiles import load_profiles
from runs.reconcile import reconcile_order
from runs.services import Services
from tests.app import SandboxClient
from tests.ledger.fake_provider import ProcessKilled, approval, events_of, kill_at, new_run, state_of

KILLS = 20
POINTS = ("submit.before", "submit.after", "lookup.before", "lookup.after")
FAULTS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"fault": "create_accept_then_drop"},
    {"fault": "vendor_error", "status": 504, "accept": 1},
    {"fault": "vendor_error", "status": 503},
)


@pytest.mark.parametrize(
    ("vendor", "path", "model", "is_always_made"),
    [
        (Replicate, "/replicate/v1", "bytedance/seedance-2.0", False),
        (Higgsfield, "/higgsfield", "kling-video/v3.0-turbo/text-to-video", True),
        (Kling, "/kling", "kling-3.0", True),
    ],
)
@pytest.mark.slow
async def test_killed_creates_are_charged_once(
    services: Services, sandbox: SandboxClient, vendor: type[NativeVideos], path: str, model: str, is_always_made: bool
) -> None:
    """Twenty processes are killed around a create whose answer may be lost: no order is charged twice.

    Where the vendor recognises the key of an order, each is made. Replicate does not: an order that is not in its list
    has an unknown outcome, and a person decides.
    """
    chosen = random.Random(vendor.short_name)
    sandbox.fault("fail", None)  # nothing has to be rendered
    profiles = [each for each in load_profiles() if each.kind == vendor.short_name]
    async with httpx.AsyncClient() as client:
        adapter = vendor(f"{sandbox.url}{path}", "a:b", profiles, client, _accept, client)
        adapter.lookup_window = timedelta(0)
        cast("dict[str, Any]", services.ledger.providers)["clip"] = [adapter]
        run = await new_run(services.db)
        approved = await approval(services.db, run)
        for number in range(1, KILLS + 1):
            request = {"model": model, "prompt": f"{run}-{number}", "seconds": 5, "size": "720x1280"}
            order = Order(OrderKey(run, "clip", number), "clip", request, Decimal(1), approved)
            await services.ledger.reserve([order])
            if fault := chosen.choice(FAULTS):
                assert sandbox.client.post("/sandbox/faults", json=fault).status_code == 201
            async with kill_at(chosen.choice(POINTS)):
                for work in (services.ledger.place, lambda key: reconcile_order(services, key)):
                    try:
                        await work(str(order.key))
                    except ProcessKilled:
                        break
            for _ in range(3):
                await reconcile_order(services, str(order.key))
            charges = [
                each for each in sandbox.client.get("/sandbox/charges").json() if each["prompt"] == request["prompt"]
            ]
            state = await state_of(services, order.key)

            # The job has failed at the vendor, unless it was never made.
            assert (len(charges), state) in [(1, "failed"), (1, "submitted"), (0, "unknown")], (number, fault)
            assert state != "unknown" or not is_always_made
            sandbox.clear()
            sandbox.fault("fail", None)
        assert await events_of(services.db, run, "charge.duplicate") == []


async def _accept(*_: object, **__: object) -> Succeeded:
    raise AssertionError("No clip is downloaded.")
