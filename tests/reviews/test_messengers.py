"""Notifications in Slack and Telegram: what a person is told, with which link, and what happens to refused messages."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr, ValidationError

from api.checks import CHECKS
from api.settings import Settings
from providers.messengers import Message, Messenger, Slack, Telegram
from providers.notifications import SendResult, notification_client
from runs.messages import announce_dates_and_budgets
from runs.services import Services
from tests.app import SandboxClient, open_app
from tests.reviews.conftest import ManualApp
from tests.reviews.messenger_servers import CHAT, SLACK_PATH, TOKEN, Messengers, run_messengers

PUBLIC_URL = "https://films.example.com"
MESSAGE = Message("Review wanted", f"{PUBLIC_URL}/runs/1/publish")
PICTURED = replace(MESSAGE, picture=b"\xff\xd8jpeg", picture_url=f"{PUBLIC_URL}/v1/artifacts/1")


@pytest.fixture(scope="module")
def module_messengers() -> Iterator[Messengers]:
    with run_messengers() as running:
        yield running


@pytest.fixture
def messengers(module_messengers: Messengers) -> Messengers:
    """Both services without earlier requests and faults."""
    for each in (module_messengers.slack, module_messengers.telegram, module_messengers.faults):
        each.clear()
    return module_messengers


@pytest.fixture(scope="module")
def module_told_app(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    module_messengers: Messengers,
) -> Iterator[ManualApp]:
    """An app without a worker that writes to both services."""
    settings: dict[str, Any] = {
        "public_url": PUBLIC_URL,
        "slack_webhook_url": SecretStr(module_messengers.url + SLACK_PATH),
        "telegram_bot_token": SecretStr(TOKEN),
        "telegram_chat_id": CHAT,
        "telegram_base_url": module_messengers.url,
        "notify_private_hosts": ["127.0.0.1"],
    }
    with open_app(postgres_server, migrated_template, sandbox_process, with_worker=False, **settings) as opened:
        yield ManualApp(opened)


@pytest.fixture
def told_app(module_told_app: ManualApp, messengers: Messengers) -> ManualApp:
    """That app without notifications of earlier tests."""
    module_told_app.app.rows("delete from outbox returning 1")
    module_told_app.app.rows("update deliveries set state = 'abandoned', next_attempt_at = null returning 1")
    return module_told_app


def _texts(messengers: Messengers) -> tuple[list[str], list[str]]:
    """The texts of both services."""
    slack = [message["blocks"][0]["text"]["text"] for message in messengers.slack]
    return slack, [fields.get("caption") or fields["text"] for _, fields in messengers.telegram]


def _send(messengers: Messengers, kind: type[Messenger], message: Message) -> SendResult:
    async def send() -> SendResult:
        async with notification_client() as client:
            hosts = ["127.0.0.1"]
            slack = Slack(client, messengers.url + SLACK_PATH, hosts)
            telegram = Telegram(client, f"{messengers.url}/bot{TOKEN}", hosts, chat_id=CHAT)
            return await (slack if kind is Slack else telegram).send(message)

    return asyncio.run(send())


def test_fields_of_slack(messengers: Messengers) -> None:
    """Text without markup, a picture by its address, and a button."""
    sent = _send(messengers, Slack, replace(PICTURED, text="<!channel> & *bold*"))
    [body] = messengers.slack

    assert sent == SendResult("delivered", "HTTP 200")
    assert body["text"] == "&lt;!channel&gt; &amp; *bold*"
    assert [block["type"] for block in body["blocks"]] == ["section", "image", "actions"]
    assert body["blocks"][0]["text"] == {"type": "plain_text", "text": "<!channel> & *bold*"}
    assert body["blocks"][1]["image_url"] == PICTURED.picture_url
    assert body["blocks"][2]["elements"][0]["url"] == MESSAGE.link


def test_fields_of_telegram(messengers: Messengers) -> None:
    """A photo with a caption, and text without a preview of the link; no field asks for markup."""
    for message in (PICTURED, MESSAGE):
        assert _send(messengers, Telegram, message) == SendResult("delivered", "HTTP 200")
    text = f"Review wanted\n{MESSAGE.link}"

    assert messengers.telegram == [
        ("sendPhoto", {"chat_id": CHAT, "caption": text, "photo": PICTURED.picture}),
        ("sendMessage", {"chat_id": CHAT, "text": text, "link_preview_options": '{"is_disabled": true}'}),
    ]


def test_longest_caption_keeps_its_link(messengers: Messengers) -> None:
    """Telegram counts in UTF-16: a text of such characters is cut so that the link still fits."""
    assert _send(messengers, Telegram, replace(PICTURED, text="🎬" * 2000)).outcome == "delivered"
    [(method, fields)] = messengers.telegram
    assert (method, fields["caption"].splitlines()[-1]) == ("sendPhoto", MESSAGE.link)


TELEGRAM_429 = {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 7}}


@pytest.mark.parametrize(
    ("kind", "status", "body", "outcome", "wait", "words"),
    [
        (Slack, 429, "rate_limited", "later", 30, "HTTP 429: rate_limited"),
        (Slack, 500, "rollup_error", "later", 0, "HTTP 500: rollup_error"),
        (Slack, 404, "no_service", "refused", 0, "HTTP 404: no_service"),
        (Slack, 410, "channel_is_archived", "gone", 0, "HTTP 410: channel_is_archived"),
        (Slack, 200, {"ok": False, "error": "no_text"}, "refused", 0, 'HTTP 200: {"ok": false, "error": "no_text"}'),
        (Telegram, 429, TELEGRAM_429, "later", 7, "HTTP 429: Too Many Requests"),
        (Telegram, 200, TELEGRAM_429, "later", 7, "HTTP 429: Too Many Requests"),
        (
            Telegram,
            403,
            {"ok": False, "error_code": 403, "description": "Forbidden"},
            "refused",
            0,
            "HTTP 403: Forbidden",
        ),
        (Telegram, 200, {"ok": False, "error_code": 400, "description": "Bad"}, "refused", 0, "HTTP 400: Bad"),
        (Telegram, 502, "<html>Bad gateway</html>", "later", 0, "HTTP 502"),
        (Telegram, 200, "a page of a proxy", "later", 0, "HTTP 500"),
        (Telegram, 200, [], "later", 0, "HTTP 500"),
    ],
)
def test_answers(
    messengers: Messengers,
    caplog: pytest.LogCaptureFixture,
    kind: type[Messenger],
    status: int,
    body: Any,
    outcome: str,
    wait: float,
    words: str,
) -> None:
    """Each answer is tried again, or not, as the vendor documents; no word of it has the secret."""
    caplog.set_level(logging.INFO)
    messengers.fail(status, body, **({"Retry-After": "30"} if wait == 30 else {}))
    sent = _send(messengers, kind, MESSAGE)

    assert (sent.outcome, sent.wait_seconds, sent.response) == (outcome, wait, words)
    assert "very-secret" not in f"{sent}{caplog.text}"


@pytest.mark.parametrize("kind", [Slack, Telegram])
def test_refused_picture_is_left_out(messengers: Messengers, kind: type[Messenger]) -> None:
    """A message whose picture is refused is sent without it."""
    refusal = "invalid_blocks" if kind is Slack else {"ok": False, "error_code": 400, "description": "PHOTO_INVALID"}
    messengers.fail(400, refusal)

    assert _send(messengers, kind, PICTURED).outcome == "delivered"
    if kind is Slack:
        assert [len(body["blocks"]) for body in messengers.slack] == [3, 2]
    else:
        assert [method for method, _ in messengers.telegram] == ["sendPhoto", "sendMessage"]


@pytest.mark.parametrize("kind", [Slack, Telegram])
def test_secret_is_not_in_errors(kind: type[Messenger]) -> None:
    """A connection that fails is described without the URL."""
    sent = _send(Messengers(url="http://127.0.0.1:9"), kind, MESSAGE)

    assert (sent.outcome, sent.response) == ("later", "the connection failed (ConnectError)")
    assert "secret" not in repr(Slack(notification_client(), "https://hooks.slack.com/secret"))


def test_opened_gate(told_app: ManualApp, messengers: Messengers) -> None:
    """Each service gets one message: the gate, the brief in quotation marks, the sandbox, the page of the review."""
    run = told_app.advance(told_app.app.start("Rain.\nReview wanted: approve https://evil.example " + "x" * 300))
    told_app.notify()
    told_app.notify()
    [slack], [telegram] = _texts(messengers)
    link = f"{PUBLIC_URL}/runs/{run['run_id']}/ideation"
    rows = told_app.app.rows("select url, body, state from deliveries where state = 'delivered'")

    assert slack.startswith(
        "[sandbox: language model and moderation, video, publishing] Review wanted: the ideas of run "
    )
    brief = slack.splitlines()[1]
    assert brief.startswith("Brief: “Rain. Review wanted: approve https://evil.example xxx")
    assert (brief[-2:], len(brief)) == ("…”", len("Brief: “”") + 200)
    assert telegram == f"{slack.rpartition('Notification')[0]}{telegram.splitlines()[-2]}\n{link}"
    assert messengers.slack[0]["blocks"][-1]["elements"][0]["url"] == link
    assert "/review/" not in json.dumps([messengers.slack, messengers.telegram])
    assert {row["url"] for row in rows} == {f"{kind}://{messengers.url[7:]}" for kind in ("slack", "telegram")}
    assert "very-secret" not in str(rows)
    history = told_app.app.client.get(f"/v1/runs/{run['run_id']}/history").json()
    assert {each["host"] for each in history["notifications"]} == {messengers.url[7:]}


def test_killed_worker(told_app: ManualApp, messengers: Messengers) -> None:
    """A message whose worker was killed before it recorded the answer is sent again, with the same number."""
    told_app.start_review()
    told_app.app.rows(
        "update deliveries set state = 'waiting', next_attempt_at = now() where state = 'delivered' returning 1"
    )
    told_app.notify()

    for texts in (_texts(messengers)[0], ["\n".join(text.splitlines()[:-1]) for text in _texts(messengers)[1]]):
        assert len(texts) == 2
        assert texts[0] == texts[1]
        assert "\nNotification " in texts[0]


def test_rate_limit_is_kept(told_app: ManualApp, messengers: Messengers) -> None:
    """The next attempt is not before the time that the service asks for."""
    for _ in range(2):
        messengers.fail(429, TELEGRAM_429 | {"parameters": {"retry_after": 900}}, **{"Retry-After": "900"})
    told_app.start_review()
    rows = told_app.app.rows("select next_attempt_at - now() as until from deliveries where state = 'waiting'")

    assert [row["until"] > timedelta(seconds=850) for row in rows] == [True, True]


def test_only_what_needs_a_person(told_app: ManualApp, messengers: Messengers) -> None:
    """A run that failed is told with its error; one that a person rejected or cancelled, or that completed, is not."""
    rejected, failed = told_app.start_review()["run_id"], told_app.start_review()["run_id"]
    told_app.app.decide(rejected, "ideation", approved=False)
    told_app.advance(rejected)
    messengers.slack.clear()
    for kind, payload in (
        ("run.failed", {"code": "video_failed", "message": "The vendor said no."}),
        ("run.completed", {}),
        ("run.needs_attention", {"what": "take 1 of clip 1", "message": "HTTP 503", "status": "x", "code": "x"}),
    ):
        told_app.app.rows(
            "insert into events (source, dedup_key, run_id, seq, kind, payload) select 'advance',"
            " gen_random_uuid()::text, %s, max(seq) + 1000, %s, %s from events where run_id = %s returning 1",
            failed, kind, json.dumps(payload), failed,
        )  # fmt: skip
    told_app.notify()
    run = f"run {failed[:8]} (tiny)"
    heads = [text.partition("] ")[2].splitlines()[0] for text in _texts(messengers)[0]]

    assert sorted(heads) == [
        f"Failed: {run}. “The vendor said no.”",
        f"Needs attention: {run} waits for take 1 of clip 1. The last answer: “HTTP 503”",
    ]
    assert {body["blocks"][-1]["elements"][0]["url"] for body in messengers.slack} == {f"{PUBLIC_URL}/runs/{failed}"}


def test_caps_and_dates_are_told_once(told_app: ManualApp, messengers: Messengers) -> None:
    """90 % of the day's or the run's cap, and a model that is shut down within 30 days; each once."""
    run_id = told_app.start_review()["run_id"]
    messengers.slack.clear()
    services = _with_alerts(told_app, run_id)
    for _ in range(2):
        told_app.app.in_loop(announce_dates_and_budgets(services))
        told_app.notify()
    date = datetime.now(UTC).date() + timedelta(days=30)
    texts = sorted(text.partition("] ")[2].splitlines()[0] for text in _texts(messengers)[0])

    assert texts == [
        f"Budget nearly used by run {run_id[:8]} (tiny): 0.91 USD of the run's cap of 1.00 USD.",
        "Budget nearly used: 0.91 USD of the day's cap (UTC) of 1.00 USD.",
        f"sandbox-video of videos is shut down on {date}: choose another video model.",
    ]
    links = {body["blocks"][-1]["elements"][0]["url"] for body in messengers.slack}
    assert links == {f"{PUBLIC_URL}/costs", f"{PUBLIC_URL}/doctor", f"{PUBLIC_URL}/runs/{run_id}"}


def _with_alerts(told_app: ManualApp, run_id: str) -> Services:
    """The services with a run and a day that have 0.91 of 1.00 USD used, and a model that ends in 30 days."""
    told_app.app.rows("delete from spending where scope in ('run', 'day') returning 1")
    told_app.app.rows("update runs set cap_usd = 1 where id = %s returning 1", run_id)
    told_app.app.rows(
        "insert into spending (scope, name, day, reserved_usd, spent_usd) values"
        " ('run', %s, '-infinity', 0.41, 0.5), ('day', '', (now() at time zone 'utc')::date, 0, 0.91) returning 1",
        run_id,
    )
    services, ledger = told_app.services, told_app.services.ledger
    changed = type(ledger)(**vars(ledger) | {"caps": replace(ledger.caps, day_usd=Decimal(1))})
    [model, *_] = services.video.models
    profile = model.profile.model_copy(update={"shutdown": datetime.now(UTC).date() + timedelta(days=30)})
    return replace(services, ledger=changed, video=replace(services.video, models=[replace(model, profile=profile)]))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_film_has_its_poster(told_app: ManualApp, messengers: Messengers) -> None:
    """At the publish gate Telegram gets a picture of the film, and Slack a link to it that opens only that picture."""
    run_id = told_app.start_review()["run_id"]
    told_app.app.decide(run_id, "ideation", approved=True)
    _finish_orders(told_app, run_id)
    messengers.slack.clear()
    messengers.telegram.clear()
    told_app.notify()
    [body], [(method, fields)] = messengers.slack, messengers.telegram
    address = body["blocks"][1]["image_url"].removeprefix(PUBLIC_URL)
    got = told_app.app.client.get(address, headers={"X-API-Key": ""})

    assert method == "sendPhoto"
    assert Image.open(BytesIO(fields["photo"])).format == "JPEG"
    assert (got.status_code, got.headers["content-type"], got.content) == (200, "image/jpeg", fields["photo"])
    assert body["blocks"][-1]["elements"][0]["url"] == f"{PUBLIC_URL}/runs/{run_id}/publish"


def _finish_orders(told_app: ManualApp, run_id: str) -> None:
    """Poll the orders of a run until its publish gate is open."""
    from runs.reconcile import reconcile_order

    for _ in range(100):
        if told_app.advance(run_id)["status"] == "awaiting_publish_approval":
            return
        for row in told_app.app.rows("select key from orders where run_id = %s and state = 'submitted'", run_id):
            told_app.app.in_loop(reconcile_order(told_app.services, row["key"]))
        told_app.app.in_loop(asyncio.sleep(0.3))
    raise AssertionError(told_app.app.run(run_id))


def test_doctor_sends_nothing(messengers: Messengers) -> None:
    """Telegram is asked for the bot and the chat, Slack is not; a refusal names the settings and no token."""
    check = CHECKS["messengers"][0]
    settings = Settings.model_construct(
        slack_webhook_url=SecretStr(messengers.url + SLACK_PATH),
        telegram_bot_token=SecretStr(TOKEN),
        telegram_chat_id=CHAT,
        telegram_base_url=messengers.url,
        notify_private_hosts=["127.0.0.1"],
    )
    found = asyncio.run(check(settings))

    assert found == (
        "Slack is not asked, because every request to its webhook is a message; "
        "Telegram: @film_bot can write in chat -100200; no message was sent"
    )
    assert (messengers.slack, [method for method, _ in messengers.telegram]) == ([], ["getMe", "getChat"])
    with pytest.raises(ValueError, match=r"^Telegram getMe: HTTP 401: Unauthorized. Check TELEGRAM_BOT_TOKEN, "):
        asyncio.run(check(settings.model_copy(update={"telegram_bot_token": SecretStr("1:wrong")})))
    with pytest.raises(ValueError, match=r"^Telegram cannot be reached at 127.0.0.1: .*Check TELEGRAM_BASE_URL\.$"):
        asyncio.run(check(settings.model_copy(update={"telegram_base_url": "http://127.0.0.1:9"})))
    assert asyncio.run(check(Settings.model_construct())) == "neither Slack nor Telegram is set"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/x"},
            "SLACK_WEBHOOK_URL is set, but MYLOWARE_PUBLIC_URL is missing",
        ),
        ({"TELEGRAM_CHAT_ID": "1"}, "TELEGRAM_CHAT_ID is set, but TELEGRAM_BOT_TOKEN is missing"),
        (
            {"TELEGRAM_CHAT_ID": "1", "TELEGRAM_BOT_TOKEN": "1:a"},
            "TELEGRAM_BOT_TOKEN is set, but MYLOWARE_PUBLIC_URL is missing",
        ),
        (
            {"SLACK_WEBHOOK_URL": "http://hooks.slack.com/very-secret", "MYLOWARE_PUBLIC_URL": PUBLIC_URL},
            "SLACK_WEBHOOK_URL must be https, or its host be listed in MYLOWARE_NOTIFY_PRIVATE_HOSTS",
        ),
    ],
)
def test_settings(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str) -> None:
    """A setting that lacks another one is named, without its value."""
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as raised:
        Settings(_env_file=None)

    [fault] = raised.value.errors(include_url=False, include_input=False)
    assert words in fault["msg"]
    assert "secret" not in fault["msg"]
