"""Signing in to the console: sessions, their cookies, CSRF tokens, limits, and links that sign in once."""

from __future__ import annotations

import re
import secrets
import subprocess
from hashlib import sha256
from pathlib import Path
from subprocess import PIPE

import httpx
import pytest
from starlette.requests import Request
from terminals import MYLOWARE, Terminal, environment, settings_of

from api.console_session import SIGN_IN_TRIES, is_https
from console import sessions
from tests.app import ANNA, App
from tests.console.conftest import csrf_token_of, sign_in

STATIC = Path(__file__).resolve().parents[2] / "console" / "static"


def added_key(app: App, can: str = "approve") -> str:
    """Add an API key and return it."""
    name = f"key-{secrets.token_hex(4)}"
    app.in_loop(_add(app, name, can))
    return name


async def _add(app: App, name: str, can: str) -> None:
    digest = sha256(name.encode()).hexdigest()
    await app.state.services.db.execute(
        "insert into api_keys (id, digest, name, can, origin) values (%s, %s, %s, %s, 'added')",
        (f"key_{secrets.token_hex(6)}", digest, name, can),
    )


def link_of(app: App) -> str:
    """Create a sign-in link and return its path."""
    link = app.in_loop(sessions.create_sign_in_link(app.state.services.db, app.url))
    assert link is not None
    return link.removeprefix(app.url)


def test_the_start_page_is_the_form(visitor: httpx.Client) -> None:
    """A visitor sees the form at `/`; every other page leads to it, and from it back to the page."""
    page = visitor.get("/")
    away = visitor.get("/inbox?page=2")

    assert (page.status_code, 'name="key"' in page.text) == (200, True)
    assert (away.status_code, away.headers["location"]) == (303, "/sign-in?next=/inbox%3Fpage%3D2")
    back = visitor.post("/sign-in", data={"key": ANNA, "next": "/inbox?page=2"})
    assert (back.status_code, back.headers["location"]) == (303, "/inbox?page=2")
    assert [visitor.get(path).headers.get("location") for path in ("/", "/sign-in")] == ["/inbox", "/inbox"]


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", ""]
)
def test_sign_in_leads_to_no_other_site(visitor: httpx.Client, elsewhere: str) -> None:
    """A page to open next that is not of this service is replaced by the start page."""
    response = visitor.post("/sign-in", data={"key": ANNA, "next": elsewhere})
    assert (response.status_code, response.headers["location"]) == (303, "/inbox")


def test_the_cookie(quiet_app: App, visitor: httpx.Client) -> None:
    """No script reads the cookie, and no other site sends it with a form."""
    cookie = visitor.post("/sign-in", data={"key": ANNA}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=604800"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


@pytest.mark.parametrize(
    ("scheme", "public_url", "is_secure"),
    [
        ("http", None, False),
        ("https", None, True),
        ("http", "https://films.example.com", True),
        ("http", "https://other.example.com", False),
        ("http", "http://films.example.com", False),
    ],
)
def test_the_cookie_behind_https(scheme: str, public_url: str | None, is_secure: bool) -> None:
    """The cookie is for https only if the browser uses it, also if the proxy does not say so."""
    headers = [(b"host", b"films.example.com")]
    scope = {"type": "http", "scheme": scheme, "server": ("127.0.0.1", 8000), "path": "/", "headers": headers}
    assert is_https(Request(scope), public_url) is is_secure


def test_only_digests_are_stored(quiet_app: App, browser: httpx.Client) -> None:
    """Neither the token of a session nor that of a link is in the database."""
    token, link = browser.cookies["myloware_session"], link_of(quiet_app).rpartition("/")[2]
    stored = str(quiet_app.rows("select * from console_tokens"))
    assert token not in stored
    assert link not in stored


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "Missing API key."),
        ("wrong-key-000000", "Invalid API key."),
        ("<script>alert(1)</script>", "Invalid API key."),
    ],
)
def test_a_wrong_key_is_refused(visitor: httpx.Client, key: str, message: str) -> None:
    """The page says what is wrong, and repeats no key."""
    response = visitor.post("/sign-in", data={"key": key})

    assert (response.status_code, message in response.text) == (401, True)
    assert "set-cookie" not in response.headers
    assert "<script>" not in response.text
    assert visitor.get("/inbox").status_code == 303


