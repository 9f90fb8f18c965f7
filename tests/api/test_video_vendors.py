"""Projects with vendors of their own in one process: from the gate to the webhook."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from api.checked_settings import check_settings
from api.listening import url_of
from api.settings import Settings, SettingsError
from api.wiring import open_video_provider
from providers.webhooks import parse_secret, sign
from tests.api.test_requests import error_details
from tests.app import PROFILES, TINY_PROJECT, App, SandboxClient, settings_for
from tests.databases import fast_folder, fresh_database
from tests.providers.vendor_vectors import VECTORS
from tests.vendor_settings import vendor_settings

REPLICATE = """
[[profiles]]
kind = "replicate"
models = ["bytedance/seedance-2.0"]
sizes = ["180x320"]
seconds = [1, 2, 3]
usd_per_second = "0.20"
poll_seconds = 1
[profiles.input_fields]
prompt = "$prompt"
duration = "$seconds"
aspect_ratio = "$aspect"
resolution = "$resolution"
generate_audio = "$sound"
seed = "$seed"
"""
VENDOR_PROJECT = TINY_PROJECT.replace("clips: 1\n", "clips: 1\nvideo: {provider: replicate, sound: true}\n", 1)
SECRET = parse_secret("whsec_bXlsb3dhcmUtc2FuZGJveC1zZWNyZXQtMzItYnl0ZXM=")


def settings_with_replicate(folder: Path, dsn: str, sandbox: SandboxClient, **changes: Any) -> Settings:
    """Return settings with the emulator of Replicate, and a project that names it."""
    values: dict[str, Any] = {
        "replicate_api_token": SecretStr("r8_token"),
        "replicate_base_url": f"{sandbox.url}/replicate/v1",
    }
    settings = settings_for(dsn, folder, sandbox, **{**values, **changes})
    (folder / "profiles.toml").write_text(PROFILES + REPLICATE)
    (folder / "projects" / "vendor.md").write_text(VENDOR_PROJECT)
    return settings


@contextmanager
def open_two(server: str, template: str, sandbox: SandboxClient, **changes: Any) -> Iterator[App]:
    """Run the product with two providers of clips, and its own address as the public one."""
    with (
        contextmanager(fresh_database)(server, template) as dsn,
        tempfile.TemporaryDirectory(prefix="myloware-app-", dir=fast_folder()) as folder,
    ):
        app = App(settings_with_replicate(Path(folder), dsn, sandbox, **changes), sandbox)
        app.settings = app.settings.model_copy(update={"public_url": url_of(app._listening)})
        with app:
            yield app


@pytest.fixture(scope="module")
def two(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product with the open contract and Replicate."""
    with open_two(postgres_server, migrated_template, sandbox_process) as app:
        yield app


def clip_orders(app: App, run_id: str) -> list[dict[str, Any]]:
    query = "select key, provider, request, state, task_id from orders where run_id = %s and kind = 'clip'"
    return app.rows(query, run_id)


@pytest.mark.slow
def test_two_projects_with_two_vendors(two: App, sandbox: SandboxClient) -> None:
    """Each gate shows its provider, model, sound and price; each clip is ordered and announced there."""
    runs = {project: two.start(project=project) for project in ("tiny", "vendor")}
    contents = {
        project: two.until(run_id, "awaiting_ideation_approval")["review"]["content"]
        for project, run_id in runs.items()
    }
    for run_id in runs.values():
        two.decide(run_id, "ideation")
    for run_id in runs.values():
        two.until(run_id, "awaiting_publish_approval")
    [open_order], [vendor_order] = (clip_orders(two, run_id) for run_id in runs.values())

    found = {project: (c["provider"], c["model"], c.get("sound"), c["usd_per_clip"]) for project, c in contents.items()}
    assert found["tiny"] == ("videos", "sandbox-video", None, "0.30")
    assert found["vendor"] == ("replicate", "bytedance/seedance-2.0", True, "0.60")
    assert open_order["provider"].startswith("videos:127.0.0.1")
    assert vendor_order["provider"].startswith("replicate:127.0.0.1")
    assert vendor_order["request"]["callback"] == f"{two.url}/v1/webhooks/video/replicate"
    sources = {event["source"] for event in two.events(runs["vendor"]) if event["kind"] == "webhook.received"}
    assert sources == {"replicate"}


