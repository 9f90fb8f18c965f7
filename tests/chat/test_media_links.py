"""Links to films work without an API key for a limited time."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from runs import links
from storage.secrets import get_secret
from tests.app import App, SandboxClient
from tests.chat.conversation import say


@pytest.fixture(scope="module")
def link(app: App, sandbox_process: SandboxClient) -> str:
    """A link to a finished film from a response of the supervisor."""
    completed = app.rows("select id from runs where status = 'completed' limit 1")
    run_id = str(completed[0]["id"]) if completed else app.start(project="tiny")
    if not completed:
        app.complete(run_id)
    found = re.search(
        r"film: (http\S+signature=[0-9a-f]{64})", say(app, f"Where is the film of run {run_id}?")["response"]
    )
    assert found
    return found[1]


def test_a_link_opens_its_film(app: App, link: str) -> None:
    """The whole file and a range of it, as players request it, without an API key."""
    whole, part = httpx.get(link), httpx.get(link, headers={"Range": "bytes=10-19"})

    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    assert (part.status_code, part.content) == (206, whole.content[10:20])


def test_a_link_opens_nothing_else(app: App, link: str) -> None:
    """Another file, a later date, another signature and a part of it are refused."""
    digest = re.search(r"[0-9a-f]{64}", link)
    assert digest
    other = "0" * 63 + "1"
    later = re.sub(r"expires=(\d+)", lambda match: f"expires={int(match[1]) + 1}", link)
    forged = re.sub(r"signature=.", lambda match: "signature=" + ("0" if match[0][-1] != "0" else "1"), link)

    for wrong in (
        link.replace(digest[0], other),
        later,
        forged,
        f"{link}0"[:-2],
        re.sub("signature=.*", "signature=ä", link),
    ):
        answer = httpx.get(wrong)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "link_not_found"), wrong
    assert httpx.get(re.sub("&signature=.*", "", link)).status_code == 401
    assert httpx.get(link.split("?")[0]).status_code == 401


def test_a_link_expires(app: App, link: str) -> None:
    """A link is valid for a day and an hour at most."""
    db, digest = app.state.services.db, re.search(r"[0-9a-f]{64}", link)
    expires, signature = re.search(r"expires=(\d+)&signature=(\w+)", link).groups()  # type: ignore[union-attr]
    assert digest

    assert 0 < int(expires) - time.time() <= links.VALID_SECONDS + links.HOUR_SECONDS
    assert app.in_loop(links.is_valid_link(db, digest[0], int(expires), signature))
    past = int(time.time()) - 1
    secret = app.in_loop(get_secret(db, links.FILES_SECRET))
    old = links._file_signature(secret, digest[0], past)
    assert not app.in_loop(links.is_valid_link(db, digest[0], past, old))
