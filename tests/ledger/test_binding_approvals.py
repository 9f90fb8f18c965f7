"""Only approved content is ordered and published, byte for byte, and decisions cannot be changed unnoticed."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from providers.http import Limits
from providers.orders import Approval, Order, OrderKey
from providers.publications.upload_post import UploadPost
from runs.reconcile import reconcile_order
from runs.services import Services
from storage import decisions
from storage.database import Database
from storage.decision_chain import verify_chain
from tests.app import SandboxClient
from tests.ledger.fake_provider import (
    FakeProviders,
    approval,
    events_of,
    new_order,
    new_run,
    open_services,
    record_decision,
    state_of,
)


@pytest.mark.parametrize(
    "fault", ["no approval", "another digest", "no such decision", "another run", "another clip", "a comment"]
)
async def test_order_without_its_approval_is_refused(
    services: Services, fake_providers: FakeProviders, fault: str
) -> None:
    """An approval counts for the content it was given for, and for nothing else."""
    run, other = await new_run(services.db), await new_run(services.db)
    approved = await approval(services.db, run)
    approvals: dict[str, Approval | None] = {
        "no approval": None,
        "another digest": replace(approved, digest="0" * 64),
        "no such decision": replace(approved, decision=approved.decision + 100),
        "another run": await approval(services.db, other),
        "another clip": replace(await approval(services.db, run, "publish", clips=[2]), clip=1),
        "a comment": replace(await approval(services.db, run, "publish", comment="Clip 1 again", revision=2), clip=1),
    }
    order = new_order(run, approvals[fault])

    await services.ledger.place_once(order)

    assert fake_providers.clip.calls == 0
    [refused] = await events_of(services.db, run, "order.refused")
    assert refused["payload"]["code"] == "not_approved"


async def test_requested_clip_is_ordered_again(services: Services, fake_providers: FakeProviders) -> None:
    """A request to generate a clip again approves the order of that clip."""
    run = await new_run(services.db)

    await services.ledger.place_once(new_order(run, await approval(services.db, run, "publish", clips=[2]), number=2))

    assert fake_providers.clip.calls == 1


async def test_request_for_changes_approves_no_publication(services: Services, fake_providers: FakeProviders) -> None:
    """A request for changes does not approve the publication of the reviewed film."""
    run = await new_run(services.db)
    revision = await approval(services.db, run, "publish", clips=[2])

    await services.ledger.place_once(new_order(run, replace(revision, clip=None), kind="publication"))

    assert fake_providers.publication.calls == 0


async def test_review_is_decided_once(services: Services) -> None:
    """A decided review cannot be decided again, not even by another row."""
    run = await new_run(services.db)
    approved = await approval(services.db, run)

    with pytest.raises(AssertionError):
        await record_decision(services.db, run, "ideation", 1, approved.digest)

    assert len(await decisions.list_decisions(services.db, run)) == 1


class HurriedUploadPost(UploadPost):
    limits = Limits(submit_seconds=0.5)


async def approved_publication(
    services: Services, sandbox: SandboxClient, client: httpx.AsyncClient, publisher: type[UploadPost] = UploadPost
) -> tuple[str, Order]:
    """Store a film, register the sandbox as the publisher, and return the film's digest and its approved order."""
    film = services.scratch.parent / "film.mp4"
    film.write_bytes(services.scratch.as_posix().encode() * 100)
    digest = await services.artifacts.store(film, kind="final_video", media_type="video/mp4", facts={})
    services.ledger.providers = {
        **services.ledger.providers,
        "publication": [publisher(f"{sandbox.url}/api", "any", "studio", services.artifacts, client)],
    }
    run = await new_run(services.db)
    request = {"digest": digest, "title": "Rain", "caption": "Rain.", "hashtags": ["#rain"], "platforms": ["tiktok"]}
    approved = await approval(services.db, run, "publish")
    return digest, Order(OrderKey(run, "publication"), "publication", request, approval=approved)