@pytest.mark.slow
def test_one_vendor_down_does_not_touch_the_other(
    postgres_server: str, migrated_template: str, sandbox: SandboxClient
) -> None:
    """The product starts; the run of the vendor waits in trouble, and the other one has its film."""
    with open_two(postgres_server, migrated_template, sandbox, replicate_base_url="http://127.0.0.1:9/v1") as app:
        waiting = app.start(project="vendor")
        app.until(waiting, "awaiting_ideation_approval")
        app.decide(waiting, "ideation")
        made = app.start(project="tiny")
        app.until(made, "awaiting_ideation_approval")
        app.decide(made, "ideation")
        app.until(made, "awaiting_publish_approval")
        run = app.until_true(waiting, lambda run: bool(run["waiting"] and run["waiting"]["code"]), status="in trouble")

    assert (run["status"], run["waiting"]["code"]) == ("awaiting_video_generation", "unreachable")
    assert run["waiting"]["provider"] == "replicate:127.0.0.1:9/v1"


def post(app: App, provider: str, body: bytes, *, order: str = "", **changes: Any) -> httpx.Response:
    """Post a webhook, signed now with the secret."""
    at = changes.get("at", datetime.now(UTC))
    headers = sign(SECRET, id=changes.get("id", "msg_1"), at=at, body=body)
    params = {"order": order} if order else {}
    path = f"/v1/webhooks/video/{provider}"
    return app.client.post(path, content=body, params=params, headers={**headers, "content-type": "application/json"})


def test_a_webhook_needs_a_known_provider_and_its_signature(two: App) -> None:
    """Another vendor is a 404; a body of another secret or an old one is a 401."""
    body = json.dumps({"id": "p1", "status": "succeeded"}).encode()

    error_details(post(two, "kling", body), 404, "provider_not_found")
    error_details(post(two, "replicate", body), 401, "invalid_signature")


def test_published_vectors_are_stale_and_their_bodies_are_accepted(
    postgres_server: str, migrated_template: str, sandbox: SandboxClient
) -> None:
    """Over HTTP each is a 401, because it was signed long ago; the same body signed now is a 200, once."""
    secrets = {f"{name}_webhook_secrets": [parse_secret(vector.secret)] for name, vector in VECTORS.items()}
    vendors = vendor_settings(sandbox.url, "")
    with open_two(postgres_server, migrated_template, sandbox, **{**vendors, **secrets}) as app:
        for provider, vector in VECTORS.items():
            path, secret = f"/v1/webhooks/video/{provider}", parse_secret(vector.secret)
            signed_now = sign(secret, id=vector.id, at=datetime.now(UTC), body=vector.body)
            stale, changed, *valid = [
                app.client.post(path, content=body, headers={**headers, "content-type": "application/json"})
                for body, headers in (
                    (vector.body, vector.headers),
                    (vector.body + b" ", signed_now),
                    (vector.body, signed_now),
                    (vector.body, signed_now),
                )
            ]
            error_details(stale, 401, "invalid_signature")
            error_details(changed, 401, "invalid_signature")
            assert [(each.status_code, each.json()["status"]) for each in valid] == [
                (200, "accepted"),
                (200, "duplicate"),
            ]
        rows = app.rows("select source, subject from events where kind = 'webhook.received' order by id")

    assert [(row["source"], row["subject"]) for row in rows] == [(name, v.task_id) for name, v in VECTORS.items()]


