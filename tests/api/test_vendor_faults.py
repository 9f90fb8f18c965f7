"""A whole run with each fault of the emulator of each vendor: what becomes of it, and that it is charged once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.listening import url_of
from tests.app import PROFILES, TINY_PROJECT, App, SandboxClient, settings_for
from tests.databases import fast_folder, fresh_database
from tests.vendor_settings import VENDORS, vendor_profiles, vendor_settings

Fault = dict[str, Any]

PUBLISHED, NO_CREDIT, UNKNOWN = "published", "credit_exhausted", "clip_outcome_unknown"
LOST: Fault = {"name": "create_accept_then_drop"}
#: The status, the number and the text with which a vendor refuses for lack of credit, and asks to wait.
CREDIT = {"replicate": (402, ""), "kling": (429, "1102"), "higgsfield": (403, "not_enough_credits")}
BUSY = {
    "replicate": (429, "", "Throttled."),
    "kling": (429, "1303", ""),
    "higgsfield": (400, "", "Too many concurrent."),
}

#: Faults that one code handles for all vendors, each with one of them; `tests/providers` has them for each vendor.
COMMON: dict[str, Fault] = {
    **{name: {"name": name} for name in ("status_500", "content_500", "content_html", "content_truncated")},
    "content_late": {"name": "content_late"},
    "slow": {"name": "slow", "seconds": 1.0},
    "unusable file": {"name": "content_wrong_type"},
    **{f"webhook {name}": {"name": f"webhook_{name}"} for name in ("drop", "delay", "duplicate", "before_response")},
    **{f"webhook {name}": {"name": f"webhook_{name}"} for name in ("unknown_video", "stale", "forged")},
    **{f"webhook {form}": {"name": "webhook_form", "form": form} for form in ("unsigned", "two_signatures")},
}


def faults_of(vendor: str) -> Iterator[tuple[str, list[Fault], str, int]]:
    """Yield a name, the faults, the end of the run (or what it waits for), and the number of charges."""
    credit_status, credit_code = CREDIT[vendor]
    busy_status, busy_code, busy_text = BUSY[vendor]
    error: Fault = {"name": "vendor_error"}
    yield "lost answer", [LOST], PUBLISHED, 1
    yield "lost answer, listed late", [LOST, {"name": "index_lag", "seconds": 1.0}], PUBLISHED, 1
    yield "504 after acceptance", [{"name": "create_accept_then_hang", "seconds": 0.5}], PUBLISHED, 1
    yield "503 after acceptance", [{**error, "accept": 1}], PUBLISHED, 1
    never_made = (UNKNOWN, 0) if vendor == "replicate" else (PUBLISHED, 1)
    yield "503", [error], *never_made
    yield "no credit", [{**error, "status": credit_status, "code": credit_code, "times": 2}], NO_CREDIT, 0
    yield "busy", [{**error, "status": busy_status, "code": busy_code, "message": busy_text}], PUBLISHED, 1
    yield "forgotten", [{"name": "video_not_found"}], "order_not_found", 1
    yield "moderation", [{"name": "fail"}], PUBLISHED, 1
    for place, (name, fault) in enumerate(COMMON.items()):
        if VENDORS[place % len(VENDORS)] == vendor:
            yield name, [fault], PUBLISHED, 1
    yield from _own_faults(vendor)


def _own_faults(vendor: str) -> Iterator[tuple[str, list[Fault], str, int]]:
    """Yield those that only this vendor has."""
    canceled: Fault = {"name": "fail", "code": "canceled"}
    if vendor == "replicate":
        yield "aborted", [{"name": "fail", "code": "aborted"}], PUBLISHED, 1
        yield "cancelled", [canceled], "video_canceled", 1
        for need in (0, 1):
            yield f"file host, token {need}", [{"name": "files_need_key", "times": None, "need": need}], PUBLISHED, 1
        yield "output in a list", [{"name": "output_form", "form": "list"}], PUBLISHED, 1
        yield "output late", [{"name": "output_form", "form": "null"}], PUBLISHED, 1
        yield "no output", [{"name": "output_form", "form": "null", "times": None}], "video_expired", 1
    elif vendor == "kling":
        yield "charged failure", [{"name": "fail", "code": "charged"}], "video_failed", 1
        yield "expired URL", [{"name": "url_expired", "times": 4}], PUBLISHED, 1
        yield "billed in units", [{"name": "billed_in_units"}], PUBLISHED, 1
        yield "older webhook", [{"name": "webhook_legacy"}], PUBLISHED, 1
    else:
        yield "cancelled", [{**canceled, "times": 2}], "video_canceled", 0
        yield "quote in words", [{"name": "quote_in_words"}], PUBLISHED, 1


#: One for each vendor runs with the fast tests.
FAST = {("replicate", "lost answer, listed late"), ("kling", "expired URL"), ("higgsfield", "503")}
CASES = [
    pytest.param(
        vendor,
        faults,
        end,
        charges,
        id=f"{vendor}: {name}",
        marks=[] if (vendor, name) in FAST else [pytest.mark.slow],
    )
    for vendor in VENDORS
    for name, faults, end, charges in faults_of(vendor)
]


@pytest.fixture(scope="module")
def vendors(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product with all vendors, and a project for each."""
    secret = sandbox_process.client.get("/replicate/v1/webhooks/default/secret").json()["key"]
    with (
        contextmanager(fresh_database)(postgres_server, migrated_template) as dsn,
        tempfile.TemporaryDirectory(prefix="myloware-app-", dir=fast_folder()) as folder,
    ):
        settings = settings_for(dsn, Path(folder), sandbox_process, **vendor_settings(sandbox_process.url, secret))
        (Path(folder) / "profiles.toml").write_text(PROFILES + vendor_profiles(lookup_window_seconds=2))
        for vendor in VENDORS:
            text = TINY_PROJECT.replace("clips: 1\n", f"clips: 1\nvideo: {{provider: {vendor}}}\n", 1)
            (Path(folder) / "projects" / f"{vendor}.md").write_text(text)
        app = App(settings, sandbox_process)
        app.settings = settings.model_copy(update={"public_url": url_of(app._listening)})
        with app:
            yield app


