"""Replicate: a lost create is found by its input, and every end of a prediction says what is charged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sandbox_server import SandboxClient, WebhookReceiver

from providers.base import NotSent, OutcomeUnknown, ProviderError, Refused, Unavailable
from providers.replicate import Replicate
from providers.results import Failed, FileMissing, NotFound, Pending, Succeeded
from providers.webhooks import InvalidEvent, InvalidSignature, verify_signature
from tests.providers.stub_server import Respond, ignore_progress, respond_with, stub_client
from tests.providers.vendors import VendorTest

SEEDANCE, KLING = "bytedance/seedance-2.0", "kwaivgi/kling-v3-video"


@pytest.fixture
async def vendor(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[VendorTest]:
    async with VendorTest(Replicate, "/replicate/v1", "r8_token", SEEDANCE, sandbox, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("model", [SEEDANCE, KLING, "google/veo-3.1"])
async def test_clip_is_ordered_and_fetched(vendor: VendorTest, model: str) -> None:
    """The clip is created, polled and downloaded; it is charged once."""
    vendor.request["model"] = model
    result = await vendor.wait(await vendor.submit())

    assert isinstance(result, Succeeded)
    assert result.facts["model"] == model
    assert result.file is not None
    assert result.file.read_bytes()[4:8] == b"ftyp"
    assert len(await vendor.charges()) == 1


@pytest.mark.parametrize(
    ("model", "sound", "expected"),
    [
        (SEEDANCE, False, {"resolution": "720p", "generate_audio": False}),
        (KLING, True, {"mode": "standard", "generate_audio": True}),
        ("google/veo-3.1", True, {"resolution": "720p", "generate_audio": True}),
    ],
)
async def test_nothing_is_left_to_a_default(
    vendor: VendorTest, model: str, sound: bool, expected: dict[str, Any]
) -> None:
    """Sound, length, resolution and aspect are sent, the callback names the order, and no answer is waited for."""
    client, requests = stub_client(respond_with(201, {"id": "p1", "status": "starting"}))
    request = {"model": model, "prompt": "A fox", "seconds": 5, "size": "720x1280", "sound": sound}
    request["callback"] = "https://films.example/v1/webhooks/video/replicate"
    await vendor.open("https://api.replicate.com/v1", client).submit(request, key=vendor.key)

    [post] = requests
    body = httpx.Response(200, content=post.content).json()
    assert str(post.url) == f"https://api.replicate.com/v1/models/{model}/predictions"
    assert post.headers["authorization"] == "Bearer r8_token"
    assert "prefer" not in post.headers
    seed = body["input"].pop("seed", None)
    assert (seed is None) == (model == KLING)
    assert body == {
        "input": {"prompt": "A fox", "duration": 5, "aspect_ratio": "9:16", **expected},
        "webhook": f"{request['callback']}?order={vendor.key.replace(':', '%3A')}",
        "webhook_events_filter": ["start", "completed"],
    }


async def test_the_same_order_is_sent_byte_for_byte(vendor: VendorTest) -> None:
    """The seed is drawn from the key: the same for the same order, another one for another."""
    client, requests = stub_client(respond_with(201, {"id": "p1"}))
    adapter = vendor.open("https://api.replicate.com/v1", client)
    for key in (vendor.key, vendor.key, f"{vendor.key}2"):
        await adapter.submit(vendor.request, key=key)

    assert requests[0].content == requests[1].content != requests[2].content


@pytest.mark.parametrize(
    ("respond", "error", "code"),
    [
        (respond_with(201, {"id": 3}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(200, b"<html>"), OutcomeUnknown, "outcome_unknown"),
        (respond_with(500, {"detail": "?"}), OutcomeUnknown, "outcome_unknown"),
        (respond_with(504), OutcomeUnknown, "outcome_unknown"),
        (respond_with(409), OutcomeUnknown, "outcome_unknown"),
        (respond_with(429, {"detail": "Request was throttled."}), NotSent, "rate_limited"),
        (respond_with(401, {"detail": "Invalid token."}), NotSent, "api_key_rejected"),
        (respond_with(402, {"detail": "Insufficient credit."}), Refused, "credit_exhausted"),
        (respond_with(403, {"detail": "No."}), Refused, "video_refused"),
        (respond_with(404, {"detail": "No model."}), Refused, "video_refused"),
        (respond_with(422, {"detail": "Input validation failed."}), Refused, "video_refused"),
    ],
)
async def test_answers_to_a_create(vendor: VendorTest, respond: Respond, error: type[ProviderError], code: str) -> None:
    """Every answer is one of accepted, not sent, refused or unknown, after one call."""
    client, requests = stub_client(respond)
    with pytest.raises(ProviderError) as caught:
        await vendor.open("https://api.replicate.com/v1", client).submit(vendor.request, key=vendor.key)

    assert (type(caught.value), caught.value.code, len(requests)) == (error, code, 1)


async def test_an_order_without_a_valid_profile_is_not_sent(vendor: VendorTest) -> None:
    """A model without a profile, or with one that names nothing of an order, has no known input."""
    vendor.profiles[-1].input_fields["prompt"] = "$promt"
    errors = [await vendor.submit_error(model="other/model"), await vendor.submit_error(model="google/veo-3.1")]
    errors += [await vendor.submit_error(model=KLING, prompt="x" * 2501)]

    assert [(type(error), error.code) for error in errors] == [
        (NotSent, "video_model_unknown"),
        (NotSent, "video_profiles_invalid"),
        (Refused, "prompt_too_long"),
    ]


# ---- a lost create


@pytest.mark.parametrize("fault", ["drop", "504", "hang"])
async def test_a_lost_create_is_found_by_its_input(vendor: VendorTest, fault: str) -> None:
    """The answer is lost, and the prediction is found among others of the same model; it is charged once."""
    await vendor.submit(f"{vendor.key}2")
    if fault == "drop":
        await vendor.sandbox.inject_fault("create_accept_then_drop")
    elif fault == "hang":
        await vendor.sandbox.inject_fault("create_accept_then_hang", seconds=0.1)
    else:
        await vendor.sandbox.inject_fault("vendor_error", status=504, accept=1)
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)

    [found] = await vendor.lookup()

    assert isinstance(await vendor.wait(found), Succeeded)
    assert len(await vendor.charges()) == 2


async def test_a_create_that_did_not_arrive_is_not_found(vendor: VendorTest) -> None:
    """The list proves that nothing was created: no match, and no candidate."""
    await vendor.sandbox.inject_fault("vendor_error", status=503)
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)

    assert await vendor.lookup() == []
    assert await vendor.adapter.candidates(vendor.request, since=vendor.started_at) == []
    assert await vendor.charges() == []


async def test_a_late_list_shows_the_order_later(vendor: VendorTest) -> None:
    """An order that the list does not show at once is found within the lookup window."""
    await vendor.sandbox.inject_fault("index_lag", seconds=0.5)
    task_id = await vendor.submit()

    assert await vendor.lookup() == []
    await asyncio.sleep(0.6)
    assert await vendor.lookup() == [task_id]
    assert vendor.adapter.lookup_window >= timedelta(minutes=2)


async def test_two_equal_predictions_are_both_found(vendor: VendorTest) -> None:
    """A create that something between us and Replicate repeated is charged twice, and both are reported."""
    await vendor.sandbox.inject_fault("task_repeated", copies=2)
    task_id = await vendor.submit()

    found = await vendor.lookup()

    assert (len(found), found[0]) == (2, task_id)


async def test_after_an_hour_a_person_decides(vendor: VendorTest) -> None:
    """Once the input is removed no order is found; predictions of the model are shown as candidates."""
    await vendor.sandbox.post("/sandbox/pace", json={"keep_seconds": 0})
    task_id = await vendor.submit()
    result = await vendor.wait(task_id)

    assert isinstance(result, FileMissing)
    assert (result.failure.code, result.failure.charged) == ("video_expired", True)
    assert await vendor.lookup() == []
    candidates = await vendor.adapter.candidates(vendor.request, since=vendor.started_at)
    assert task_id in [each.task_id for each in candidates]
    assert "one hour" in vendor.adapter.lookup_proof
    assert vendor.adapter.replayable is None


async def test_all_pages_of_the_list_are_read(vendor: VendorTest) -> None:
    """The list is filtered by time, and read to its end; an order before the call is not a match."""
    task_id = await vendor.submit()
    await vendor.sandbox.inject_fault("fail", times=None)  # nothing has to be rendered
    await vendor.sandbox.inject_fault("task_repeated", copies=101)
    await vendor.submit(f"{vendor.key}2", prompt="Others")

    assert await vendor.lookup() == [task_id]
    assert await vendor.lookup(since=datetime.now(UTC) + timedelta(minutes=2)) == []


@pytest.mark.parametrize(
    "respond",
    [
        respond_with(500),
        respond_with(401),
        respond_with(429),
        respond_with(200, {"results": None}),
        respond_with(200, {"results": [], "next": "https://elsewhere.example/v1/predictions?cursor=2"}),
        respond_with(200, {"results": [], "next": "https://api.replicate.com/v1/predictions?cursor=2"}),
    ],
    ids=["500", "401", "429", "no list", "foreign page", "endless"],
)
async def test_a_list_that_cannot_be_read_is_unavailable(vendor: VendorTest, respond: Respond) -> None:
    """An incomplete search is an error, not an empty result, and no other host receives the token."""
    client, requests = stub_client(respond)
    adapter = vendor.open("https://api.replicate.com/v1", client)
    with pytest.raises(Unavailable):
        await adapter.lookup(vendor.request, key=vendor.key, since=vendor.started_at)
    assert {request.url.host for request in requests} == {"api.replicate.com"}


# ---- the end of a prediction


@pytest.mark.parametrize(
    ("code", "expected", "charged", "usd"),
    [
        ("aborted", "video_aborted", False, 0),
        ("canceled", "video_canceled", True, 0.14),
        ("moderation_blocked", "video_failed", False, 0),
        ("generation_failed", "video_failed", False, 0),
    ],
)
async def test_a_prediction_without_a_result(
    vendor: VendorTest, code: str, expected: str, charged: bool, usd: float
) -> None:
    """An aborted one is free, a cancelled one is charged, and moderation is told from other failures."""
    await vendor.sandbox.inject_fault("fail", code=code)
    result = await vendor.wait(await vendor.submit())

    assert isinstance(result, Failed)
    assert (result.code, result.charged) == (expected, charged)
    assert vendor.profiles[0].is_moderation(result.code, result.message) == (code == "moderation_blocked")
    assert await vendor.charges() == [usd]


async def test_a_running_prediction_is_pending(vendor: VendorTest) -> None:
    """Its progress is not reported."""
    await vendor.sandbox.inject_fault("slow", seconds=1.0)

    assert await vendor.poll(await vendor.submit()) == Pending(None)


async def test_a_status_that_is_not_known(vendor: VendorTest) -> None:
    """An error of the server is temporary, and a prediction that it lost is not found."""
    task_id = await vendor.submit()
    await vendor.sandbox.inject_fault("status_500")
    with pytest.raises(Unavailable):
        await vendor.poll(task_id)
    await vendor.sandbox.inject_fault("video_not_found")

    assert await vendor.poll(task_id) == NotFound()


@pytest.mark.parametrize(("form", "is_there"), [("list", True), ("null", False)])
async def test_output_is_a_url_a_list_or_nothing(vendor: VendorTest, form: str, is_there: bool) -> None:
    """A list of one file counts like the file; without any the file may be late, and is charged for."""
    task_id = await vendor.submit()
    await vendor.wait(task_id)
    await vendor.sandbox.inject_fault("output_form", form=form)
    result = await vendor.poll(task_id)

    assert isinstance(result, Succeeded if is_there else FileMissing)


@pytest.mark.parametrize("need", [1, 0])
async def test_the_token_is_sent_to_the_file_host_only_if_it_is_required(vendor: VendorTest, need: int) -> None:
    """The file is fetched without the token first: a host that refuses it, and one that requires it, both serve it."""
    await vendor.sandbox.inject_fault("files_need_key", times=None, need=need)

    assert isinstance(await vendor.wait(await vendor.submit()), Succeeded)


async def test_no_other_host_receives_anything(vendor: VendorTest, tmp_path: Path) -> None:
    """A file at a host that is not Replicate's is not fetched."""
    body = {"status": "succeeded", "output": "https://elsewhere.example/files/a.mp4"}
    client, requests = stub_client(respond_with(200, body))
    adapter = vendor.open("https://api.replicate.com/v1", client)
    with pytest.raises(Unavailable) as caught:
        await adapter.poll("p1", vendor.request, into=tmp_path, progress=ignore_progress)

    assert caught.value.code == "file_host_forbidden"
    assert {request.url.host for request in requests} == {"api.replicate.com"}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("content_late", FileMissing),
        ("content_truncated", Unavailable),
        ("content_html", Unavailable),
        ("content_500", Unavailable),
    ],
)
async def test_a_file_that_is_not_served(vendor: VendorTest, fault: str, expected: type) -> None:
    """A file that is missing may be late; one that is cut is fetched again; then the clip is complete."""
    task_id = await vendor.submit()
    await vendor.wait(task_id)
    await vendor.sandbox.inject_fault(fault, times=2)
    try:
        result: object = await vendor.poll(task_id)
    except Unavailable as error:
        result = error

    assert isinstance(result, expected)
    await vendor.sandbox.delete("/sandbox/faults")
    assert isinstance(await vendor.poll(task_id), Succeeded)


