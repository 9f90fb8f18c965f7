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
from runs.collect import collect
from runs.production import Production
from storage import decisions
from storage.pool import Database
from tests.ledger.shop import Shops, an_order, approval, decide, events_of, new_run, state_of
from tests.world import Sandbox


@pytest.mark.parametrize("fault", ["no approval", "another digest", "no such decision", "another run", "another clip"])
async def test_approval_for_exactly_this(production: Production, shops: Shops, fault: str) -> None:
    """An approval counts for what it was given for, and for nothing else."""
    run, other = await new_run(production.db), await new_run(production.db)
    given = await approval(production.db, run)
    approvals: dict[str, Approval | None] = {
        "no approval": None,
        "another digest": replace(given, digest="0" * 64),
        "no such decision": replace(given, decision=given.decision + 100),
        "another run": await approval(production.db, other),
        "another clip": replace(await approval(production.db, run, "publish", clips=[2]), clip=1),
    }
    order = an_order(run, approvals[fault])

    await production.ledger.once(order)

    assert shops.clip.calls == 0
    [refused] = await events_of(production.db, run, "order.refused")
    assert refused["payload"]["code"] == "not_approved"


async def test_clip_asked_to_be_made_again(production: Production, shops: Shops) -> None:
    """The wish to have one clip made again pays for that clip."""
    run = await new_run(production.db)

    await production.ledger.once(an_order(run, await approval(production.db, run, "publish", clips=[2]), number=2))

    assert shops.clip.calls == 1


async def test_revision_approves_nothing_else(production: Production, shops: Shops) -> None:
    """Who asked for changes has approved no publication of what was shown."""
    run = await new_run(production.db)
    asked = await approval(production.db, run, "publish", clips=[2])

    await production.ledger.once(an_order(run, replace(asked, clip=None), kind="publication"))

    assert shops.publication.calls == 0


async def test_one_review_one_decision(production: Production) -> None:
    """A review that was decided cannot be decided again, also not by another row."""
    run = await new_run(production.db)
    given = await approval(production.db, run)

    with pytest.raises(AssertionError):
        await decide(production.db, run, "ideation", 1, given.digest)

    assert len(await decisions.of_run(production.db, run)) == 1


async def film_and_publisher(production: Production, sandbox: Sandbox, client: httpx.AsyncClient, **options: Any):
    """A kept film, the order to publish it under an approval, and the publisher."""
    film = production.scratch.parent / "film.mp4"
    film.write_bytes(production.scratch.as_posix().encode() * 100)
    digest = await production.artifacts.keep(film, kind="final_video", media_type="video/mp4", facts={})
    production.ledger.providers = {
        **production.ledger.providers,
        "publication": UploadPost(f"{sandbox.url}/api", "any", "studio", production.artifacts, client, **options),
    }
    run = await new_run(production.db)
    request = {"digest": digest, "title": "Rain", "caption": "Rain.", "hashtags": ["#rain"], "platforms": ["tiktok"]}
    approved = await approval(production.db, run, "publish")
    return digest, Order(f"{run}:publication:1:1", run, "publication", request, approval=approved)


async def test_one_changed_byte(production: Production, sandbox: Sandbox) -> None:
    """A film of which one byte was changed after the approval is not published."""
    async with httpx.AsyncClient() as client:
        digest, order = await film_and_publisher(production, sandbox, client)
        kept = await production.artifacts.local(digest)
        whole = bytearray(kept.read_bytes())
        whole[len(whole) // 2] ^= 1
        kept.chmod(0o600)
        kept.write_bytes(whole)

        await production.ledger.once(order)
        await collect(production, order.key)

    row = await production.ledger.row(order.key)
    assert row is not None
    assert (row["state"], (row["result"] or {})["code"]) == ("failed", "artifact_changed")
    assert [post for post in sandbox.client.get("/sandbox/posts").json() if post["user"] == "studio"] == []


async def test_upload_without_an_answer(production: Production, sandbox: Sandbox) -> None:
    """An upload that was taken and not answered is found by its id, and never sent again."""
    sandbox.fault("upload_accept_then_timeout", seconds=2.0)
    async with httpx.AsyncClient() as client:
        digest, order = await film_and_publisher(production, sandbox, client, upload_seconds=0.5)

        await production.ledger.once(order)
        for _ in range(3):
            await production.ledger.once(order)
        assert await state_of(production, order.key) == "reserved"
        await collect(production, order.key)

    assert await state_of(production, order.key) == "submitted"
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
async def test_tampering_is_found(production: Production, how: str) -> None:
    """Whatever is done to the decisions afterwards is found."""
    await decided(production.db, 5)
    assert await decisions.verify(production.db) == []

    async with production.db.pool.connection() as connection:
        for statement in TAMPERING[how].split(";"):
            await connection.execute(statement)  # type: ignore[arg-type]

    assert await decisions.verify(production.db) != []


async def test_decisions_from_before_a_column_came(production: Production) -> None:
    """Those that were hashed without the columns that came later, or with an empty one of them, are whole."""
    await decided(production.db, 2)
    (first, second) = await production.db.fetch_all("select * from decisions order by number")
    older = decisions.hash_of(first, empty=("takes",))
    second = {**second, "previous_hash": older}
    for number, digest, previous in ((1, older, first["previous_hash"]), (2, decisions.hash_of(second), older)):
        await production.db.execute(
            "update decisions set hash = %s, previous_hash = %s where number = %s", (digest, previous, number)
        )
        await production.db.execute(
            "update events set payload = payload || jsonb_build_object('hash', %s::text)"
            " where kind = 'decision.made' and payload ->> 'number' = %s",
            (digest, str(number)),
        )

    assert older != first["hash"]
    assert await decisions.verify(production.db) == []


def test_audit_verify(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`myloware audit verify` says so, and fails, when a decision was changed."""
    import asyncio

    from tests.ledger.shop import opened

    async def prepared(statement: str | None) -> None:
        async with opened(database_url, Shops(), tmp_path) as parts:
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
