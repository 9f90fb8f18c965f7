"""Nothing is spent or published but what somebody approved, byte for byte; and what they said cannot be changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from providers.orders import Approval, Order
from providers.publications.upload_post import UploadPost
from runs.reconcile import reconcile_order
from runs.services import Services
from storage import decisions
from storage.database import Database
from tests.app import SandboxClient
from tests.ledger.fake_provider import FakeProviders, an_order, approval, decide, events_of, new_run, state_of


@pytest.mark.parametrize("fault", ["no approval", "another digest", "no such decision", "another run", "another clip"])
async def test_approval_for_exactly_this(services: Services, fake_providers: FakeProviders, fault: str) -> None:
    """An approval counts for what it was given for, and for nothing else."""
    run, other = await new_run(services.db), await new_run(services.db)
    given = await approval(services.db, run)
    approvals: dict[str, Approval | None] = {
        "no approval": None,
        "another digest": replace(given, digest="0" * 64),
        "no such decision": replace(given, decision=given.decision + 100),
        "another run": await approval(services.db, other),
        "another clip": replace(await approval(services.db, run, "publish", clips=[2]), clip=1),
    }
    order = an_order(run, approvals[fault])

    await services.ledger.place_once(order)

    assert fake_providers.clip.calls == 0
    [refused] = await events_of(services.db, run, "order.refused")
    assert refused["payload"]["code"] == "not_approved"


async def test_clip_asked_to_be_made_again(services: Services, fake_providers: FakeProviders) -> None:
    """The wish to have one clip made again pays for that clip."""
    run = await new_run(services.db)

    await services.ledger.place_once(an_order(run, await approval(services.db, run, "publish", clips=[2]), number=2))

    assert fake_providers.clip.calls == 1


async def test_revision_approves_nothing_else(services: Services, fake_providers: FakeProviders) -> None:
    """Who asked for changes has approved no publication of what was shown."""
    run = await new_run(services.db)
    asked = await approval(services.db, run, "publish", clips=[2])

    await services.ledger.place_once(an_order(run, replace(asked, clip=None), kind="publication"))

    assert fake_providers.publication.calls == 0


async def test_one_review_one_decision(services: Services) -> None:
    """A review that was decided cannot be decided again, also not by another row."""
    run = await new_run(services.db)
    given = await approval(services.db, run)

    with pytest.raises(AssertionError):
        await decide(services.db, run, "ideation", 1, given.digest)

    assert len(await decisions.list_decisions(services.db, run)) == 1


async def film_and_publisher(services: Services, sandbox: SandboxClient, client: httpx.AsyncClient, **options: Any):
    """A kept film, the order to publish it under an approval, and the publisher."""
    film = services.scratch.parent / "film.mp4"
    film.write_bytes(services.scratch.as_posix().encode() * 100)
    digest = await services.artifacts.store(film, kind="final_video", media_type="video/mp4", facts={})
    services.ledger.providers = {
        **services.ledger.providers,
        "publication": UploadPost(f"{sandbox.url}/api", "any", "studio", services.artifacts, client, **options),
    }
    run = await new_run(services.db)
    request = {"digest": digest, "title": "Rain", "caption": "Rain.", "hashtags": ["#rain"], "platforms": ["tiktok"]}
    approved = await approval(services.db, run, "publish")
    return digest, Order(f"{run}:publication:1:1", run, "publication", request, approval=approved)


async def test_one_changed_byte(services: Services, sandbox: SandboxClient) -> None:
    """A film of which one byte was changed after the approval is not published."""
    async with httpx.AsyncClient() as client:
        digest, order = await film_and_publisher(services, sandbox, client)
        kept = await services.artifacts.local_path(digest)
        whole = bytearray(kept.read_bytes())
        whole[len(whole) // 2] ^= 1
        kept.chmod(0o600)
        kept.write_bytes(whole)

        await services.ledger.place_once(order)
        await reconcile_order(services, order.key)

    row = await services.ledger.get(order.key)
    assert row is not None
    assert (row["state"], (row["result"] or {})["code"]) == ("failed", "artifact_changed")
    assert [post for post in sandbox.client.get("/sandbox/posts").json() if post["user"] == "studio"] == []


async def test_upload_without_an_answer(services: Services, sandbox: SandboxClient) -> None:
    """An upload that was taken and not answered is found by its id, and never sent again."""
    sandbox.fault("upload_accept_then_timeout", seconds=2.0)
    async with httpx.AsyncClient() as client:
        digest, order = await film_and_publisher(services, sandbox, client, upload_seconds=0.5)

        await services.ledger.place_once(order)
        for _ in range(3):
            await services.ledger.place_once(order)
        assert await state_of(services, order.key) == "reserved"
        await reconcile_order(services, order.key)

    assert await state_of(services, order.key) == "submitted"
    assert len(sandbox.posts(digest)) == 1


async def decided(db: Database, many: int) -> None:
    """So many decisions, of several runs."""
    for _ in range(many):
        await approval(db, await new_run(db))


TAMPERING = {
    "another name of the request": "update decisions set request = 'other' where number = 2",
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


@pytest.mark.parametrize("how", list(TAMPERING))
async def test_tampering_is_found(services: Services, how: str) -> None:
    """Whatever is done to the decisions afterwards is found."""
    await decided(services.db, 5)
    assert await decisions.verify_chain(services.db) == []

    async with services.db.pool.connection() as connection:
        for statement in TAMPERING[how].split(";"):
            await connection.execute(statement)  # type: ignore[arg-type]

    assert await decisions.verify_chain(services.db) != []


async def test_decisions_from_before_a_column_came(services: Services) -> None:
    """Those that were hashed without the columns that came later, or with an empty one of them, are whole."""
    await decided(services.db, 2)
    (first, second) = await services.db.fetch_all("select * from decisions order by number")
    older = decisions.hash_of(first, empty=("takes",))
    second = {**second, "previous_hash": older}
    for number, digest, previous in ((1, older, first["previous_hash"]), (2, decisions.hash_of(second), older)):
        await services.db.execute(
            "update decisions set hash = %s, previous_hash = %s where number = %s", (digest, previous, number)
        )
        await services.db.execute(
            "update events set payload = payload || jsonb_build_object('hash', %s::text)"
            " where kind = 'decision.recorded' and payload ->> 'number' = %s",
            (digest, str(number)),
        )

    assert older != first["hash"]
    assert await decisions.verify_chain(services.db) == []


def test_audit_verify(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`myloware audit verify` says so, and fails, when a decision was changed."""
    import asyncio

    from tests.ledger.fake_provider import opened

    async def prepared(statement: str | None) -> None:
        async with opened(database_url, FakeProviders(), tmp_path) as parts:
            if statement is None:
                await decided(parts.db, 3)
            else:
                await parts.db.execute(statement)  # type: ignore[arg-type]

    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MYLOWARE_DATA_DIR", str(tmp_path))
    asyncio.run(prepared(None))
    whole = CliRunner().invoke(app, ["audit", "verify"])
    asyncio.run(prepared("update decisions set decided_by = 'ben' where number = 2"))
    changed = CliRunner().invoke(app, ["audit", "verify"])

    assert (whole.exit_code, whole.stdout.strip()) == (0, "3 decisions, 0 faults")
    assert changed.exit_code == 1
    assert "Decision 2 was changed after it was made." in changed.stdout
