"""Reviewer's links: a link opens one review without an API key, decides it once, and has no other use."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from operator import itemgetter
from secrets import token_hex
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.console_reviews import ReviewPage
from console.review_forms import IdeaForm
from runs import links
from storage.actors import LOCAL, Actor, RequestContext
from storage.events import ReviewLink, record_link
from storage.secrets import get_secret
from tests.app import ANNA, BEN
from tests.reviews.conftest import ManualApp

JSON = {"accept": "application/json"}
PAGE = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def anonymous() -> Iterator[httpx.Client]:
    """A client without an API key."""
    with httpx.Client(timeout=30) as client:
        yield client


@pytest.fixture
def run(manual_app: ManualApp) -> dict[str, Any]:
    """A run that waits at the ideation gate."""
    return manual_app.start_review()


@pytest.fixture(scope="module")
def waiting(module_manual_app: ManualApp) -> dict[str, Any]:
    """A run that waits at the ideation gate, for tests that do not decide."""
    return module_manual_app.start_review()


def create_link(manual_app: ManualApp, run_id: str) -> str:
    """Create a link to the ideation review of a run, and return its URL."""
    response = manual_app.app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation"})
    assert response.status_code == 200, response.text
    url: str = response.json()["url"]
    return url


def link_with(manual_app: ManualApp, run: dict[str, Any], actor: Actor = LOCAL, **changes: Any) -> str:
    """The URL of a link that was created with these changed fields."""
    nonce = token_hex(8)
    fields = {
        "run_id": UUID(run["run_id"]),
        "nonce": nonce,
        "gate": "ideation",
        "revision": 1,
        "digest": run["review"]["digest"],
        "expires_at": datetime.now(UTC) + timedelta(hours=1),
        "creator_kind": actor.kind,
        "creator_id": actor.id,
        **changes,
    }
    services, context = manual_app.services, RequestContext(actor, "cli")
    manual_app.app.in_loop(record_link(services.db, ReviewLink(**fields), context))
    secret = manual_app.app.in_loop(get_secret(services.db, links.REVIEWS_SECRET))
    return f"{manual_app.app.url}/review/{links._create_token(nonce, secret)}"


def link_of_0_2(manual_app: ManualApp, run: dict[str, Any], creator_id: str) -> str:
    """The URL of a link as version 0.2 created it: its token contains all its fields."""
    fields = {
        "run_id": run["run_id"],
        "gate": "ideation",
        "revision": 1,
        "digest": run["review"]["digest"],
        "expires_at": int((datetime.now(UTC) + timedelta(hours=1)).timestamp()),
        "nonce": token_hex(8),
        "creator_kind": "api_key",
        "creator_id": creator_id,
    }
    payload = base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).rstrip(b"=").decode()
    secret = manual_app.app.in_loop(get_secret(manual_app.services.db, links.REVIEWS_SECRET))
    return f"{manual_app.app.url}/review/{links._create_token(payload, secret)}"


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def send_form(client: httpx.Client, url: str, run: dict[str, Any], decision: str, comment: str = "") -> httpx.Response:
    """Send the form of the page, by the button of a decision."""
    action = "approve 0.3000" if decision == "approve" else decision
    fields = {"digest": run["review"]["digest"], "comment": comment, "action": action}
    return client.post(url, headers=PAGE, files={name: (None, value) for name, value in fields.items()})


def decisions_of(manual_app: ManualApp, run_id: str) -> list[dict[str, Any]]:
    return manual_app.app.rows(
        "select verdict, comment, actor_kind, channel, seen_digest from decisions where run_id = %s", run_id
    )


def test_link_shows_the_review(manual_app: ManualApp, waiting: dict[str, Any], anonymous: httpx.Client) -> None:
    """The content and its price are shown without an API key; opening the link does not use or decide anything."""
    url, content = create_link(manual_app, waiting["run_id"]), waiting["review"]["content"]
    for _ in range(3):
        view = anonymous.get(url, headers=JSON).json()
        page = anonymous.get(url, headers=PAGE)

    assert (view["gate"], view["revision"], view["digest"]) == ("ideation", 1, waiting["review"]["digest"])
    assert view["content"] == content
    clips = f"1 of {content['seconds']} s, {content['size']}"
    for text in (content["title"], content["ideas"][0]["scene"], "0.30 USD", clips, content["model"], "Your decision"):
        assert text in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert decisions_of(manual_app, waiting["run_id"]) == []


def test_notice_is_shown(manual_app: ManualApp, waiting: dict[str, Any]) -> None:
    """The page shows why approved content is presented again."""
    token = create_link(manual_app, waiting["run_id"]).rpartition("/")[2]
    opened = manual_app.app.in_loop(links.open_link(manual_app.services, token))
    content = opened.review.content.model_copy(update={"notice": "The price has changed."})
    review = opened.review.model_copy(update={"content": content})

    page = ReviewPage(manual_app.app.state, token=token)
    answer = manual_app.app.in_loop(page._render(replace(opened, review=review), IdeaForm.parse(content)))
    assert '<p class="problem warn" role="note">The price has changed.</p>' in bytes(answer.body).decode()


@pytest.mark.parametrize(
    ("body_type", "decision", "comment"),
    [
        ("json", {"decision": "approve"}, None),
        ("form", {"decision": "approve", "comment": ""}, None),
        ("form", {"decision": "revise", "comment": "Make it snow"}, "Make it snow"),
        ("json", {"decision": "reject", "comment": "Not us"}, "Not us"),
    ],
    ids=["approve by JSON", "approve by form", "revise by form", "reject by JSON"],
)
def test_link_decides(
    manual_app: ManualApp,
    run: dict[str, Any],
    anonymous: httpx.Client,
    body_type: str,
    decision: dict[str, str],
    comment: str | None,
) -> None:
    """A decision by form or JSON is recorded with the link as the actor, for the digest that the link showed."""
    url = create_link(manual_app, run["run_id"])
    if body_type == "json":
        response = anonymous.post(url, headers=JSON, json=decision)
    else:
        response = send_form(anonymous, url, run, **decision)

    assert response.status_code == 200, response.text
    assert "Thank you: " in response.text
    [row] = decisions_of(manual_app, run["run_id"])
    assert (row["verdict"], row["comment"], row["channel"]) == (decision["decision"], comment, "link")
    assert row["actor_kind"] == "link"
    assert row["seen_digest"] == run["review"]["digest"]


def test_link_works_once(manual_app: ManualApp, run: dict[str, Any], anonymous: httpx.Client) -> None:
    """A used link reports when and how it was used, and shows no content."""
    url = create_link(manual_app, run["run_id"])
    assert anonymous.post(url, json={"decision": "reject"}).status_code == 200
    again = anonymous.post(url, json={"decision": "approve"})
    view, page = anonymous.get(url, headers=JSON), anonymous.get(url, headers=PAGE)

    assert error_of(again) == error_of(view) == (410, "link_used")
    assert "This link was used on" in view.json()["error"]["message"]
    assert (page.status_code, "This link was used already" in page.text) == (410, True)
    assert "content" not in view.text
    assert run["review"]["content"]["ideas"][0]["scene"] not in page.text
    assert len(decisions_of(manual_app, run["run_id"])) == 1


def test_expired_link_is_refused(manual_app: ManualApp, waiting: dict[str, Any], anonymous: httpx.Client) -> None:
    """An expired link reports that on the page and in JSON, and decides nothing."""
    url = link_with(manual_app, waiting, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    page = anonymous.get(url, headers=PAGE)

    assert error_of(anonymous.get(url, headers=JSON)) == (410, "link_expired")
    assert error_of(anonymous.post(url, json={"decision": "approve"})) == (410, "link_expired")
    assert (page.status_code, "This link has expired" in page.text) == (410, True)
    assert decisions_of(manual_app, waiting["run_id"]) == []


def test_link_has_the_requested_lifetime(manual_app: ManualApp, waiting: dict[str, Any]) -> None:
    """A link expires after the requested number of hours, by default after three days."""
    url = f"/v1/runs/{waiting['run_id']}/reviews/link"
    for fields, hours in (({}, 72), ({"expires_in_hours": 0.5}, 0.5)):
        expires_at = manual_app.app.client.post(url, json={"gate": "ideation", **fields}).json()["expires_at"]
        left = datetime.fromisoformat(expires_at) - datetime.now(UTC)
        assert timedelta(hours=hours, seconds=-5) < left <= timedelta(hours=hours)


def altered_links(url: str) -> dict[str, str]:
    """Alterations of the link, by description."""
    base, _, token = url.rpartition("/")
    payload, _, signature = token.partition(".")
    last = signature[-1]
    return {
        "another nonce": f"{base}/{token_hex(8)}.{signature}",
        "a link of version 0.2": f"{base}/{base64.urlsafe_b64encode(b'{}').decode().rstrip('=')}.{signature}",
        "another signature": f"{base}/{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "another spelling": f"{base}/{payload}.{signature[:-1]}{'B' if last == 'A' else chr(ord(last) + 1)}",
        "no signature": f"{base}/{payload}.",
        "no payload": f"{base}/.{signature}",
        "cut off": url[:-5],
        "longer": f"{url}A",
        "twice": f"{url}.{signature}",
        "nonsense": f"{base}/hello",
        "very long": f"{base}/{'A' * 4000}.{signature}",
        "not ASCII": f"{base}/%C3%A4{payload}.{signature}",
    }


def test_altered_link_is_unknown(manual_app: ManualApp, waiting: dict[str, Any], anonymous: httpx.Client) -> None:
    """Every alteration gives the same 404, which does not reveal how close it is."""
    for alteration, url in altered_links(create_link(manual_app, waiting["run_id"])).items():
        response = anonymous.get(url, headers=JSON)
        assert error_of(response) == (404, "link_not_found"), alteration
        assert error_of(anonymous.post(url, json={"decision": "approve"})) == (404, "link_not_found"), alteration
        assert "the whole link was copied" in response.json()["error"]["message"]
        page = anonymous.get(url, headers=PAGE)
        assert (page.status_code, "This link does not open anything" in page.text) == (404, True), alteration
    assert decisions_of(manual_app, waiting["run_id"]) == []


def test_link_to_an_old_revision_is_stale(manual_app: ManualApp, run: dict[str, Any], anonymous: httpx.Client) -> None:
    """A link to revision 1 neither shows nor decides revision 2, and reports it."""
    url = create_link(manual_app, run["run_id"])
    manual_app.app.decide(run["run_id"], "ideation", approved=False, comment="Make it snow")
    second = manual_app.advance(run["run_id"])["review"]
    refused, page = anonymous.post(url, json={"decision": "approve"}), anonymous.get(url, headers=PAGE)

    assert error_of(refused) == (409, "stale_review")
    assert "revision 2" in refused.json()["error"]["message"]
    assert refused.json()["error"]["details"] == {"revision": 2, "digest": second["digest"]}
    assert (page.status_code, "revision 2" in page.text) == (409, True)
    assert len(decisions_of(manual_app, run["run_id"])) == 1
    fresh = anonymous.get(create_link(manual_app, run["run_id"]), headers=JSON).json()
    assert (fresh["revision"], fresh["previous_comment"]) == (2, "Make it snow")
    assert fresh["changes"]


def test_used_link_reports_the_newer_revision(
    manual_app: ManualApp, run: dict[str, Any], anonymous: httpx.Client
) -> None:
    """A reviewer who returns after requesting changes learns of the new revision."""
    url = create_link(manual_app, run["run_id"])
    anonymous.post(url, json={"decision": "revise", "comment": "Make it snow"})
    manual_app.advance(run["run_id"])
    response = anonymous.get(url, headers=JSON)

    assert error_of(response) == (410, "link_used")
    assert response.json()["error"]["message"].endswith("Revision 2 is newer.")


def test_second_link_to_a_decided_review_is_closed(
    manual_app: ManualApp, run: dict[str, Any], anonymous: httpx.Client
) -> None:
    """Of two links to one review the second reports the verdict, but not the actor."""
    first, second = create_link(manual_app, run["run_id"]), create_link(manual_app, run["run_id"])
    assert anonymous.post(first, json={"decision": "approve"}).status_code == 200
    late = anonymous.post(second, json={"decision": "reject"})

    assert error_of(late) == (410, "link_closed")
    assert "approved" in late.json()["error"]["message"]
    assert "link:" not in late.text
    assert len(decisions_of(manual_app, run["run_id"])) == 1


def test_link_to_a_cancelled_run_is_closed(manual_app: ManualApp, run: dict[str, Any], anonymous: httpx.Client) -> None:
    """The link reports that the run has ended."""
    url = create_link(manual_app, run["run_id"])
    manual_app.app.client.post(f"/v1/runs/{run['run_id']}/cancel")

    assert error_of(anonymous.get(url, headers=JSON)) == (410, "link_closed")
    assert error_of(anonymous.post(url, json={"decision": "approve"})) == (410, "link_closed")


def test_request_for_changes_requires_a_comment(
    manual_app: ManualApp, run: dict[str, Any], anonymous: httpx.Client
) -> None:
    """The page is shown again with the error; the link is still valid."""
    url = create_link(manual_app, run["run_id"])
    page = send_form(anonymous, url, run, "revise", "  ")
    response = anonymous.post(url, headers=JSON, json={"decision": "revise"})

    assert (page.status_code, "Describe the requested changes in a comment." in page.text) == (422, True)
    assert error_of(response) == (422, "invalid_request")
    assert anonymous.post(url, json={"decision": "approve"}).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {}}, 422),
        ({"json": {"decision": "maybe"}}, 422),
        ({"json": {"decision": "approve", "edits": []}}, 422),
        ({"json": {"decision": "revise", "comment": "a\x00b"}}, 422),
        ({"json": {"decision": "revise", "comment": "x" * 4001}}, 422),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422),
        ({"content": b'"\xff"', "headers": {"content-type": "application/json"}}, 422),
        ({"data": {"decision": "approve"}}, 415),
        ({"content": b"decision=approve", "headers": {"content-type": "text/plain"}}, 415),
        ({"content": b""}, 415),
    ],
    ids=lambda sent: str(sent)[:60],
)
def test_invalid_decision_is_refused(
    manual_app: ManualApp, waiting: dict[str, Any], anonymous: httpx.Client, sent: dict[str, Any], status: int
) -> None:
    """Nothing is decided, and the link is still valid."""
    url = create_link(manual_app, waiting["run_id"])
    refused = anonymous.post(url, **{**sent, "headers": {**JSON, **sent.get("headers", {})}})

    assert refused.status_code == status, refused.text
    assert refused.json()["error"]["message"]
    assert decisions_of(manual_app, waiting["run_id"]) == []
    assert anonymous.get(url, headers=JSON).status_code == 200


def test_link_requires_an_open_gate(manual_app: ManualApp, waiting: dict[str, Any]) -> None:
    """A closed gate, an unknown run, an invalid lifetime or a missing API key is refused."""
    url = f"/v1/runs/{waiting['run_id']}/reviews/link"
    client = manual_app.app.client
    unknown = "/v1/runs/00000000-0000-4000-8000-000000000000/reviews/link"

    assert error_of(client.post(url, json={"gate": "publish"})) == (409, "gate_not_open")
    assert error_of(client.post(unknown, json={"gate": "ideation"})) == (404, "run_not_found")
    assert error_of(client.post(url, json={"gate": "render"})) == (422, "invalid_request")
    for hours in (0, -1, 721, "never"):
        body = {"gate": "ideation", "expires_in_hours": hours}
        assert error_of(client.post(url, json=body)) == (422, "invalid_request")
    assert error_of(httpx.post(f"{manual_app.app.url}{url}", json={"gate": "ideation"})) == (401, "missing_api_key")


def test_link_requires_a_creator_with_approval_permission(
    manual_app: ManualApp, waiting: dict[str, Any], anonymous: httpx.Client
) -> None:
    """A limited API key creates no link, and links of a key that lost its permission, or has ended, are closed."""
    url, by_ben = f"/v1/runs/{waiting['run_id']}/reviews/link", {"X-API-Key": BEN}
    created = manual_app.app.client.post(url, json={"gate": "ideation"}, headers=by_ben).json()["url"]
    change = "update api_keys set can = %s, revoked_at = %s where digest = encode(sha256(%s), 'hex') returning 1"
    manual_app.app.rows(change, "start", None, BEN.encode())
    try:
        assert error_of(manual_app.app.client.post(url, json={"gate": "ideation"}, headers=by_ben)) == (
            403,
            "approval_not_permitted",
        )
        assert error_of(anonymous.get(created, headers=JSON)) == (410, "link_closed")
        assert error_of(anonymous.post(created, json={"decision": "approve"})) == (410, "link_closed")
        manual_app.app.rows(change, "approve", datetime.now(UTC), BEN.encode())
        assert error_of(anonymous.get(created, headers=JSON)) == (410, "link_closed")
    finally:
        manual_app.app.rows(change, "approve", None, BEN.encode())
    assert anonymous.get(created, headers=JSON).status_code == 200


def test_link_names_only_its_nonce(manual_app: ManualApp, waiting: dict[str, Any]) -> None:
    """The token is the nonce that the history shows, and its signature: nothing of the key, the run or the content."""
    token = create_link(manual_app, waiting["run_id"]).rpartition("/")[2]
    entries = manual_app.app.client.get(f"/v1/runs/{waiting['run_id']}/history").json()["entries"]
    [entry] = [entry for entry in entries if entry["details"].get("link") == token.partition(".")[0]]

    assert re.fullmatch(r"[0-9a-f]{16}\.[A-Za-z0-9_-]{43}", token)
    digest = hashlib.sha256(ANNA.encode()).hexdigest()
    assert not any(digest[start : start + 6] in token for start in range(59))
    assert entry["actor"]["name"] == "settings key 1"


def test_open_link_of_version_0_2_works(manual_app: ManualApp, run: dict[str, Any], anonymous: httpx.Client) -> None:
    """Its token names the former id of the key. It decides once; the link of a key that is gone is closed."""
    former = "update api_keys set former_id = 'key_0123456789ab' where name = 'settings key 2' returning 1"
    manual_app.app.rows(former)
    try:
        url = link_of_0_2(manual_app, run, "key_0123456789ab")
        gone = link_of_0_2(manual_app, run, "key_ba9876543210")
        assert error_of(anonymous.get(gone, headers=JSON)) == (410, "link_closed")
        assert anonymous.get(url, headers=JSON).json()["digest"] == run["review"]["digest"]
        assert anonymous.post(url, json={"decision": "reject"}).status_code == 200
        assert error_of(anonymous.get(url, headers=JSON)) == (410, "link_used")
    finally:
        manual_app.app.rows("update api_keys set former_id = null returning 1")


def test_signed_nonce_without_a_link_is_unknown(
    manual_app: ManualApp, anonymous: httpx.Client, waiting: dict[str, Any]
) -> None:
    """A link whose event is gone, such as after a restore of an older database, opens nothing."""
    url = link_with(manual_app, waiting)
    nonce = url.rpartition("/")[2].partition(".")[0]
    manual_app.app.rows(
        "update events set dedup_key = 'x' || dedup_key where dedup_key = %s returning 1", f"link:{nonce}"
    )

    assert error_of(anonymous.get(url, headers=JSON)) == (404, "link_not_found")


def test_link_has_no_other_use(manual_app: ManualApp, waiting: dict[str, Any], anonymous: httpx.Client) -> None:
    """The token of a link is no API key, and opens no other resource."""
    token = create_link(manual_app, waiting["run_id"]).rpartition("/")[2]
    for path in ("/v1/runs", f"/v1/runs/{waiting['run_id']}", f"/v1/runs/{waiting['run_id']}/history"):
        refused = anonymous.get(f"{manual_app.app.url}{path}", headers={"X-API-Key": token})
        assert error_of(refused) == (401, "invalid_api_key")
    assert error_of(anonymous.get(f"{manual_app.app.url}/review/{token}/film")) == (404, "no_film")


def test_page_is_safe_to_open(manual_app: ManualApp, anonymous: httpx.Client) -> None:
    """The page has no foreign scripts or resources, is not framed or cached, hides its URL, and escapes text."""
    brief = '<script>alert(1)</script> & "quoted" <img src=x onerror=alert(1)>'
    run = manual_app.advance(manual_app.app.start(brief))
    page = anonymous.get(create_link(manual_app, run["run_id"]), headers=PAGE)
    policy = page.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "&lt;script&gt;alert(1)" in page.text
    parsed = PageParser()
    parsed.feed(page.text)
    assert not {"iframe", "img", "object"} & set(parsed.tags)
    assert parsed.tags.count("script") == page.text.count('<script src="/static/') == 1
    assert not any(name.startswith("on") or name == "style" for name in parsed.attributes)
    assert all(not url.startswith(("http:", "https:", "//")) for url in parsed.urls)


def test_words_of_people_have_their_own_direction(manual_app: ManualApp, anonymous: httpx.Client) -> None:
    """A text that is written from right to left does not reorder the page around it."""
    run = manual_app.advance(manual_app.app.start("מטריה אדומה בגשם"))
    page = anonymous.get(create_link(manual_app, run["run_id"]), headers=PAGE).text

    assert '<p class="text" dir="auto">מטריה אדומה בגשם</p>' in page
    for words in [run["review"]["content"]["title"], *map(itemgetter("scene"), run["review"]["content"]["ideas"])]:
        assert re.search(rf'dir="auto"[^>]*>\s*{re.escape(words)}<', page), words
    assert re.search(r'<textarea [^>]*dir="auto"', page)


def test_page_is_accessible(manual_app: ManualApp, waiting: dict[str, Any], anonymous: httpx.Client) -> None:
    """The page declares its language, has one heading of the first level, and a label for every field."""
    parsed = PageParser()
    parsed.feed(anonymous.get(create_link(manual_app, waiting["run_id"]), headers=PAGE).text)

    assert parsed.tags.count("h1") == 1
    assert parsed.labels == parsed.fields != set()
    assert {"lang", "viewport"} <= set(parsed.attributes) | parsed.metas
    style = anonymous.get(f"{manual_app.app.url}/static/console.css")
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert anonymous.get(f"{manual_app.app.url}/static/../pages.py").status_code == 404


def test_links_are_rate_limited_by_address(
    manual_app: ManualApp, waiting: dict[str, Any], anonymous: httpx.Client
) -> None:
    """The page reports the time to wait; the rate limit of the API key is separate."""
    url = create_link(manual_app, waiting["run_id"])
    manual_app.app.rows(
        "insert into rate_limits (client, second, counts) select 'link:address:127.0.0.1',"
        " extract(epoch from clock_timestamp())::bigint, array_fill(100000, array[61])"
        " on conflict (client) do update set second = excluded.second, counts = excluded.counts returning 1"
    )
    try:
        response, page = anonymous.get(url, headers=JSON), anonymous.get(url, headers=PAGE)
    finally:
        manual_app.app.rows("delete from rate_limits returning 1")

    assert error_of(response) == (429, "rate_limited")
    assert int(response.headers["retry-after"]) == response.json()["retry_after_seconds"] >= 1
    assert (page.status_code, "Retry in" in page.text) == (429, True)
    assert manual_app.app.client.get(f"/v1/runs/{waiting['run_id']}").status_code == 200


def test_repeated_request_creates_one_link(manual_app: ManualApp, waiting: dict[str, Any]) -> None:
    """With an Idempotency-Key the same link is returned; the history names the actor, and contains no token."""
    url, key = f"/v1/runs/{waiting['run_id']}/reviews/link", {"Idempotency-Key": f"link-{waiting['run_id']}"}
    first, second = (manual_app.app.client.post(url, json={"gate": "ideation"}, headers=key).json() for _ in range(2))
    third = create_link(manual_app, waiting["run_id"])
    entries = manual_app.app.client.get(f"/v1/runs/{waiting['run_id']}/history").json()["entries"]
    created = [entry for entry in entries if entry["kind"] == "link" and entry["actor"]["kind"] == "api_key"]

    assert first == second
    assert first["url"] != third
    assert len(created) >= 2
    assert all(entry["actor"]["id"].startswith("key_") for entry in created)
    assert not any(
        token in json.dumps(entries) for token in (first["url"].rpartition("/")[2], third.rpartition("/")[2])
    )


class PageParser(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.urls: list[str] = []
        self.labels: set[str] = set()
        self.fields: set[str] = set()
        self.metas: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect one element."""
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes += values
        self.urls += [values[name] for name in ("href", "src", "action") if name in values]
        if tag == "label" and "for" in values:  # else it contains its field
            self.labels.add(values["for"])
        if tag in ("textarea", "input", "select") and values.get("type") not in ("hidden", "checkbox"):
            self.fields.add(values["id"])
        if tag == "meta" and "name" in values:
            self.metas.add(values["name"])
