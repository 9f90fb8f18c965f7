"""A reviewer's link: opens one review without a key, decides it once, and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import httpx
import pytest

from console import pages
from runs import review_links
from storage.api_keys import get_secret
from tests.app import BEN
from tests.reviews.conftest import Desk

JSON = {"accept": "application/json"}
PAGE = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def nobody() -> Iterator[httpx.Client]:
    """Somebody without a key."""
    with httpx.Client(timeout=30) as client:
        yield client


@pytest.fixture
def run(desk: Desk) -> dict[str, Any]:
    """A run that waits at the ideation gate."""
    return desk.at_ideation()


@pytest.fixture(scope="module")
def waiting(module_desk: Desk) -> dict[str, Any]:
    """A run that waits at the ideation gate, for tests that leave it there."""
    return module_desk.at_ideation()


def link(desk: Desk, run_id: str, **said: Any) -> str:
    """A link to the ideation review of a run."""
    answer = desk.app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation", **said})
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["url"]
    return url


def sealed(desk: Desk, run: dict[str, Any], **changes: Any) -> str:
    """A link as it would be with other facts in it, signed as ours are."""
    facts = {
        "run_id": UUID(run["run_id"]),
        "gate": "ideation",
        "revision": 1,
        "digest": run["review"]["digest"],
        "expires_at": datetime.now(UTC) + timedelta(hours=1),
        "nonce": "0123456789abcdef",
        "made_by": "local",
    }
    key = desk.app.in_loop(get_secret(desk.services.db, review_links.SECRET))
    return f"{desk.app.url}/review/{review_links._sealed(review_links.ReviewLink(**{**facts, **changes}), key)}"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def decisions(desk: Desk, run_id: str) -> list[dict[str, Any]]:
    return desk.app.rows(
        "select verdict, comment, decided_by, channel, seen_digest from decisions where run_id = %s", run_id
    )


def test_it_shows_the_review(desk: Desk, waiting: dict[str, Any], nobody: httpx.Client) -> None:
    """What is to be decided with its price, without a key; looking uses nothing up and decides nothing."""
    url, content = link(desk, waiting["run_id"]), waiting["review"]["content"]
    for _ in range(3):
        said = nobody.get(url, headers=JSON).json()
        page = nobody.get(url, headers=PAGE)

    assert (said["gate"], said["revision"], said["digest"]) == ("ideation", 1, waiting["review"]["digest"])
    assert said["content"] == content
    each = f"Each is {content['seconds']} seconds of {content['size']}, made by {content['model']}."
    for words in (content["title"], content["ideas"][0]["scene"], "0.30 USD", each, "Waiting for your decision"):
        assert words in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert decisions(desk, waiting["run_id"]) == []


def test_what_a_reviewer_has_to_know_beside_is_shown(desk: Desk, waiting: dict[str, Any], nobody: httpx.Client) -> None:
    """Why something that was approved is shown again; and a review from before the gate told more of its clips."""
    view = nobody.get(link(desk, waiting["run_id"]), headers=JSON).json()
    noted = {**view, "content": {**view["content"], "notice": "The price has changed."}}
    older = {**view, "content": {k: v for k, v in view["content"].items() if k not in ("model", "seconds", "size")}}

    assert '<p class="problem" role="note">The price has changed.</p>' in pages.review_page(noted, token="t")
    assert "Each is" not in pages.review_page(older, token="t")


@pytest.mark.parametrize(
    ("by", "said", "comment"),
    [
        ("json", {"decision": "approve"}, None),
        ("data", {"decision": "approve", "comment": ""}, None),
        ("data", {"decision": "revise", "comment": "Make it snow"}, "Make it snow"),
        ("json", {"decision": "reject", "comment": "Not us"}, "Not us"),
    ],
    ids=["approve by JSON", "approve by form", "revise by form", "reject by JSON"],
)
def test_it_decides(
    desk: Desk, run: dict[str, Any], nobody: httpx.Client, by: str, said: dict[str, str], comment: str | None
) -> None:
    """By form or by JSON: kept under the link's own name, for exactly what it showed."""
    url = link(desk, run["run_id"])
    answer = nobody.post(url, headers=PAGE if by == "data" else JSON, **{by: said})  # type: ignore[arg-type]

    assert answer.status_code == 200, answer.text
    assert "Thank you." in answer.text
    [made] = decisions(desk, run["run_id"])
    assert (made["verdict"], made["comment"], made["channel"]) == (said["decision"], comment, "link")
    assert made["decided_by"].startswith("link:")
    assert made["seen_digest"] == run["review"]["digest"]


