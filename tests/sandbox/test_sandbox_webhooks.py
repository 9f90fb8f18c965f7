"""Webhooks: signed, written down before they are sent, repeated until they are taken, and the tricks on them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox_server import Client, Received, Receiver, Server
from standardwebhooks import Webhook, WebhookVerificationError


def verified(one: Received, secret: str) -> bool:
    try:
        Webhook(secret).verify(one.body, one.headers)
    except WebhookVerificationError:
        return False
    return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of its own: videos that other tests left behind would be announced here."""
    running = Server(tmp_path_factory.mktemp("webhooks"))
    yield running
    running.stop()


async def test_a_finished_video_is_announced_with_a_signature(
    client: Client, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    """One signed event of the documented shape, which holds nothing but the id."""
    video = await client.finished("Announced")
    (one,) = await receiver.until(lambda received: len(received) >= 1)

    assert verified(one, endpoint["signing_secret"])
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


async def test_a_failed_video_is_announced_too(client: Client, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """As video.failed."""
    await client.finished("Announced #fail")
    (one,) = await receiver.until(lambda received: len(received) >= 1)

    assert one.event["type"] == "video.failed"


async def test_what_is_not_taken_is_sent_again(client: Client, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """A redirect and a 500 are refusals; the id stays, the timestamp is of the attempt."""
    receiver.answers = [302, 500]
    await client.finished("Repeated")
    first, second, third = await receiver.until(lambda received: len(received) >= 3)

    assert len({one.headers["webhook-id"] for one in (first, second, third)}) == 1
    assert int(third.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert verified(third, endpoint["signing_secret"])
    assert first.body == third.body


async def test_the_endpoint_of_the_command_line_gets_what_a_killed_sandbox_owed(
    tmp_path: Path, receiver: Receiver
) -> None:
    """The event was written down: after kill -9 and a restart it is sent, signed with the given secret."""
    secret = "whsec_" + "c2VjcmV0" * 5
    options = ("--webhook-url", receiver.url, "--webhook-secret", secret)
    first = Server(tmp_path, *options)
    receiver.answers = [500]
    async with Client(first.url) as client:
        video = await client.finished("Owed")
        await receiver.until(lambda received: len(received) >= 1)
    first.kill()
    second = Server(tmp_path, *options)
    refused, taken = await receiver.until(lambda received: len(received) >= 2)
    second.stop()

    assert taken.headers["webhook-id"] == refused.headers["webhook-id"]
    assert taken.event["data"]["id"] == video["id"]
    assert verified(taken, secret)


async def test_secrets_rotate_with_and_without_overlap(
    client: Client, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    """With the old one kept both sign; otherwise the old one is dead at once. Secrets are shown only then."""
    path = f"/v1/webhook_endpoints/{endpoint['id']}"
    keep = {"keep_old_secret_active_for_24_hours": True}
    second = (await client.post(f"{path}/rotate_secret", json=keep)).json()["signing_secret"]
    await client.finished("Rotating")
    (both,) = list(await receiver.until(lambda received: len(received) >= 1))
    third = (await client.post(f"{path}/rotate_secret", json={})).json()["signing_secret"]
    await client.finished("Rotated")
    _, alone = await receiver.until(lambda received: len(received) >= 2)

    assert verified(both, endpoint["signing_secret"])
    assert verified(both, second)
    assert verified(alone, third)
    assert not verified(alone, second)
    assert "signing_secret" not in (await client.get(path)).json()
    assert endpoint["id"] in [one["id"] for one in (await client.get("/v1/webhook_endpoints")).json()["data"]]


async def test_an_endpoint_hears_only_of_its_events_and_nothing_after_it_is_deleted(
    client: Client, receiver: Receiver
) -> None:
    """event_types is a filter."""
    wanted = {"url": receiver.url, "event_types": ["video.failed"]}
    endpoint = (await client.post("/v1/webhook_endpoints", json=wanted)).json()
    await client.finished("Not of interest")
    await client.finished("Of interest #fail")
    (one,) = await receiver.until(lambda received: len(received) >= 1)
    deleted = (await client.delete(f"/v1/webhook_endpoints/{endpoint['id']}")).json()

    assert one.event["type"] == "video.failed"
    assert deleted["deleted"] is True
    assert (await client.get(f"/v1/webhook_endpoints/{endpoint['id']}")).status_code == 404


async def test_an_event_can_be_lost(client: Client, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """Once: the next one arrives."""
    await client.fault("webhook_drop")
    lost = await client.finished("Lost event")
    kept = await client.finished("Kept event")
    await receiver.until(lambda received: len(received) >= 1)

    assert [one.event["data"]["id"] for one in receiver.received] == [kept["id"]] != [lost["id"]]


async def test_an_event_can_be_late(client: Client, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """A later one overtakes it."""
    await client.fault("webhook_delay", seconds=1)
    late = await client.finished("Late")
    early = await client.finished("Early")
    received = await receiver.until(lambda received: len(received) >= 2)

    assert [one.event["data"]["id"] for one in received] == [early["id"], late["id"]]


async def test_an_event_can_come_more_than_once(client: Client, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """The copies carry the same webhook-id."""
    await client.fault("webhook_duplicate", copies=2)
    await client.finished("Thrice")
    received = await receiver.until(lambda received: len(received) >= 3)

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
async def test_a_trick_comes_before_the_true_event(
    client: Client, receiver: Receiver, endpoint: dict[str, Any], fault: str, kind: str, valid: bool
) -> None:
    """Stale and forged ones fail verification; odd ones are signed well but strange. Tricks are not repeated."""
    receiver.answers = [401]
    await client.fault(fault)
    video = await client.finished(f"Trick {fault}")
    trick, true = await receiver.until(lambda received: len(received) >= 2)

    assert trick.event["type"] == kind
    assert verified(trick, endpoint["signing_secret"]) is valid
    assert verified(true, endpoint["signing_secret"])
    assert true.event["data"]["id"] == video["id"]
    assert (trick.event["data"]["id"] == video["id"]) is (fault != "webhook_unknown_video")
    assert (trick.event["id"] == true.event["id"]) is (fault == "webhook_stale")


async def test_failed_can_follow_completed(client: Client, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """Both well signed, with ids of their own; the video itself stays completed."""
    await client.fault("webhook_failed_after_completed")
    video = await client.finished("Contradicted")
    true, late = await receiver.until(lambda received: len(received) >= 2)

    assert [one.event["type"] for one in (true, late)] == ["video.completed", "video.failed"]
    assert true.headers["webhook-id"] != late.headers["webhook-id"]
    assert verified(late, endpoint["signing_secret"])
    assert (await client.get(f"/v1/videos/{video['id']}")).json()["status"] == "completed"


async def test_an_event_can_come_before_the_answer_to_the_create(
    client: Client, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    """The answer still says "queued", as it was when the order was taken."""
    await client.fault("webhook_before_response")
    video = await client.create("Overtaken")

    assert [one.event["data"]["id"] for one in receiver.received] == [video["id"]]
    assert video["status"] == "queued"


async def test_weather_stays_until_it_is_cleared(client: Client, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """With everything doubled and half lost, only pairs arrive, until the sky is clear."""
    await client.fault("webhook_weather", drop=0.0, duplicate=1.0, delay_max=0.2, seed=3)
    await client.finished("In the weather")
    await receiver.until(lambda received: len(received) >= 2)
    await client.fault("webhook_weather", drop=1.0, seed=3)
    await client.finished("In a storm")
    standing = (await client.get("/sandbox/faults")).json()["faults"]
    await client.delete("/sandbox/faults", params={"fault": "webhook_weather"})
    clear = await client.finished("In the sun")
    received = await receiver.until(lambda received: len(received) >= 3)

    assert [one["fault"] for one in standing] == ["webhook_weather"]
    assert received[0].headers["webhook-id"] == received[1].headers["webhook-id"]
    assert received[2].event["data"]["id"] == clear["id"]
    assert len(received) == 3


async def test_other_servers_send_no_webhooks(client: Client, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """Only the OpenAI profile does."""
    await client.fault("profile", profile="sglang")
    silent = await client.finished("Silent")
    deliveries = (await client.get("/sandbox/deliveries")).json()

    assert silent["id"] not in [one["body"]["data"]["id"] for one in deliveries]
