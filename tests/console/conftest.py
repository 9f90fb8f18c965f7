"""Fixtures of the console's tests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from tests.app import ANNA, App
from tests.console.chromium import Tab, chromium
from tests.console.seeds import Seeds


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


@pytest.fixture
def seeds(quiet_app: App) -> Iterator[Seeds]:
    """A database without runs before and after."""
    seeds = Seeds(quiet_app)
    seeds.clear()
    yield seeds
    seeds.clear()


@pytest.fixture(scope="module")
def film(quiet_app: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a stored film."""
    return Seeds(quiet_app).film(tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def browser_process() -> Iterator[Browser]:
    """The browser of all tests of a module."""
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["desktop", "phone"])
def tab(request: pytest.FixtureRequest, quiet_app: App, browser_process: Browser, seeds: Seeds) -> Iterator[Tab]:
    """A page on a desktop with a light and on a phone with a dark screen. It is watched: see `Tab.close`."""
    quiet_app.rows("delete from rate_limits returning client")
    is_phone = request.param == "phone"
    tab = Tab(browser_process, quiet_app.url, is_phone=is_phone, color_scheme="dark" if is_phone else "light")
    yield tab
    tab.close()


def sign_in(client: httpx.Client, key: str) -> httpx.Client:
    """Sign in with a key and return the client."""
    response = client.post("/sign-in", data={"key": key})
    assert (response.status_code, response.headers["location"]) == (303, "/inbox"), response.text
    return client


def csrf_token_of(page: httpx.Response) -> str:
    """Return the CSRF token that the forms of a page carry."""
    return page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