def test_a_webhook_of_a_lost_create_wakes_its_order(
    postgres_server: str, migrated_template: str, sandbox: SandboxClient
) -> None:
    """It names the order in its URL: the order is looked up at once. The same delivery counts once."""
    settings = {"replicate_webhook_secrets": [SECRET]}
    body = json.dumps({"id": "p1", "status": "succeeded"}).encode()
    with open_two(postgres_server, migrated_template, sandbox, **settings) as app:
        run_id = app.start(project="vendor")
        key = f"{run_id}:clip:1:1"
        app.rows(
            "insert into orders (key, run_id, kind, clip, take, provider, request, amount_usd, called_at, next_poll_at)"
            " values (%s, %s, 'clip', 1, 1, %s, '{}', 0, now(), now() + interval '1 hour') returning 1",
            key, run_id, app.state.services.ledger.find_provider("clip", "replicate").name,
        )  # fmt: skip
        answers = [post(app, "replicate", body, order=key).json()["status"] for _ in range(2)]
        error_details(
            post(app, "replicate", body, id="msg_2", at=datetime(2026, 1, 1, tzinfo=UTC)), 401, "invalid_signature"
        )
        [event] = [each for each in app.events(run_id) if each["kind"] == "webhook.received"]
        [row] = app.rows(
            "select next_poll_at < now() + interval '30 minutes' as is_due from orders where key = %s", key
        )

    assert answers == ["accepted", "duplicate"]
    assert (event["source"], event["subject"], row["is_due"]) == ("replicate", "p1", True)


@pytest.mark.parametrize(
    ("changes", "offered", "all_accounts"),
    [
        ({}, ["videos", "replicate"], ["videos", "replicate"]),
        ({"video_providers": ["replicate", "videos"]}, ["replicate", "videos"], ["replicate", "videos"]),
        ({"video_providers": ["videos"]}, ["videos"], ["videos", "replicate"]),
        ({"replicate_api_token": None}, ["videos"], ["videos"]),
    ],
)
def test_providers_are_offered_in_the_order_of_the_setting(
    tmp_path: Path, sandbox_process: SandboxClient, changes: dict[str, Any], offered: list[str], all_accounts: list[str]
) -> None:
    """One that is not listed answers for older orders while its key is there."""
    checked = check_settings(settings_with_replicate(tmp_path, "postgresql://unused", sandbox_process, **changes))

    assert [account.provider for account in checked.accounts] == all_accounts
    assert list(dict.fromkeys(model.provider for model in checked.video.models)) == offered
    assert ("vendor" in checked.refusals()) == ("replicate" not in offered)


@pytest.mark.parametrize(
    ("provider", "changes", "pauses"),
    [
        ("replicate", {}, (30, 60)),  # it gives out the secret of its webhooks itself
        ("replicate", {"public_url": None}, (15, 15)),
        ("replicate", {"video_profiles": "profiles.toml"}, (1, 1)),
        ("kling", {}, (15, 15)),
        ("kling", {"kling_webhook_secrets": [SECRET]}, (30, 60)),
    ],
)
async def test_a_clip_that_a_webhook_announces_is_polled_rarely(
    tmp_path: Path,
    sandbox_process: SandboxClient,
    provider: str,
    changes: dict[str, Any],
    pauses: tuple[float, float],
) -> None:
    """Without a secret or a public URL it is polled often; `poll_seconds` of a profile decides before that."""
    settings = settings_with_replicate(tmp_path, "postgresql://unused", sandbox_process)
    values = {"kling_api_key": SecretStr("key"), "kling_base_url": sandbox_process.url}
    values |= {"public_url": "http://films.example", "video_profiles": None, **changes}
    if values["video_profiles"]:
        values["video_profiles"] = tmp_path / values["video_profiles"]
    settings = settings.model_copy(update=values)
    [account] = [each for each in check_settings(settings).accounts if each.provider == provider]
    async with httpx.AsyncClient() as client:
        pause = open_video_provider(settings, account, client).poll_pause(99).total_seconds()

    assert pauses[0] <= pause <= pauses[1]


def test_a_listed_provider_needs_a_key(tmp_path: Path, sandbox_process: SandboxClient) -> None:
    """The message names the setting."""
    settings = settings_with_replicate(
        tmp_path, "postgresql://unused", sandbox_process, video_providers=["videos", "kling"]
    )
    with pytest.raises(SettingsError, match="VIDEO_PROVIDERS: kling has no key"):
        check_settings(settings)
