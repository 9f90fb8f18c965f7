"""An order is polled as often as the profile of its video model requires."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from providers.results import Succeeded
from providers.video_profiles import Profile
from providers.videos import Videos
from runs.reconcile import reconcile_order
from runs.services import Services
from tests.ledger.fake_provider import approval, new_order, new_run
from tests.providers.stub_server import respond_with, stub_client

REQUEST = {"model": "wan", "prompt": "Rain", "seconds": 4, "size": "720x1280"}


async def accept(path: Path, **_: Any) -> Succeeded:
    raise AssertionError("no clip is finished")


@pytest.mark.parametrize("is_announced", [True, False])
async def test_poll_seconds_is_the_pause_between_two_polls(services: Services, is_announced: bool) -> None:
    """The first poll follows the create after the pause of the profile, and each poll the one before."""
    client, requests = stub_client(respond_with(200, {"id": "video_1", "status": "queued"}))
    fields = {"hosts": ["*"], "models": ["wan"], "sizes": ["720x1280"], "seconds": [4], "usd_per_second": 0}
    profile = Profile.model_validate({**fields, "poll_seconds": 42})
    videos = Videos("http://server/v1", "key", [profile], client, accept, is_announced=is_announced)
    services.ledger.providers = {**services.ledger.providers, "clip": [videos]}
    run = await new_run(services.db)
    order = replace(new_order(run, await approval(services.db, run)), request=REQUEST)
    await services.ledger.place_once(order)
    pauses = [await pause_of(services, str(order.key))]
    for _ in range(3):
        await reconcile_order(services, str(order.key))
        pauses.append(await pause_of(services, str(order.key)))

    assert [request.method for request in requests] == ["POST", "GET", "GET", "GET"]
    assert pauses == [pytest.approx(42, abs=5)] * 4
    assert await services.ledger.claim_due(100, renders=False) == []


async def pause_of(services: Services, key: str) -> float:
    """Return the seconds until the next poll."""
    row = await services.db.fetch_one(
        "select extract(epoch from next_poll_at - now())::float as pause from orders where key = %s", (key,)
    )
    assert row is not None
    return float(row["pause"])
