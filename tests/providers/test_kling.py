"""Kling: a lost create is found by our id, errors are told apart by their number, and the bill says what is charged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from sandbox_server import SandboxClient, WebhookReceiver

from providers.base import NotSent, OutcomeUnknown, ProviderError, Refused, Unavailable
from providers.kling import Kling
from providers.results import Failed, FileMissing, NotFound, Pending, Succeeded
from providers.webhooks import InvalidEvent, InvalidSignature, VideoEvent, verify_signature
from tests.providers.stub_server import Respond, respond_with, stub_client
from tests.providers.vendors import VendorTest, webhook_secrets

LIVE = "https://api-singapore.klingai.com"
NATIVE, TURBO = "kling-3.0", "kling-3.0-turbo"
ACCEPTED = {"code": 0, "data": {"id": "893605946402811985", "status": "submitted"}}


@pytest.fixture
async def vendor(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[VendorTest]:
    async with VendorTest(Kling, "/kling", "kling-key", NATIVE, sandbox, tmp_path) as opened:
        yield opened


def tasks(*found: dict[str, Any]) -> Respond:
    """Return a server that answers every query with these tasks."""
    return respond_with(200, {"code": 0, "data": list(found)})


@pytest.mark.parametrize(("model", "usd"), [(NATIVE, "0.126"), (TURBO, "0.112")])
async def test_clip_is_ordered_and_fetched(vendor: VendorTest, model: str, usd: str) -> None:
    """The clip is created, polled and downloaded; it is charged once, and the bill is among the facts."""
    vendor.request["model"] = model
    result = await vendor.wait(await vendor.submit())

    assert isinstance(result, Succeeded)
    assert result.facts == {
        "seconds": 1.0,
        "width": 180,
        "height": 320,
        "model": model,
        "provider_seconds": 1.0,
        "charged_usd": usd,
    }
    assert await vendor.charges() == [float(usd)]


@pytest.mark.parametrize(
    ("model", "sound", "settings"),
    [
        (NATIVE, True, {"multi_shot": False, "audio": "native"}),
        (NATIVE, False, {"multi_shot": False, "audio": "off"}),
        (TURBO, True, {}),
    ],
)
async def test_nothing_is_left_to_a_default(
    vendor: VendorTest, model: str, sound: bool, settings: dict[str, Any]
) -> None:
    """Sound, length, resolution and aspect are sent; our id and the callback name the order; one shot is requested."""
    client, requests = stub_client(respond_with(200, ACCEPTED))
    request = {"model": model, "prompt": "Shot 2, 5, a fox;", "seconds": 5, "size": "1920x1080", "sound": sound}
    request["callback"] = "https://films.example/v1/webhooks/video/kling"
    assert await vendor.open(LIVE, client).submit(request, key=vendor.key) == "893605946402811985"

    [post] = requests
    body = json.loads(post.content)
    our_id = body["options"].pop("external_task_id")
    assert str(UUID(our_id)) == our_id
    assert str(post.url) == f"{LIVE}/text-to-video/{model}"
    assert post.headers["authorization"] == "Bearer kling-key"
    assert body == {
        "prompt": "Shot 2: 5, a fox;",
        "settings": {"resolution": "1080p", "aspect_ratio": "16:9", "duration": 5, **settings},
        "options": {
            "callback_url": f"{request['callback']}?order={vendor.key.replace(':', '%3A')}",
            "watermark_info": {"enabled": False},
        },
    }


@pytest.mark.parametrize(
    ("status", "code", "error", "expected"),
    [
        (429, 1302, NotSent, "rate_limited"),
        (429, 1303, NotSent, "rate_limited"),
        (429, 1100, Refused, "credit_exhausted"),
        (429, 1101, Refused, "credit_exhausted"),
        (429, 1102, Refused, "credit_exhausted"),
        (429, 1304, Refused, "video_refused"),
        (403, 1103, Refused, "video_refused"),
        (400, 1200, Refused, "video_refused"),
        (400, 1300, Refused, "content_policy_violation"),
        (400, 1301, Refused, "content_policy_violation"),
        (404, 1203, Refused, "video_refused"),
        (401, 1002, NotSent, "api_key_rejected"),
        (200, 1101, Refused, "credit_exhausted"),
        (200, 1303, NotSent, "rate_limited"),
        (200, 5000, OutcomeUnknown, "outcome_unknown"),
        (200, None, OutcomeUnknown, "outcome_unknown"),
        (200, [], OutcomeUnknown, "outcome_unknown"),
        (500, 5000, OutcomeUnknown, "outcome_unknown"),
        (503, 5001, OutcomeUnknown, "outcome_unknown"),
        (504, 5002, OutcomeUnknown, "outcome_unknown"),
        (400, 9999, Refused, "code_9999"),
    ],
)
async def test_answers_to_a_create(
    vendor: VendorTest, status: int, code: Any, error: type[ProviderError], expected: str
) -> None:
    """The number of an error counts, not its HTTP status, and one call is made."""
    client, requests = stub_client(respond_with(status, {"code": code, "message": "No."}))
    with pytest.raises(ProviderError) as caught:
        await vendor.open(LIVE, client).submit(vendor.request, key=vendor.key)

    assert (type(caught.value), caught.value.code, len(requests)) == (error, expected, 1)


@pytest.mark.parametrize("data", [None, {}, [], {"id": 7}])
async def test_an_answer_without_an_id_leaves_the_outcome_unknown(vendor: VendorTest, data: Any) -> None:
    """The task may exist."""
    client, _ = stub_client(respond_with(200, {"code": 0, "data": data}))
    with pytest.raises(OutcomeUnknown):
        await vendor.open(LIVE, client).submit(vendor.request, key=vendor.key)


# ---- a lost create


@pytest.mark.parametrize("fault", ["drop", "504", "hang"])
async def test_a_lost_create_is_found_by_our_id(vendor: VendorTest, fault: str) -> None:
    """The task is found among others, and charged once."""
    await vendor.submit(f"{vendor.key}2", prompt="Another")
    if fault == "drop":
        await vendor.sandbox.inject_fault("create_accept_then_drop")
    elif fault == "hang":
        await vendor.sandbox.inject_fault("create_accept_then_hang", seconds=0.1)
    else:
        await vendor.sandbox.inject_fault("vendor_error", status=504, code="5002", accept=1)
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)

    [found] = await vendor.lookup()

    assert isinstance(await vendor.wait(found), Succeeded)
    assert len(await vendor.charges()) == 1


async def test_a_backlog_without_a_task(vendor: VendorTest) -> None:
    """The look-up finds nothing, and the order is placed again under the same id."""
    await vendor.sandbox.inject_fault("vendor_error", status=504, code="5002")
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)
    assert await vendor.lookup() == []

    assert isinstance(await vendor.wait(await vendor.submit()), Succeeded)
    assert len(await vendor.charges()) == 1
    assert vendor.adapter.replayable == timedelta(hours=1)


async def test_an_order_that_exists_is_not_refused(vendor: VendorTest) -> None:
    """A second create under our id is refused with 1201, and means the first one."""
    task_id = await vendor.submit()

    assert await vendor.submit() == task_id
    assert len(await vendor.charges()) == 1


async def test_an_order_that_is_not_listed_yet_is_unknown(vendor: VendorTest) -> None:
    """Until the index shows the task, neither a look-up nor a second create decides anything."""
    await vendor.sandbox.inject_fault("index_lag", seconds=1.0)
    task_id = await vendor.submit()

    assert await vendor.lookup() == []
    assert await vendor.poll(task_id) == NotFound()
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)
    await asyncio.sleep(1.1)
    assert await vendor.lookup() == [task_id] == [await vendor.submit()]
    assert len(await vendor.charges()) == 1
    assert vendor.adapter.lookup_window >= timedelta(minutes=2)


async def test_1201_is_also_an_invalid_parameter(vendor: VendorTest) -> None:
    """Without a task under our id the order is refused."""
    await vendor.sandbox.inject_fault("vendor_error", status=400, code="1201", message="duration is invalid")
    error = await vendor.submit_error()

    assert isinstance(error, Refused)
    assert "duration is invalid" in error.message
    assert await vendor.charges() == []


async def test_a_refusal_that_cannot_be_checked_is_unknown(vendor: VendorTest) -> None:
    """The task may exist."""
    client, requests = stub_client(respond_with(400, {"code": 1201, "message": "Invalid"}))
    with pytest.raises(OutcomeUnknown):
        await vendor.open(LIVE, client).submit(vendor.request, key=vendor.key)

    assert [request.method for request in requests] == ["POST", "GET"]


@pytest.mark.parametrize(
    "respond",
    [
        respond_with(500),
        respond_with(401, {"code": 1002}),
        respond_with(200, {"code": 5000, "data": []}),
        respond_with(200, {"code": 0}),
        respond_with(200, b"<html>"),
    ],
)
async def test_a_query_that_fails_is_unavailable(vendor: VendorTest, respond: Respond) -> None:
    """An error is not an empty answer."""
    client, _ = stub_client(respond)
    vendor.adapter = vendor.open(LIVE, client)
    for query in (vendor.adapter.check(), vendor.lookup(), vendor.poll("1")):
        with pytest.raises(Unavailable):
            await query


async def test_check_asks_a_question_that_costs_nothing(vendor: VendorTest) -> None:
    """A query of a task that does not exist succeeds; a person can make the same one for an order."""
    await vendor.adapter.check()
    url = vendor.adapter.lookup_url(vendor.request, key=vendor.key)
    task_id = await vendor.submit()

    assert (await vendor.sandbox.get(url)).json()["data"][0]["id"] == task_id


# ---- the end of a task


@pytest.mark.parametrize(
    ("code", "expected", "charged"),
    [
        ("moderation_blocked", "video_failed", False),
        ("generation_failed", "video_failed", False),
        ("charged", "video_failed", True),
    ],
)
async def test_a_failed_task(vendor: VendorTest, code: str, expected: str, charged: bool) -> None:
    """The message says whether a policy is the reason, and the bill whether the task is charged."""
    await vendor.sandbox.inject_fault("fail", code=code)
    result = await vendor.wait(await vendor.submit())

    assert isinstance(result, Failed)
    assert (result.code, result.charged) == (expected, charged)
    assert vendor.profiles[0].is_moderation(result.code, result.message) == (code == "moderation_blocked")
    assert [usd > 0 for usd in await vendor.charges()] == [charged]


@pytest.mark.parametrize(
    ("billing", "usd"),
    [
        ([{"charge_type": "cash", "amount": "0.56", "currency": "USD"}], "0.560"),
        ([{"charge_type": "unit", "amount": "4"}], "0.560"),
        (
            [{"charge_type": "unit", "amount": "2"}, {"charge_type": "cash", "amount": "0.28", "currency": "USD"}],
            "0.560",
        ),
        ([{"charge_type": "cash", "amount": "4.00", "currency": "CNY"}], None),
        ([{"charge_type": "cash", "amount": "many", "currency": "USD"}], None),
        ([], None),
        (None, None),
    ],
)
async def test_the_bill_in_usd(vendor: VendorTest, billing: Any, usd: str | None) -> None:
    """Cash and prepaid units are added up; an amount in another currency is not converted."""
    finished = await vendor.submit()
    await vendor.wait(finished)
    url = (await vendor.sandbox.get(f"/kling/tasks?task_ids={finished}")).json()["data"][0]["outputs"][0]["url"]
    task = {"id": "1", "status": "succeeded", "outputs": [{"url": url}], "billing": billing}
    client, _ = stub_client(tasks(task))
    vendor.adapter = vendor.open(vendor.base_url, client)
    result = await vendor.poll("1")

    assert isinstance(result, Succeeded)
    assert result.facts.get("charged_usd") == usd


async def test_units_of_the_emulator_are_the_same_money(vendor: VendorTest) -> None:
    """A bill in units is the same amount, rounded to a hundredth of a unit."""
    await vendor.sandbox.inject_fault("billed_in_units", times=None)
    result = await vendor.wait(await vendor.submit())

    assert isinstance(result, Succeeded)
    assert float(result.facts["charged_usd"]) == pytest.approx(0.126, abs=0.001)


async def test_a_running_or_unknown_task(vendor: VendorTest) -> None:
    """An error of the server is temporary, and a task that it does not know is not found."""
    await vendor.sandbox.inject_fault("slow", seconds=1.0)
    task_id = await vendor.submit()
    assert await vendor.poll(task_id) == Pending(None)
    await vendor.sandbox.inject_fault("status_500")
    with pytest.raises(Unavailable):
        await vendor.poll(task_id)

    assert await vendor.poll("1") == NotFound()


async def test_an_expired_url_is_renewed_by_the_next_query(vendor: VendorTest) -> None:
    """A URL that is refused is not the end of the file."""
    task_id = await vendor.submit()
    await vendor.wait(task_id)
    await vendor.sandbox.inject_fault("url_expired")

    assert isinstance(await vendor.poll(task_id), FileMissing)
    assert isinstance(await vendor.poll(task_id), Succeeded)


async def test_cleared_results_are_missing(vendor: VendorTest) -> None:
    """After 30 days the task has no outputs; it was charged for."""
    await vendor.sandbox.post("/sandbox/pace", json={"keep_seconds": 0})
    result = await vendor.wait(await vendor.submit())

    assert isinstance(result, FileMissing)
    assert (result.failure.code, result.failure.charged) == ("video_expired", True)


@pytest.mark.parametrize("fault", ["content_truncated", "content_html", "content_500"])
async def test_a_file_that_is_not_complete_is_fetched_again(vendor: VendorTest, fault: str) -> None:
    """No part of it is kept."""
    task_id = await vendor.submit()
    await vendor.wait(task_id)
    await vendor.sandbox.inject_fault(fault)
    with pytest.raises(Unavailable):
        await vendor.poll(task_id)

    assert isinstance(await vendor.poll(task_id), Succeeded)


# ---- webhooks


async def test_older_events_have_other_names(vendor: VendorTest) -> None:
    """A body with `task_id` and `task_status` is an event too, one without any is not."""
    body = b'{"task_id":"1","task_status":"succeed","outputs":[]}'

    assert vendor.adapter.read_event(body) == VideoEvent("succeed", "1")
    for invalid in (b"{}", b'{"id":"1"}', b'{"task_id":"1","status":"succeed"}'):
        with pytest.raises(InvalidEvent):
            vendor.adapter.read_event(invalid)


async def test_webhooks_reveal_a_lost_create(vendor: VendorTest, receiver: WebhookReceiver) -> None:
    """Every change of the state is announced, by a signed webhook that names the order and the task."""
    vendor.request["callback"] = receiver.url
    await vendor.sandbox.inject_fault("create_accept_then_drop")
    await vendor.sandbox.inject_fault("webhook_legacy")
    await vendor.sandbox.inject_fault("webhook_form", form="two_signatures", times=None)
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)
    received = await receiver.wait_for(lambda all_received: len(all_received) >= 4)
    secrets, [task_id] = await webhook_secrets(vendor.sandbox), await vendor.lookup()

    for webhook in received:
        assert len(webhook.headers["webhook-signature"].split()) == 2
        verify_signature(webhook.headers, webhook.body, secrets, now=datetime.now(UTC))
        assert vendor.adapter.read_event(webhook.body).video_id == task_id
        assert parse_qs(urlsplit(webhook.path).query)["order"] == [vendor.key]
    states = sorted(vendor.adapter.read_event(each.body).type for each in received)
    assert states == ["processing", "processing", "submitted", "succeeded"]


@pytest.mark.parametrize(
    ("fault", "times", "sent", "good"),
    [("webhook_forged", 1, 5, 4), ("webhook_stale", 1, 5, 4), ("webhook_form", None, 4, 0)],
)
async def test_a_wrong_signature_is_refused(
    vendor: VendorTest, receiver: WebhookReceiver, fault: str, times: int | None, sent: int, good: int
) -> None:
    """Forged and old webhooks do not verify, nor do any of an account without a secret. They come in any order."""
    vendor.request["callback"] = receiver.url
    await vendor.sandbox.inject_fault(fault, times)
    await vendor.submit()
    received = await receiver.wait_for(lambda all_received: len(all_received) >= sent)
    secrets, verified = await webhook_secrets(vendor.sandbox), set()
    for webhook in received:
        with suppress(InvalidSignature):
            verify_signature(webhook.headers, webhook.body, secrets, now=datetime.now(UTC))
            verified.add(webhook.headers["webhook-id"])  # one that is sent again has the same

    assert len(verified) == good