def test_it_works_once(desk: Desk, run: dict[str, Any], nobody: httpx.Client) -> None:
    """Afterwards it says in words that, when and how it was used, and shows nothing."""
    url = link(desk, run["run_id"])
    assert nobody.post(url, json={"decision": "reject"}).status_code == 200
    again = nobody.post(url, json={"decision": "approve"})
    look, page = nobody.get(url, headers=JSON), nobody.get(url, headers=PAGE)

    assert code(again) == code(look) == (410, "link_used")
    assert "This link was used on" in look.json()["error"]["message"]
    assert (page.status_code, "This link was used already" in page.text) == (410, True)
    assert "content" not in look.text
    assert run["review"]["content"]["ideas"][0]["scene"] not in page.text
    assert len(decisions(desk, run["run_id"])) == 1


def test_expired_it_opens_nothing(desk: Desk, waiting: dict[str, Any], nobody: httpx.Client) -> None:
    """It says so in words, on the page and in JSON, and decides nothing."""
    url = sealed(desk, waiting, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    page = nobody.get(url, headers=PAGE)

    assert code(nobody.get(url, headers=JSON)) == (410, "link_expired")
    assert code(nobody.post(url, json={"decision": "approve"})) == (410, "link_expired")
    assert (page.status_code, "This link has expired" in page.text) == (410, True)
    assert decisions(desk, waiting["run_id"]) == []


def test_it_expires_when_it_says(desk: Desk, waiting: dict[str, Any]) -> None:
    """After as many hours as were asked for, three days if none were."""
    url = f"/v1/runs/{waiting['run_id']}/reviews/link"
    for said, hours in (({}, 72), ({"expires_in_hours": 0.5}, 0.5)):
        expires_at = desk.app.client.post(url, json={"gate": "ideation", **said}).json()["expires_at"]
        left = datetime.fromisoformat(expires_at) - datetime.now(UTC)
        assert timedelta(hours=hours, seconds=-5) < left <= timedelta(hours=hours)


def altered(url: str) -> dict[str, str]:
    """The link, altered in every way that somebody may try."""
    base, _, token = url.rpartition("/")
    payload, _, signature = token.partition(".")
    facts = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    def other(**changes: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps({**facts, **changes}).encode()).rstrip(b"=").decode()

    last = signature[-1]
    return {
        "another gate": f"{base}/{other(gate='publish')}.{signature}",
        "another revision": f"{base}/{other(revision=2)}.{signature}",
        "another time": f"{base}/{other(expires=9999999999)}.{signature}",
        "another name": f"{base}/{other(nonce='0' * 16)}.{signature}",
        "another letter": f"{base}/{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
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


def test_altered_it_opens_nothing(desk: Desk, waiting: dict[str, Any], nobody: httpx.Client) -> None:
    """Whatever was changed: 404, in words; nothing tells how near it was."""
    for how, url in altered(link(desk, waiting["run_id"])).items():
        answer = nobody.get(url, headers=JSON)
        assert code(answer) == (404, "link_unknown"), how
        assert code(nobody.post(url, json={"decision": "approve"})) == (404, "link_unknown"), how
        assert "copy all of it" in answer.json()["error"]["message"]
        page = nobody.get(url, headers=PAGE)
        assert (page.status_code, "This link does not open anything" in page.text) == (404, True), how
    assert decisions(desk, waiting["run_id"]) == []


def test_a_newer_revision_is_named(desk: Desk, run: dict[str, Any], nobody: httpx.Client) -> None:
    """A link to revision 1 neither shows nor decides revision 2."""
    url = link(desk, run["run_id"])
    desk.app.decide(run["run_id"], "ideation", approved=False, comment="Make it snow")
    second = desk.advance(run["run_id"])["review"]
    refused, page = nobody.post(url, json={"decision": "approve"}), nobody.get(url, headers=PAGE)

    assert code(refused) == (409, "stale_review")
    assert "revision 2" in refused.json()["error"]["message"]
    assert refused.json()["error"]["details"] == {"revision": 2, "digest": second["digest"]}
    assert (page.status_code, "revision 2" in page.text) == (409, True)
    assert len(decisions(desk, run["run_id"])) == 1
    fresh = nobody.get(link(desk, run["run_id"]), headers=JSON).json()
    assert (fresh["revision"], fresh["previous_comment"]) == (2, "Make it snow")
    assert fresh["changes"]


def test_a_used_link_names_the_newer_revision_too(desk: Desk, run: dict[str, Any], nobody: httpx.Client) -> None:
    """Who asked for changes with it, and comes back, hears that there is something new."""
    url = link(desk, run["run_id"])
    nobody.post(url, json={"decision": "revise", "comment": "Make it snow"})
    desk.advance(run["run_id"])
    answer = nobody.get(url, headers=JSON)

    assert code(answer) == (410, "link_used")
    assert answer.json()["error"]["message"].endswith("There is a newer one, revision 2.")


def test_what_somebody_else_decided_is_not_decided_again(desk: Desk, run: dict[str, Any], nobody: httpx.Client) -> None:
    """Two links to one review: the second is told what became of it, and not by whom."""
    first, second = link(desk, run["run_id"]), link(desk, run["run_id"])
    assert nobody.post(first, json={"decision": "approve"}).status_code == 200
    late = nobody.post(second, json={"decision": "reject"})

    assert code(late) == (410, "link_over")
    assert "approved" in late.json()["error"]["message"]
    assert "link:" not in late.text
    assert len(decisions(desk, run["run_id"])) == 1


def test_of_a_cancelled_run_there_is_nothing_to_decide(desk: Desk, run: dict[str, Any], nobody: httpx.Client) -> None:
    """The link says that the run has ended."""
    url = link(desk, run["run_id"])
    desk.app.client.post(f"/v1/runs/{run['run_id']}/cancel")

    assert code(nobody.get(url, headers=JSON)) == (410, "link_over")
    assert code(nobody.post(url, json={"decision": "approve"})) == (410, "link_over")


def test_changes_need_words(desk: Desk, run: dict[str, Any], nobody: httpx.Client) -> None:
    """The page comes again with what is missing; the link is still good."""
    url = link(desk, run["run_id"])
    page = nobody.post(url, headers=PAGE, data={"decision": "revise", "comment": "  "})
    answer = nobody.post(url, headers=JSON, data={"decision": "revise"})

    assert (page.status_code, "Say in a comment what should change." in page.text) == (422, True)
    assert code(answer) == (422, "invalid_request")
    assert nobody.post(url, json={"decision": "approve"}).status_code == 200


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
        ({"data": {"decision": "maybe"}}, 422),
        ({"data": {f"field{n}": "x" for n in range(50)}}, 422),
        ({"content": b"decision=approve", "headers": {"content-type": "text/plain"}}, 415),
        ({"content": b""}, 415),
    ],
    ids=lambda sent: str(sent)[:60],
)
def test_what_makes_no_sense_is_refused(
    desk: Desk, waiting: dict[str, Any], nobody: httpx.Client, sent: dict[str, Any], status: int
) -> None:
    """Nothing is decided, and the link is still good."""
    url = link(desk, waiting["run_id"])
    refused = nobody.post(url, **{**sent, "headers": {**JSON, **sent.get("headers", {})}})

    assert refused.status_code == status, refused.text
    assert refused.json()["error"]["message"]
    assert decisions(desk, waiting["run_id"]) == []
    assert nobody.get(url, headers=JSON).status_code == 200


