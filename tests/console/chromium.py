"""Chromium, driven by Playwright: it resolves no name, and every page is watched for what its policy refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from render_service import BROWSERS

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a running browser that reaches this machine only."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, "These tests need a browser: apt-get install chromium-headless-shell"
    expect.set_options(timeout=20_000)
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


class Tab:
    """A page in a session of its own, with what was requested and reported on it."""

    def __init__(self, browser: Browser, url: str, *, is_phone: bool = False, **options: Any) -> None:
        self.url = url
        viewport = PHONE if is_phone else DESKTOP
        self.context: BrowserContext = browser.new_context(
            viewport=viewport, has_touch=is_phone, base_url=url, **options
        )  # type: ignore[arg-type]
        self.context.add_init_script(REPORT_VIOLATIONS)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.requested: list[str] = []
        self.reported: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("console", lambda message: self.reported.append(message.text))
        self.page.on("pageerror", lambda error: self.reported.append(str(error)))
        self.page.on("dialog", lambda dialog: self.reported.append(f"dialog: {dialog.message}"))

    def sign_in(self, key: str) -> None:
        """Sign in with a key and wait for the inbox."""
        self.page.goto("/")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/inbox")

    def check(self) -> None:
        """Fail if axe finds a serious problem on the page, or the page is wider than the screen."""
        found = Axe().run(self.page).response["violations"]
        serious = [
            f"{each['id']}: {[node['html'] for node in each['nodes']][:3]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []
        widths = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]

    def close(self) -> None:
        """Close the page. Fail if it requested anything from elsewhere, or an error or a violation was reported."""
        self.context.close()
        assert [url for url in self.requested if urlsplit(url).netloc != urlsplit(self.url).netloc] == []
        assert not self.reported, self.reported