# ---- webhooks


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"id":"p1"}', b'{"id":7,"status":"succeeded"}'])
async def test_an_invalid_event_is_rejected(vendor: VendorTest, body: bytes) -> None:
    """A body without id and status is not an event."""
    with pytest.raises(InvalidEvent):
        vendor.adapter.read_event(body)


async def test_webhooks_reveal_a_lost_create(vendor: VendorTest, receiver: WebhookReceiver) -> None:
    """Each webhook is signed with the secret of the API, and names the order and the prediction of a lost create."""
    vendor.request["callback"] = receiver.url
    await vendor.sandbox.inject_fault("create_accept_then_drop")
    assert isinstance(await vendor.submit_error(), OutcomeUnknown)
    received = await receiver.wait_for(lambda all_received: len(all_received) >= 2)
    [secret] = secrets = await vendor.adapter.fetch_secrets()

    for webhook in received:
        verify_signature(webhook.headers, webhook.body, secrets, now=datetime.now(UTC))
        event = vendor.adapter.read_event(webhook.body)
        assert parse_qs(urlsplit(webhook.path).query)["order"] == [vendor.key]
        assert await vendor.lookup() == [event.video_id]
    assert [webhook.event["status"] for webhook in received] == ["starting", "succeeded"]
    assert await vendor.adapter.fetch_secrets() == (secret,)