def test_tries_are_limited(quiet_app: App, visitor: httpx.Client) -> None:
    """After ten tries of an address in a minute also the right key is refused; a link counts as a try."""
    link = link_of(quiet_app)
    for number in range(SIGN_IN_TRIES):
        assert visitor.post("/sign-in", data={"key": f"guess-{number}"}).status_code == 401
    refused = visitor.post("/sign-in", data={"key": ANNA})

    assert (refused.status_code, "Rate limit exceeded: 10 requests per minute." in refused.text) == (429, True)
    assert int(refused.headers["retry-after"]) >= 1
    assert visitor.post(link).status_code == 429
    assert quiet_app.client.get("/v1/runs").status_code == 200


def test_a_session_ends_with_its_key(quiet_app: App, visitor: httpx.Client) -> None:
    """After its key is revoked, a session opens nothing."""
    name = added_key(quiet_app)
    sign_in(visitor, name)
    assert visitor.get("/inbox").status_code == 200
    quiet_app.rows("update api_keys set revoked_at = now() where name = %s returning id", name)

    assert visitor.get("/inbox").headers["location"].startswith("/sign-in")
    part = visitor.get("/inbox", headers={"hx-request": "true", "hx-current-url": f"{quiet_app.url}/inbox?page=2"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/sign-in?next=/inbox%3Fpage%3D2")


def test_a_session_has_an_end(quiet_app: App, browser: httpx.Client) -> None:
    """An expired session opens nothing, and the next one deletes its row."""
    quiet_app.rows("update console_tokens set expires_at = now() returning digest")
    assert browser.get("/inbox").status_code == 303
    sign_in(browser, ANNA)
    assert len(quiet_app.rows("select * from console_tokens where kind = 'session'")) == 1


def test_signing_out(quiet_app: App, browser: httpx.Client) -> None:
    """Signing out deletes the session, so that a copy of its cookie is worthless."""
    copied = dict(browser.cookies)
    response = browser.post("/sign-out", data={"csrf_token": csrf_token_of(browser.get("/inbox"))})

    assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    assert "myloware_session" not in browser.cookies
    assert httpx.get(f"{quiet_app.url}/inbox", cookies=copied).status_code == 303


@pytest.mark.parametrize("token", [None, "", "0" * 64, "ä"])
def test_a_form_without_its_token_is_refused(quiet_app: App, browser: httpx.Client, token: str | None) -> None:
    """A change needs the CSRF token of its session, in the form or in the header that htmx sends."""
    response = browser.post("/sign-out", data={"csrf_token": token} if token is not None else {})
    assert (response.status_code, "Reload the page" in response.text) == (403, True)
    assert browser.get("/inbox").status_code == 200

    with httpx.Client(base_url=quiet_app.url) as other:
        foreign = csrf_token_of(sign_in(other, ANNA).get("/inbox"))
    assert browser.post("/sign-out", headers={"x-csrf-token": foreign}).status_code == 403
    own = csrf_token_of(browser.get("/inbox"))
    assert browser.post("/sign-out", headers={"x-csrf-token": own}).status_code == 303


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_site_signs_nobody_in(quiet_app: App, visitor: httpx.Client, origin: str) -> None:
    """A form of another site cannot sign a visitor in with a key or a link of that site."""
    link = link_of(quiet_app)
    for path, data in (("/sign-in", {"key": ANNA}), (link, {})):
        assert visitor.post(path, data=data, headers={"origin": origin}).status_code == 403
    assert visitor.post(link, headers={"origin": quiet_app.url}).status_code == 303


def test_a_link_signs_in_once(quiet_app: App, visitor: httpx.Client) -> None:
    """Opening a link, however often, does not use it; its button does, once."""
    link = link_of(quiet_app)
    for _ in range(3):
        opened = visitor.get(link)
        assert (opened.status_code, '<form method="post">' in opened.text) == (200, True)
    assert visitor.head(link).status_code == 405
    assert visitor.get("/inbox").status_code == 303
    assert visitor.post(link).headers["location"] == "/inbox"
    assert "Signed in as settings key 1 (can approve)" in visitor.get("/inbox").text

    visitor.cookies.clear()
    again = visitor.post(link)
    assert (again.status_code, "This link was used or has expired." in again.text) == (410, True)
    assert "set-cookie" not in again.headers


def test_a_link_has_an_end(quiet_app: App, visitor: httpx.Client) -> None:
    """A link is valid for ten minutes, and no longer than its key."""
    link = link_of(quiet_app)
    [row] = quiet_app.rows(
        "select expires_at - now() as left from console_tokens where kind = 'link' order by 1 desc limit 1"
    )
    assert 590 < row["left"].total_seconds() <= 600
    quiet_app.rows("update console_tokens set expires_at = now() where kind = 'link' returning digest")
    assert visitor.post(link).status_code == 410

    link = link_of(quiet_app)
    quiet_app.rows("update api_keys set revoked_at = now() where name = 'settings key 1' returning id")
    try:
        assert visitor.post(link).status_code == 410
    finally:
        quiet_app.rows("update api_keys set revoked_at = null where name = 'settings key 1' returning id")


def test_the_token_of_a_link_is_no_session(quiet_app: App, visitor: httpx.Client) -> None:
    """A link's token as a cookie opens nothing, and a session's token as a link neither."""
    visitor.cookies["myloware_session"] = link_of(quiet_app).rpartition("/")[2]
    assert visitor.get("/inbox").status_code == 303
    visitor.cookies.clear()
    token = sign_in(visitor, ANNA).cookies["myloware_session"]
    assert visitor.post(f"/sign-in/{token}").status_code == 410


@pytest.mark.parametrize("path", ["/", "/sign-in", "/inbox", "/sign-in/token", "/inbox?page=x"])
def test_the_policy(browser: httpx.Client, path: str) -> None:
    """Pages load, run and send nothing but what is of this service, and contain no inline script or style."""
    page = browser.get(path, follow_redirects=True)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))

    assert policy == {
        "default-src": "'none'",
        **dict.fromkeys(("script-src", "style-src", "img-src", "media-src", "connect-src", "form-action"), "'self'"),
        **dict.fromkeys(("frame-ancestors", "base-uri"), "'none'"),
    }
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|https?://", page.text)


