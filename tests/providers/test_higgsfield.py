"""Higgsfield: a lost create is submitted again under its key, and is charged once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sandbox_server import SandboxClient, WebhookReceiver

from providers.base import NotSent, OutcomeUnknown, ProviderError, Refused, Unavailable
from providers.higgsfield import Higgsfield
from providers.results import Failed, FileMissing, NotFound, Pending, Succeeded
from providers.webhooks import InvalidEvent, InvalidSignature, VideoEvent, verify_signature
from tests.providers.stub_server import Respond, respond_with, stub_client
from tests.providers.vendors import VendorTest, webhook_secrets

LIVE = "https://api.higgsfield.ai"
TURBO, STANDARD = "kling-video/v3.0-turbo/text-to-video", "kling-video/v3.0/std/text-to-video"
WAN = "alibaba/wan-3.0/text-to-video"


@pytest.fixture
async def vendor(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[VendorTest]:
    async with VendorTest(Higgsfield, "/higgsfield", "key-id:key-secret", TURBO, sandbox, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("model", [TURBO, WAN])
async def test_clip_is_ordered_and_fetched(vendor: VendorTest, model: str) -> None:
    """The clip is created, polled and downloaded; it is charged once."""
    vendor.request["model"] = model
    result = await vendor.wait(await vendor.submit())

    assert isinstance(result, Succeeded)
    assert (result.facts["model"], result.facts["width"]) == (model, 180)
    assert len(await vendor.charges()) == 1


@pytest.mark.parametrize(
    ("model", "sound", "expected"),
    [
        (STANDARD, True, {"sound": "on", "multi_shots": False}),
        (STANDARD, False, {"sound": "off", "multi_shots": False}),
        (TURBO, True, {"resolution": "720p"}),
        (WAN, False, {"resolution": "720p", "generate_audio": False}),
    ],
)
async def test_nothing_is_left_to_a_default(
    vendor: VendorTest, model: str, sound: bool, expected: dict[str, Any]
) -> None:
    """Sound, length, resolution and aspect are sent; key and callback name the order."""
    client, requests = stub_client(respond_with(200, {"request_id": "r1", "status": "queued"}))
    request = {"model": model, "prompt": "A fox", "seconds": 5, "size": "720x1280", "sound": sound}
    request["callback"] = "https://films.example/v1/webhooks/video/higgsfield"
    assert await vendor.open(LIVE, client).submit(request, key=vendor.key) == "r1"

    [post] = requests
    assert (post.url.host, post.url.path) == ("api.higgsfield.ai", f"/{model}")
    assert dict(post.url.params) == {"hf_webhook": f"{request['callback']}?order={vendor.key.replace(':', '%3A')}"}
    assert post.headers["authorization"] == "Key key-id:key-secret"
    assert post.headers["idempotency-key"] == vendor.key
    assert json.loads(post.content) == {"prompt": "A fox", "duration": 5, "aspect_ratio": "9:16", **expected}


@pytest.mark.parametrize(
    ("respond", "error", "code"),
    [
        (respond_with(200, {"status": "queued"}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(503, {"detail": "disabled"}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(500), OutcomeUnknown, "outcome_unknown"),
        (respond_with(408), OutcomeUnknown, "outcome_unknown"),
        (respond_with(429, {"code": "account_queue_full", "limit": 2}), NotSent, "rate_limited"),
        (respond_with(400, {"detail": "Maximum number of concurrent requests (4) has been reached"}), NotSent,
         "rate_limited"),
        (respond_with(400, {"detail": "Bad"}), Refused, "video_refused"),
        (respond_with(401, {"detail": "Invalid credentials"}), NotSent, "api_key_rejected"),
        (respond_with(403, {"detail": "Not enough credits"}), Refused, "credit_exhausted"),
        (respond_with(404, {"detail": "Endpoint not found."}), Refused, "video_refused"),
        (respond_with(422, {"detail": "key-secret"}), Refused, "video_refused"),
        (respond_with(423, {"detail": "Model blocked"}), Refused, "video_refused"),
    ],
)  # fmt: skip
async def test_answers_to_a_create(vendor: VendorTest, respond: Respond, error: type[ProviderError], code: str) -> None:
    """Every answer is one of accepted, not sent, refused or unknown, after one call."""
    client, requests = stub_client(respond)
    with pytest.raises(ProviderError) as caught:
        await vendor.open(LIVE, client).submit(vendor.request, key=vendor.key)

    assert (type(caught.value), caught.value.code, len(requests)) == (error, code, 1)


@pytest.mark.parametrize(
    ("status", "code", "message", "error"),
    [
        (403, "", "Not enough credits", "credit_exhausted"),
        (429, "account_queue_full", "Queue full", "rate_limited"),
        (400, "", "Maximum number of concurrent requests (4) has been reached", "rate_limited"),
    ],
)
async def test_an_order_that_is_not_accepted_does_not_use_up_its_key(
    vendor: VendorTest, status: int, code: str, message: str, error: str
) -> None:
    """The same order is accepted later, under the same key, and charged once."""
    await vendor.sandbox.inject_fault("vendor_error", status=status, code=code, message=message)
    assert (await vendor.submit_error()).code == error
    assert await vendor.charges() == []

    await vendor.submit()

    assert len(await vendor.charges()) == 1


# ---- a lost create


@pytest.mark.parametrize("fault", ["drop", "503", "hang"])
@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_lost_create_is_submitted_again(vendor: VendorTest, fault: str, has_ended: bool) -> None:
    """The second call returns the first request, also if that has ended, and nothing more is charged."""
    vendor.request["callback"] = "https://films.example/hook"
    if fault == "drop":
        await vendor.sandbox.inject_fault("create_accept_then_drop")
    elif fault == "hang":
        await vendor.sandbox.inject_fault("create_accept_then_hang", seconds=0.1)
    else:
        await vendor.sandbox.inject_fault("vendor_error", status=503, accept=1)
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)
    if has_ended:
        await vendor.wait(await vendor.submit())

    assert await vendor.lookup() == []
    task_id = await vendor.submit()
    assert await vendor.submit() == task_id
    assert isinstance(await vendor.wait(task_id), Succeeded)
    assert len(await vendor.charges()) == 1
    assert vendor.adapter.replayable == timedelta(hours=1)
    assert vendor.adapter.lookup_window > timedelta(seconds=60)


async def test_a_create_that_did_not_arrive_is_bought_by_its_replay(vendor: VendorTest) -> None:
    """One call arrived, and one request is charged."""
    await vendor.sandbox.inject_fault("vendor_error", status=503)
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)

    assert isinstance(await vendor.wait(await vendor.submit()), Succeeded)
    assert len(await vendor.charges()) == 1


@pytest.mark.parametrize("change", [{"seconds": 1, "sound": True, "callback": "https://b.example/"}, {"prompt": "B"}])
async def test_another_request_under_the_same_key_is_refused(vendor: VendorTest, change: dict[str, Any]) -> None:
    """A replay that is not the same in everything buys nothing."""
    vendor.request["callback"] = "https://a.example/"
    await vendor.submit()
    error = await vendor.submit_error(**change)

    assert isinstance(error, Refused)
    assert "another request" in error.message
    assert len(await vendor.charges()) == 1


# ---- the price


@pytest.mark.parametrize(("sound", "usd"), [(True, "0.126"), (False, "0.084")])
async def test_a_quote_is_the_price_with_or_without_sound(vendor: VendorTest, sound: bool, usd: str) -> None:
    """A quote costs nothing and orders nothing."""
    request = {**vendor.request, "model": STANDARD, "sound": sound}

    assert await vendor.adapter.quote(request) == Decimal(usd)
    assert await vendor.charges() == []


async def test_a_quote_in_words_is_none(vendor: VendorTest) -> None:
    """Some models are described in words; then the price of the profile counts."""
    await vendor.sandbox.inject_fault("quote_in_words")

    assert await vendor.adapter.quote(vendor.request) is None


@pytest.mark.parametrize(
    ("respond", "expected"),
    [
        (respond_with(404, {"detail": "Not Found"}), None),
        (respond_with(200, {"usd": "NaN"}), None),
        (respond_with(200, {"usd": "-1"}), None),
        (respond_with(200, {"usd": "0.000"}), None),
        (respond_with(200, {"usd": "1e40"}), None),
        (respond_with(200, {"credits": "1.500"}), None),
        (respond_with(200, {"usd": "0.0941"}), Decimal("0.095")),
        (respond_with(200, {"usd": 0.5}), Decimal("0.5")),
        (respond_with(500), Unavailable),
        (respond_with(401), Unavailable),
    ],
)
async def test_a_quote_is_a_number_or_none(vendor: VendorTest, respond: Respond, expected: Any) -> None:
    """A quote that cannot be read is none; one that was not given is an error."""
    client, _ = stub_client(respond)
    quoted = vendor.open(LIVE, client).quote(vendor.request)
    if expected is Unavailable:
        with pytest.raises(Unavailable):
            await quoted
    else:
        assert await quoted == expected


# ---- the end of a request


@pytest.mark.parametrize(
    ("code", "expected"),
    [("nsfw", "moderation_blocked"), ("canceled", "video_canceled"), ("generation_failed", "video_failed")],
)
async def test_a_request_without_a_result_is_not_charged(vendor: VendorTest, code: str, expected: str) -> None:
    """Moderation, a cancellation before the start and a failure are free of charge."""
    await vendor.sandbox.inject_fault("fail", code=code)
    result = await vendor.wait(await vendor.submit())

    assert isinstance(result, Failed)
    assert (result.code, result.charged) == (expected, False)
    assert vendor.profiles[0].is_moderation(result.code, result.message) == (code == "nsfw")


@pytest.mark.parametrize("name", ["error", "detail", "details", "message"])
async def test_the_reason_of_a_failure(vendor: VendorTest, name: str) -> None:
    """The reason has one of several names, and is shown without the key."""
    client, _ = stub_client(respond_with(200, {"status": "failed", name: "Bad key-id:key-secret"}))
    vendor.adapter = vendor.open(LIVE, client)

    assert await vendor.poll("r1") == Failed("video_failed", "Bad [key]")


async def test_a_running_or_unknown_request(vendor: VendorTest) -> None:
    """An error of the server is temporary, and a request that it does not know is not found."""
    await vendor.sandbox.inject_fault("slow", seconds=1.0)
    task_id = await vendor.submit()
    assert await vendor.poll(task_id) == Pending(None)
    await vendor.sandbox.inject_fault("status_500")
    with pytest.raises(Unavailable):
        await vendor.poll(task_id)
    await vendor.sandbox.inject_fault("video_not_found")

    assert await vendor.poll(task_id) == NotFound()


async def test_an_expired_file_is_missing(vendor: VendorTest) -> None:
    """After seven days the state is still reported and the file is gone: it was charged for."""
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


@pytest.mark.parametrize("video", [None, "https://media.example/a.mp4", {}, {"url": None}])
async def test_a_completed_request_without_a_url(vendor: VendorTest, video: Any) -> None:
    """The file may be late."""
    client, _ = stub_client(respond_with(200, {"status": "completed", "video": video}))
    vendor.adapter = vendor.open(LIVE, client)

    assert isinstance(await vendor.poll("r1"), FileMissing)


async def test_check_asks_a_question_that_costs_nothing(vendor: VendorTest) -> None:
    """A valid key is recognised by the answer about a request that does not exist."""
    await vendor.adapter.check()
    client, _ = stub_client(respond_with(401, {"detail": "Invalid credentials"}))
    with pytest.raises(Unavailable, match="rejected the API key"):
        await vendor.open(LIVE, client).check()
    assert await vendor.charges() == []


# ---- webhooks


@pytest.mark.parametrize("body", [b"{}", b'{"request_id":"r"}', b'{"id":"r","status":"completed"}'])
async def test_an_invalid_event_is_rejected(vendor: VendorTest, body: bytes) -> None:
    """A body without request id and status is not an event."""
    with pytest.raises(InvalidEvent):
        vendor.adapter.read_event(body)


async def test_a_webhook_reveals_a_lost_create(vendor: VendorTest, receiver: WebhookReceiver) -> None:
    """It is signed, and names the order and the request; a repeated one has the same id."""
    vendor.request["callback"] = receiver.url
    await vendor.sandbox.inject_fault("webhook_duplicate", copies=1)
    await vendor.sandbox.inject_fault("create_accept_then_drop")
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)
    first, second = await receiver.wait_for(lambda all_received: len(all_received) >= 2)
    secrets = await webhook_secrets(vendor.sandbox)

    names = {verify_signature(each.headers, each.body, secrets, now=datetime.now(UTC)) for each in (first, second)}
    assert len(names) == 1
    assert parse_qs(urlsplit(first.path).query)["order"] == [vendor.key]
    assert vendor.adapter.read_event(first.body) == VideoEvent("completed", await vendor.submit())


@pytest.mark.parametrize("fault", ["webhook_forged", "webhook_stale", "unsigned"])
async def test_a_wrong_signature_is_refused(vendor: VendorTest, receiver: WebhookReceiver, fault: str) -> None:
    """Forged and old webhooks do not verify, nor do those before the account's secret was shown in the console."""
    vendor.request["callback"] = receiver.url
    await vendor.sandbox.inject_fault(*(["webhook_form"] if fault == "unsigned" else [fault]))
    await vendor.submit()
    received = await receiver.wait_for(lambda all_received: len(all_received) >= 1)

    with pytest.raises(InvalidSignature):
        verify_signature(
            received[0].headers, received[0].body, await webhook_secrets(vendor.sandbox), now=datetime.now(UTC)
        )