def test_it_is_made_for_an_open_gate_only(desk: Desk, waiting: dict[str, Any]) -> None:
    """Another gate, another run, no key: refused."""
    url = f"/v1/runs/{waiting['run_id']}/reviews/link"
    client = desk.app.client
    strange = "/v1/runs/00000000-0000-4000-8000-000000000000/reviews/link"

    assert code(client.post(url, json={"gate": "publish"})) == (409, "gate_not_open")
    assert code(client.post(strange, json={"gate": "ideation"})) == (404, "run_not_found")
    assert code(client.post(url, json={"gate": "render"})) == (422, "invalid_request")
    for hours in (0, -1, 721, "never"):
        asked = {"gate": "ideation", "expires_in_hours": hours}
        assert code(client.post(url, json=asked)) == (422, "invalid_request")
    assert code(httpx.post(f"{desk.app.url}{url}", json={"gate": "ideation"})) == (401, "missing_api_key")


def test_who_may_not_decide_lets_nobody_decide(desk: Desk, waiting: dict[str, Any], nobody: httpx.Client) -> None:
    """A limited key makes no link; and links of a key that lost its right open nothing."""
    url, by_ben = f"/v1/runs/{waiting['run_id']}/reviews/link", {"X-API-Key": BEN}
    made = desk.app.client.post(url, json={"gate": "ideation"}, headers=by_ben).json()["url"]
    limit = "update api_keys set can_approve = %s where digest = encode(sha256(%s), 'hex') returning 1"
    desk.app.rows(limit, False, BEN.encode())
    try:
        assert code(desk.app.client.post(url, json={"gate": "ideation"}, headers=by_ben)) == (403, "may_not_decide")
        assert code(nobody.get(made, headers=JSON)) == (410, "link_over")
        assert code(nobody.post(made, json={"decision": "approve"})) == (410, "link_over")
    finally:
        desk.app.rows(limit, True, BEN.encode())
    assert nobody.get(made, headers=JSON).status_code == 200


