"""Webhooks: signatures, persistence, retries, secret rotation and injected delivery faults."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox_server import ReceivedWebhook, SandboxClient, SandboxServer, WebhookReceiver
from standardwebhooks import Webhook, WebhookVerificationError

from sandbox.delivery_faults import GAP_SECONDS


def is_verified(webhook: ReceivedWebhook, secret: str) -> bool:
    try:
        Webhook(secret).verify(webhook.body, webhook.headers)
    except WebhookVerificationError:
        return False
    return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A server for this module only: unfinished videos of other tests would send webhooks here."""
    server = SandboxServer(tmp_path_factory.mktemp("webhooks"))
    yield server
    server.stop()


async def test_a_completed_video_sends_a_signed_event(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """A completed video sends one signed event in the documented format, with the video id as its only data."""
    video = await client.create_and_wait("Announced")
    (one,) = await receiver.wait_for(lambda received: len(received) >= 1)

    assert is_verified(one, endpoint["signing_secret"])
    assert one.event | {"id": "", "created_at": 0} == {
        "id": "",
        "object": "event",
        "created_at": 0,
        "type": "video.completed",
        "data": {"id": video["id"]},
    }
    assert one.event["id"].startswith("evt_")
    assert one.headers["webhook-id"].startswith("wh_")
    assert abs(int(one.headers["webhook-timestamp"]) - time.time()) < 10
    assert "SANDBOX" in one.headers["user-agent"]


async def test_a_failed_video_sends_an_event(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """A failed video sends a video.failed event."""
    await client.create_and_wait("Announced #fail")
    (one,) = await receiver.wait_for(lambda received: len(received) >= 1)

    assert one.event["type"] == "video.failed"


async def test_a_refused_webhook_is_retried(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """A redirect and a 500 cause a retry with the same webhook id and a new timestamp."""
    receiver.statuses = [302, 500]
    await client.create_and_wait("Repeated")
    first, second, third = await receiver.wait_for(lambda received: len(received) >= 3)

    assert len({one.headers["webhook-id"] for one in (first, second, third)}) == 1
    assert int(third.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert is_verified(third, endpoint["signing_secret"])
    assert first.body == third.body


@pytest.mark.slow
async def test_an_undelivered_event_is_sent_after_a_killed_sandbox_restarts(
    tmp_path: Path, receiver: WebhookReceiver
) -> None:
    """The stored event is sent after kill -9 and a restart, signed with the secret of the environment."""
    secret = "whsec_" + "c2VjcmV0" * 5
    options = ("--webhook-url", receiver.url)
    first = SandboxServer(tmp_path, *options, secret=secret)
    receiver.statuses = [500]
    async with SandboxClient(first.url) as client:
        video = await client.create_and_wait("Undelivered")
        await receiver.wait_for(lambda received: len(received) >= 1)
    first.kill()
    second = SandboxServer(tmp_path, *options, secret=secret)
    refused, accepted = await receiver.wait_for(lambda received: len(received) >= 2)
    second.stop()

    assert accepted.headers["webhook-id"] == refused.headers["webhook-id"]
    assert accepted.event["data"]["id"] == video["id"]
    assert is_verified(accepted, secret)


async def test_an_endpoint_receives_only_its_event_types_and_can_be_deleted(
    client: SandboxClient, receiver: WebhookReceiver
) -> None:
    """Events of other types are not sent to an endpoint; a deleted endpoint is not found."""
    fields = {"url": receiver.url, "event_types": ["video.failed"]}
    endpoint = (await client.post("/v1/webhook_endpoints", json=fields)).json()
    await client.create_and_wait("Not of interest")
    await client.create_and_wait("Of interest #fail")
    (one,) = await receiver.wait_for(lambda received: len(received) >= 1)
    deleted = (await client.delete(f"/v1/webhook_endpoints/{endpoint['id']}")).json()

    assert one.event["type"] == "video.failed"
    assert deleted["deleted"] is True
    assert (await client.delete(f"/v1/webhook_endpoints/{endpoint['id']}")).status_code == 404


async def test_an_event_can_be_lost(client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]) -> None:
    """One event is lost; the next one arrives."""
    await client.inject_fault("webhook_drop")
    lost = await client.create_and_wait("Lost event")
    delivered = await client.create_and_wait("Kept event")
    await receiver.wait_for(lambda received: len(received) >= 1)

    assert [one.event["data"]["id"] for one in receiver.received] == [delivered["id"]] != [lost["id"]]


async def test_an_event_can_be_delayed(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """A later event overtakes a delayed one."""
    await client.inject_fault("webhook_delay", seconds=3)
    late = await client.create_and_wait("Late")
    early = await client.create_and_wait("Early")
    received = await receiver.wait_for(lambda received: len(received) >= 2)

    assert [one.event["data"]["id"] for one in received] == [early["id"], late["id"]]


async def test_an_event_can_be_duplicated(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """The copies have the same webhook id."""
    await client.inject_fault("webhook_duplicate", copies=2)
    await client.create_and_wait("Duplicated")
    received = await receiver.wait_for(lambda received: len(received) >= 3)

    assert len({one.headers["webhook-id"] for one in received}) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "valid"),
    [
        ("webhook_stale", "video.completed", False),
        ("webhook_forged", "video.completed", False),
        ("webhook_unknown_type", "video.sparkled", True),
        ("webhook_unknown_video", "video.completed", True),
    ],
)
async def test_a_fault_message_precedes_the_genuine_event(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any], fault: str, kind: str, valid: bool
) -> None:
    """Stale and forged messages fail verification, unknown ones are signed correctly; none of them is retried."""
    receiver.statuses = [401]
    await client.inject_fault(fault)
    video = await client.create_and_wait(f"Fault {fault}")
    fault_message, genuine = await receiver.wait_for(lambda received: len(received) >= 2)

    assert fault_message.event["type"] == kind
    assert is_verified(fault_message, endpoint["signing_secret"]) is valid
    assert is_verified(genuine, endpoint["signing_secret"])
    assert genuine.event["data"]["id"] == video["id"]
    assert (fault_message.event["data"]["id"] == video["id"]) is (fault != "webhook_unknown_video")
    assert (fault_message.event["id"] == genuine.event["id"]) is (fault == "webhook_stale")


async def test_a_genuine_event_waits_for_the_fault_message_before_it(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """Also at a receiver that is so busy that both are due."""
    receiver.pauses = [4 * GAP_SECONDS]
    await client.inject_fault("webhook_stale")
    await client.create_and_wait("Busy")
    received = await receiver.wait_for(lambda received: len(received) >= 2)

    assert [is_verified(each, endpoint["signing_secret"]) for each in received] == [False, True]


async def test_a_failed_event_can_follow_a_completed_event(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """Both events are signed and have different webhook ids; the video stays completed."""
    await client.inject_fault("webhook_failed_after_completed")
    video = await client.create_and_wait("Contradicted")
    completed, failed = await receiver.wait_for(lambda received: len(received) >= 2)

    assert [one.event["type"] for one in (completed, failed)] == ["video.completed", "video.failed"]
    assert completed.headers["webhook-id"] != failed.headers["webhook-id"]
    assert is_verified(failed, endpoint["signing_secret"])
    assert (await client.get(f"/v1/videos/{video['id']}")).json()["status"] == "completed"


async def test_an_event_can_precede_the_create_response(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """The create response reports "queued", the status at the time of the request."""
    await client.inject_fault("webhook_before_response")
    video = await client.create_video("Overtaken")

    assert [one.event["data"]["id"] for one in receiver.received] == [video["id"]]
    assert video["status"] == "queued"


async def test_random_delivery_faults_stay_active_until_cleared(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """Events are duplicated or dropped as configured until the fault is cleared."""
    await client.inject_fault("webhook_random_faults", drop=0.0, duplicate=1.0, delay_max=0.2, seed=3)
    await client.create_and_wait("Duplicated")
    await receiver.wait_for(lambda received: len(received) >= 2)
    await client.inject_fault("webhook_random_faults", drop=1.0, seed=3)
    await client.create_and_wait("Dropped")
    active = (await client.get("/sandbox/faults")).json()["faults"]
    await client.delete("/sandbox/faults", params={"fault": "webhook_random_faults"})
    single = await client.create_and_wait("After clearing")
    received = await receiver.wait_for(lambda received: len(received) >= 3)

    assert [one["fault"] for one in active] == ["webhook_random_faults"]
    assert received[0].headers["webhook-id"] == received[1].headers["webhook-id"]
    assert received[2].event["data"]["id"] == single["id"]
    assert len(received) == 3


async def test_other_server_profiles_send_no_webhooks(
    client: SandboxClient, receiver: WebhookReceiver, endpoint: dict[str, Any]
) -> None:
    """Only the OpenAI profile sends webhooks."""
    await client.inject_fault("profile", profile="sglang")
    silent = await client.create_and_wait("Silent")
    deliveries = (await client.get("/sandbox/deliveries")).json()

    assert silent["id"] not in [one["body"]["data"]["id"] for one in deliveries]