@pytest.mark.parametrize(("vendor", "faults", "end", "charges"), CASES)
@pytest.mark.slow
def test_a_run_with_a_fault_is_charged_once(
    vendors: App, sandbox: SandboxClient, vendor: str, faults: list[Fault], end: str, charges: int
) -> None:
    """It is published once, or has failed with the reason, or says what it waits for."""
    run_id = vendors.start(project=vendor)
    vendors.until(run_id, "awaiting_ideation_approval")
    for fault in faults:
        sandbox.fault(**fault)
    vendors.decide(run_id, "ideation")
    found = _end_of(vendors, run_id, end)
    paid = [charge for charge in sandbox.charges(run_id) if charge["usd"]]

    assert (found, len(paid)) == (end, charges)
    if end == PUBLISHED:
        digest = vendors.run(run_id)["review"]["content"]["film"]["digest"]
        vendors.decide(run_id, "publish")
        vendors.until(run_id, "completed")
        assert len(sandbox.posts(digest)) == 1
        assert len([charge for charge in sandbox.charges(run_id) if charge["usd"]]) == charges


def _end_of(app: App, run_id: str, awaited: str) -> str:
    """Return `published` once the film can be, or the code of the error or of the trouble that is `awaited`."""

    def has_ended(run: dict[str, Any]) -> bool:
        is_in_trouble = run["waiting"] and run["waiting"]["code"] == awaited
        return is_in_trouble or run["status"] in ("failed", "awaiting_publish_approval")

    run = app.until_true(run_id, has_ended, status="an end")
    if run["status"] == "awaiting_publish_approval":
        return PUBLISHED
    code: str = (run["error"] or run["waiting"])["code"]
    return code