def test_it_opens_nothing_else(desk: Desk, waiting: dict[str, Any], nobody: httpx.Client) -> None:
    """As a key it is worth nothing, and it leads to no other door."""
    token = link(desk, waiting["run_id"]).rpartition("/")[2]
    for path in ("/v1/runs", f"/v1/runs/{waiting['run_id']}", f"/v1/runs/{waiting['run_id']}/history"):
        refused = nobody.get(f"{desk.app.url}{path}", headers={"X-API-Key": token})
        assert code(refused) == (401, "invalid_api_key")
    assert code(nobody.get(f"{desk.app.url}/review/{token}/film")) == (404, "no_film")


def test_the_page_is_safe_to_open(desk: Desk, nobody: httpx.Client) -> None:
    """No script, nothing from elsewhere, not framed, not kept, its address not passed on; words are only words."""
    brief = '<script>alert(1)</script> & "quoted" <img src=x onerror=alert(1)>'
    run = desk.advance(desk.app.start(brief))
    page = nobody.get(link(desk, run["run_id"]), headers=PAGE)
    policy = page.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "&lt;script&gt;alert(1)" in page.text
    found = Elements()
    found.feed(page.text)
    assert not {"script", "iframe", "img", "object"} & set(found.tags)
    assert not any(name.startswith("on") or name == "style" for name in found.attributes)
    assert all(not address.startswith(("http:", "https:", "//")) for address in found.addresses)


def test_the_page_can_be_used_by_everybody(desk: Desk, waiting: dict[str, Any], nobody: httpx.Client) -> None:
    """It names its language, has one heading of the first rank, and every field has a label."""
    found = Elements()
    found.feed(nobody.get(link(desk, waiting["run_id"]), headers=PAGE).text)

    assert found.tags.count("h1") == 1
    assert found.labels == found.fields != set()
    assert {"lang", "viewport"} <= set(found.attributes) | found.metas
    style = nobody.get(f"{desk.app.url}/static/review.css")
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert nobody.get(f"{desk.app.url}/static/../pages.py").status_code == 404


def test_who_tries_too_often_has_to_wait(desk: Desk, waiting: dict[str, Any], nobody: httpx.Client) -> None:
    """Links are counted by address; the page says for how long, and the key's own count is not touched."""
    url = link(desk, waiting["run_id"])
    desk.app.rows(
        "insert into rate_limit_hits (who, hits) select 'link:address:127.0.0.1', array_agg(now())"
        " from generate_series(1, 100000) on conflict (who) do update set hits = excluded.hits returning 1"
    )
    try:
        answer, page = nobody.get(url, headers=JSON), nobody.get(url, headers=PAGE)
    finally:
        desk.app.rows("delete from rate_limit_hits returning 1")

    assert code(answer) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) == answer.json()["retry_after_seconds"] >= 1
    assert (page.status_code, "try again in" in page.text) == (429, True)
    assert desk.app.client.get(f"/v1/runs/{waiting['run_id']}").status_code == 200


def test_the_same_request_makes_the_same_link(desk: Desk, waiting: dict[str, Any]) -> None:
    """With an Idempotency-Key; without one, each is a link of its own, and the record names who made it."""
    url, key = f"/v1/runs/{waiting['run_id']}/reviews/link", {"Idempotency-Key": f"link-{waiting['run_id']}"}
    first, second = (desk.app.client.post(url, json={"gate": "ideation"}, headers=key).json() for _ in range(2))
    third = link(desk, waiting["run_id"])
    lines = desk.app.client.get(f"/v1/runs/{waiting['run_id']}/history").json()["lines"]
    made = [line for line in lines if line["what"] == "link"]

    assert first == second
    assert first["url"] != third
    assert len(made) >= 2
    assert all(line["who"].startswith("key_") for line in made)
    assert not any(token in json.dumps(lines) for token in (first["url"].rpartition("/")[2], third.rpartition("/")[2]))


class Elements(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.addresses: list[str] = []
        self.labels: set[str] = set()
        self.fields: set[str] = set()
        self.metas: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes += given
        self.addresses += [given[name] for name in ("href", "src", "action") if name in given]
        if tag == "label":
            self.labels.add(given["for"])
        if tag in ("textarea", "input", "select"):
            self.fields.add(given["id"])
        if tag == "meta" and "name" in given:
            self.metas.add(given["name"])
