"""Fixtures of the console's tests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.app import ANNA, App, migrated_template, postgres_server, quiet_app, sandbox, sandbox_process

__all__ = ["migrated_template", "postgres_server", "quiet_app", "sandbox", "sandbox_process"]


@pytest.fixture
def visitor(quiet_app: App) -> Iterator[httpx.Client]:
    """A browser without a session. Its tries to sign in are counted from zero."""
    quiet_app.rows("delete from rate_limits returning client")
    with httpx.Client(base_url=quiet_app.url) as client:
        yield client


@pytest.fixture
def browser(visitor: httpx.Client) -> httpx.Client:
    """A browser that has signed in with a key that can approve."""
    return sign_in(visitor, ANNA)


def sign_in(client: httpx.Client, key: str) -> httpx.Client:
    """Sign in with a key and return the client."""
    response = client.post("/sign-in", data={"key": key})
    assert (response.status_code, response.headers["location"]) == (303, "/inbox"), response.text
    return client


def csrf_token_of(page: httpx.Response) -> str:
    """Return the CSRF token that the forms of a page carry."""
    return page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