@pytest.mark.slow
def test_serve_prints_a_link_only_to_a_terminal(quiet_app: App, visitor: httpx.Client, tmp_path: Path) -> None:
    """In a terminal `serve` prints a link that signs in. Output that goes elsewhere, as to a log, has none."""
    terminal = Terminal("serve", "--port", "0", cwd=tmp_path, **settings_of(quiet_app))
    terminal.until("Sign in with your browser, once, within ten minutes: ")
    link = terminal.until("\nMyloWare is running at ").strip()
    with httpx.Client(headers={"origin": link.rpartition("/sign-in/")[0]}) as browser:
        assert browser.post(link).headers["location"] == "/inbox"
    terminal.terminate()
    terminal.wait()

    logged = subprocess.Popen(
        [MYLOWARE, "serve", "--port", "0"],
        cwd=tmp_path,
        env=environment(**settings_of(quiet_app)),
        stdout=PIPE,
        text=True,
    )
    assert logged.stdout is not None
    printed = logged.stdout.readline()
    logged.terminate()
    printed += logged.communicate(timeout=60)[0]
    assert "MyloWare is running at" in printed
    assert "sign-in" not in printed


def test_vendored_files_are_unchanged() -> None:
    """Every vendored script is the one whose checksum is recorded."""
    folder = STATIC / "vendored"
    recorded = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())

    assert recorded == {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")}


def test_a_sign_in_link_leads_to_its_page(quiet_app: App, visitor: httpx.Client) -> None:
    """It opens the page that it names, and none of another site."""
    for page, opened in (("/runs", "/runs"), ("//evil.example", "/inbox"), ("", "/inbox")):
        link = quiet_app.in_loop(sessions.create_sign_in_link(quiet_app.state.services.db, quiet_app.url, page))
        assert link is not None
        assert visitor.post(link).headers["location"] == opened