@pytest.mark.parametrize("fault", ["webhook_forged", "webhook_stale"])
async def test_a_wrong_signature_is_refused(vendor: VendorTest, receiver: WebhookReceiver, fault: str) -> None:
    """A forged or an old webhook does not verify; the genuine one after it does."""
    vendor.request["callback"] = receiver.url
    await vendor.sandbox.inject_fault(fault)
    await vendor.submit()
    bad, good, *_ = await receiver.wait_for(lambda all_received: len(all_received) >= 2)
    secrets = await vendor.adapter.fetch_secrets()

    with pytest.raises(InvalidSignature):
        verify_signature(bad.headers, bad.body, secrets, now=datetime.now(UTC))
    verify_signature(good.headers, good.body, secrets, now=datetime.now(UTC))


async def test_a_webhook_can_come_before_the_answer(vendor: VendorTest, receiver: WebhookReceiver) -> None:
    """Both name the same prediction."""
    vendor.request["callback"] = receiver.url
    await vendor.sandbox.inject_fault("webhook_before_response")
    task_id = await vendor.submit()

    assert {webhook.event["id"] for webhook in receiver.received} == {task_id}


@pytest.mark.parametrize("body", [{}, {"key": "whsec_short"}])
async def test_a_secret_that_is_not_one_is_unavailable(vendor: VendorTest, body: dict[str, str]) -> None:
    """Webhooks are not verified with a secret that could be guessed."""
    client, _ = stub_client(respond_with(200, body))
    with pytest.raises(Unavailable):
        await vendor.open("https://api.replicate.com/v1", client).fetch_secrets()


async def test_a_clip_that_a_webhook_announces_is_polled_rarely(vendor: VendorTest) -> None:
    """Without webhooks the pauses are short."""
    client, _ = stub_client(respond_with(200))
    announced = vendor.open("https://api.replicate.com/v1", client, is_announced=True)

    assert announced.poll_pause(0) >= timedelta(seconds=30)
    assert vendor.adapter.poll_pause(0) < timedelta(seconds=5)
    assert vendor.adapter.name.startswith("replicate:127.0.0.1:")
