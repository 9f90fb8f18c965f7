"""`make demo CONSOLE=1`: a film whose gates are left to a person in the browser, served until Ctrl-C."""

from __future__ import annotations

import re
import shutil
import time
from html import unescape
from pathlib import Path

import httpx
import pytest
from terminals import Terminal, processes_of

BRIEF = "-- a $HOME in the snow"
#: As small as the sandbox makes a film without a profile of the tests.
PROJECT = """---
title: Brief
summary: One clip of four seconds.
clips: 1
clip_seconds: 4
clip_size: 720x1280
film_size: 360x640
platforms: [tiktok]
budget_usd: 5
---
One calm shot.
"""


def until(client: httpx.Client, path: str, text: str) -> httpx.Response:
    """Return the page when it has the text."""
    deadline = time.monotonic() + 150
    while text not in (page := client.get(path)).text:
        assert time.monotonic() < deadline, re.sub(r"<[^>]*>\s*", " ", page.text)
        time.sleep(1)
    return page


def fields_of(page: httpx.Response) -> dict[str, str]:
    """Return what a browser sends of the form with the button that approves, and this button."""
    forms, button = (
        re.findall(r"<form.*?</form>", page.text, re.DOTALL),
        r'<button[^>]* name="(\w+)" value="(approve[^"]*)"',
    )
    [form] = [part for part in forms if re.search(button, part)]
    fields = {name: unescape(text) for name, text in re.findall(r'<textarea[^>]* name="([^"]+)".*?>\n(.*?)</t', form)}
    for tag in re.findall(r"<input[^>]*>", form):
        found = dict(re.findall(r' (name|value)="([^"]*)"', tag))
        if "checkbox" not in tag or "checked" in tag:
            fields[unescape(found["name"])] = unescape(found.get("value", ""))
    [(name, value)] = re.findall(button, form)
    return {**fields, name: value}


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_film_is_approved_in_the_browser(tmp_path: Path) -> None:
    """The printed link signs in on the page of the run; both gates are decided there; Ctrl-C ends everything."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "brief.md").write_text(PROJECT)
    demo = ("serve", "--sandbox", "--port", "0", "--project", "brief", f"--brief={BRIEF}")
    terminal = Terminal(*demo, cwd=tmp_path, MYLOWARE_PROJECTS_DIR=str(tmp_path / "projects"))
    terminal.until("within ten minutes: ")
    link = terminal.until("\n").strip()
    url, path = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/sign-in/[\w-]+\?next=(/runs/[0-9a-f-]{36})", link).groups()  # type: ignore[union-attr]
    terminal.until("Stop it with Ctrl-C.")

    with httpx.Client(base_url=url, follow_redirects=True, timeout=60) as client:
        assert "Sign in with this link" in client.get(link).text
        signed_in = client.post(link)
        assert (signed_in.url.path, "-- a $HOME in the snow" in signed_in.text) == (path, True)
        until(client, path, f'href="{path}/ideation"')
        ideas = client.get(f"{path}/ideation")
        assert client.post(str(ideas.url), data=fields_of(ideas)).status_code == 200
        run = until(client, path, "Revision 1 at the publish gate was opened.")
        film = client.get(f"{path}/publish")
        assert client.post(str(film.url), data=fields_of(film)).status_code == 200
        finished = until(client, path, "The run was completed.")
        [digest] = re.findall(r'src="/media/([0-9a-f]{64})#t=0.1" aria-label="The film"', finished.text)
        assert client.get(f"/media/{digest}").headers["content-type"] == "video/mp4"
        assert "(console)" in run.text

    terminal.send("\x03")
    assert terminal.wait() == 0
    assert processes_of(tmp_path) == []
    shutil.rmtree(tmp_path / ".myloware")