async def test_film_with_a_changed_byte_is_not_published(services: Services, sandbox: SandboxClient) -> None:
    """A film with one byte changed after the approval is not published."""
    async with httpx.AsyncClient() as client:
        digest, order = await approved_publication(services, sandbox, client)
        stored = await services.artifacts.local_path(digest)
        content = bytearray(stored.read_bytes())
        content[len(content) // 2] ^= 1
        stored.chmod(0o600)
        stored.write_bytes(content)

        await services.ledger.place_once(order)
        await reconcile_order(services, str(order.key))

    row = await services.ledger.get(str(order.key))
    assert row is not None
    assert (row.state, (row.result or {})["code"]) == ("failed", "artifact_changed")
    assert [post for post in sandbox.client.get("/sandbox/posts").json() if post["user"] == "studio"] == []


async def test_upload_without_an_answer_is_not_repeated(services: Services, sandbox: SandboxClient) -> None:
    """An upload that was accepted and not answered is found by its id, and never sent again."""
    sandbox.fault("upload_accept_then_timeout", seconds=2.0)
    async with httpx.AsyncClient() as client:
        digest, order = await approved_publication(services, sandbox, client, HurriedUploadPost)

        await services.ledger.place_once(order)
        for _ in range(3):
            await services.ledger.place_once(order)
        assert await state_of(services, order.key) == "reserved"
        await reconcile_order(services, str(order.key))

    assert await state_of(services, order.key) == "submitted"
    assert len(sandbox.posts(digest)) == 1


async def record_decisions(db: Database, count: int) -> None:
    """Record this many decisions, each about another run."""
    for _ in range(count):
        await approval(db, await new_run(db))


TAMPERING = {
    "another idempotency key": "update decisions set idempotency_key = 'other' where number = 2",
    "another actor": "update decisions set actor_name = 'Ben' where number = 2",
    "takes added": "update decisions set takes = '{\"1\": 2}' where number = 2",
    "edited": "update decisions set comment = 'Go on.' where number = 3",
    "edited verdict": "update decisions set verdict = 'reject' where number = 2",
    "removed in the middle": "delete from decisions where number = 3",
    "removed at the end": "delete from decisions where number = 5",
    "removed at the beginning": "delete from decisions where number = 1",
    "all removed": "delete from decisions",
    "reordered": "update decisions set number = case number when 2 then 103 else 102 end where number in (2, 3);"
    " update decisions set number = number - 100 where number > 100",
    "closed up after a removal": "delete from decisions where number = 3;"
    " update decisions set number = number - 1 where number > 3",
}


@pytest.mark.parametrize("change", list(TAMPERING))
async def test_tampering_is_found(services: Services, change: str) -> None:
    """Any later change of the decisions is found."""
    await record_decisions(services.db, 5)
    assert await verify_chain(services.db) == []

    async with services.db.pool.connection() as connection:
        for statement in TAMPERING[change].split(";"):
            await connection.execute(statement)  # type: ignore[arg-type]  # not a literal

    assert await verify_chain(services.db) != []


#: What removes the newest decision so that neither the chain nor the events of its run miss it.
TRACELESS = (
    "set local session_replication_role = replica",  # as a superuser can: the foreign key of orders is not checked
    "delete from events where kind = 'decision.recorded' and payload ->> 'number' = '5'",
    "delete from decisions where number = 5",
)


async def remove_newest(db: Database, *further: str) -> None:
    async with db.transaction() as connection:
        for statement in (*TRACELESS, *further):
            await connection.execute(statement)  # type: ignore[arg-type]  # not a literal


@pytest.mark.parametrize(
    ("further", "fault"),
    [
        ("select 1", "was placed under decision 5, which is missing."),
        ("update orders set decision = null", "was placed under no decision."),
        ("update orders set decision = 4", "was placed under decision 4, which does not approve it."),
        ("update orders set decision = 3", "was placed under decision 3, which does not approve it."),
    ],
)
async def test_an_order_without_its_decision_is_found(services: Services, further: str, fault: str) -> None:
    """A removed newest decision is missed by the order that it approved, whatever else the order names."""
    await record_decisions(services.db, 3)
    run = await new_run(services.db)
    await approval(services.db, run)
    order = new_order(run, await approval(services.db, run, "publish"), kind="publication")
    await services.ledger.place_once(order)
    assert await verify_chain(services.db) == []

    await remove_newest(services.db, further)

    assert await verify_chain(services.db) == [f"Order {order.key} {fault}"]


async def test_a_refused_order_needs_no_decision(services: Services, fake_providers: FakeProviders) -> None:
    """What the ledger refused was never placed."""
    await services.ledger.place_once(new_order(await new_run(services.db), None))

    assert await verify_chain(services.db) == []


async def test_a_head_that_was_kept_finds_what_left_no_trace(services: Services) -> None:
    """The newest decision approved no order, and its event was removed with it."""
    assert await decisions.chain_head(services.db) == (0, decisions.GENESIS)
    await record_decisions(services.db, 4)
    _, earlier = await decisions.chain_head(services.db)
    await record_decisions(services.db, 1)
    count, head = await decisions.chain_head(services.db)
    assert count == 5
    assert await verify_chain(services.db, head) == []

    await remove_newest(services.db)

    assert await verify_chain(services.db) == []
    assert await verify_chain(services.db, earlier) == []
    assert await verify_chain(services.db, head) == [
        f"No decision has the hash {head}: decisions were changed or removed since it was the head."
    ]


def test_audit_verify(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`myloware audit verify` prints the head of the chain, compares it with an earlier one, and reports a change."""

    async def prepare(statement: str | None) -> None:
        async with open_services(database_url, FakeProviders(), tmp_path) as services:
            if statement is None:
                await record_decisions(services.db, 3)
            else:
                await services.db.execute(statement)  # type: ignore[arg-type]  # not a literal

    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MYLOWARE_DATA_DIR", str(tmp_path))
    asyncio.run(prepare(None))
    intact = CliRunner().invoke(app, ["audit", "verify"])
    head = intact.stdout.split()[-1]
    kept = CliRunner().invoke(app, ["audit", "verify", "--head", head])
    foreign = CliRunner().invoke(app, ["audit", "verify", "--head", "1" * 64])
    invalid = CliRunner().invoke(app, ["audit", "verify", "--head", "newest"])
    asyncio.run(prepare("update decisions set actor_id = 'ben' where number = 2"))
    changed = CliRunner().invoke(app, ["audit", "verify"])

    assert (intact.exit_code, intact.stdout) == (0, f"3 decisions, 0 faults\nhead {head}\n")
    assert re.fullmatch("[0-9a-f]{64}", head)
    assert (kept.exit_code, foreign.exit_code, invalid.exit_code) == (0, 1, 1)
    assert f"No decision has the hash {'1' * 64}" in foreign.stdout
    assert changed.exit_code == 1
    assert "Decision 2 was changed after it was recorded." in changed.stdout
