"""A backup has everything, is refused where it does not fit, and is restored as a whole, with its runs on hold."""

from __future__ import annotations

import itertools
import json
import tarfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from providers.base import ArtifactChanged
from storage import decisions
from storage.artifacts import Artifacts
from storage.backup import BackupError, Manifest, Service, restore_backup, write_backup
from storage.database import Database, open_pool
from storage.decision_chain import verify_chain
from storage.embedded_postgres import EmbeddedPostgres
from storage.locks import Locks
from storage.migrate import migrate, newest_schema
from tests.cli.terminals import run_command
from tests.ledger.fake_provider import approval, new_run

FILM = b"film" * 1000
Change = Callable[[dict[str, bytes]], object]


@asynccontextmanager
async def _service(dsn: str, folder: Path) -> AsyncIterator[Service]:
    folder.mkdir(parents=True, exist_ok=True)
    async with open_pool(dsn, prepare=False) as pool:
        db = Database(pool)
        yield Service(dsn, db, partial(Artifacts, db, folder / "artifacts"), folder / "c2pa.pem")


async def _fill(service: Service) -> tuple[str, str]:
    """Write an open run with a decision, a completed run, a stored file and a key; return the ids of run and file."""
    run, ended = await new_run(service.db), await new_run(service.db)
    await approval(service.db, run)
    await service.db.execute("update runs set status = 'completed' where id = %s", (ended,))
    film = service.key_file.with_name("film.mp4")
    film.write_bytes(FILM)
    store = service.open_store(film.parent / "cache")
    digest = await store.store(film, kind="film", media_type="video/mp4", facts={})
    service.key_file.write_bytes(b"key")
    return run, digest


def _ignore(files: Sequence[str]) -> Sequence[str]:
    return files


async def _held(service: Service) -> list[UUID]:
    return [row["run_id"] for row in await service.db.fetch_all("select run_id from restored_runs")]


async def _has_tables(service: Service) -> bool:
    return bool(await service.db.fetch_all("select from pg_tables where schemaname = 'public'"))


async def test_everything_is_restored(database_url: str, empty_database_url: str, tmp_path: Path) -> None:
    """Rows, files, key and audit chain are there, the run that had not ended is held, and triggers work."""
    async with _service(database_url, tmp_path / "a") as source, Locks(database_url):
        run, digest = await _fill(source)
        written = await write_backup(source, tmp_path / "backup.tar", _ignore)
        head = await decisions.chain_head(source.db)
    assert (written.runs, written.unfinished, written.files, written.is_idle) == (2, 1, 1, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "backup.tar"]

    async with _service(empty_database_url, tmp_path / "b") as target:
        restored = await restore_backup(target, tmp_path / "backup.tar", _ignore, nothing_since=False)
        assert restored == written
        assert await migrate(empty_database_url) == []
        assert await _held(target) == [UUID(run)]
        path = await target.open_store(tmp_path / "cache").local_path(digest)
        assert (path.read_bytes(), (tmp_path / "b" / "c2pa.pem").read_bytes()) == (FILM, b"key")
        assert await verify_chain(target.db, head[1]) == []
        assert await decisions.chain_head(target.db) == head
        assert await new_run(target.db)
        with pytest.raises(BackupError, match="not empty"):
            await restore_backup(target, tmp_path / "backup.tar", _ignore, nothing_since=False)
        with pytest.raises(BackupError, match="exists"):
            await write_backup(target, tmp_path / "backup.tar", _ignore)


async def test_a_second_restore_keeps_the_earlier_hold(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    """Of two restores the earlier backup counts; a person released for one of them only."""
    earlier = "2026-01-02 03:04:05+00"
    async with _service(database_url, tmp_path / "a") as source:
        run, _ = await _fill(source)
        await source.db.execute("insert into restored_runs values (%s, %s)", (run, earlier))
        key = f"{run}:render:1:1"
        await source.db.insert(
            "orders", {"key": key, "run_id": run, "kind": "render", "provider": "p", "request": {}, "amount_usd": 0}
        )
        await source.db.execute("update orders set released_at = now()")
        await write_backup(source, tmp_path / "backup.tar", _ignore)
    async with _service(empty_database_url, tmp_path / "b") as target:
        await restore_backup(target, tmp_path / "backup.tar", _ignore, nothing_since=False)
        [row] = await target.db.fetch_all("select since = %s as kept from restored_runs", (earlier,))
        [order] = await target.db.fetch_all("select released_at from orders")

    assert (row["kept"], order["released_at"]) == (True, None)


async def test_a_move_needs_no_hold(database_url: str, empty_database_url: str, tmp_path: Path) -> None:
    """Nothing is held if no service ran during the backup, and the operator says that none ran afterwards."""
    async with _service(database_url, tmp_path / "a") as source:
        await _fill(source)
        await write_backup(source, tmp_path / "idle.tar", _ignore)
        async with Locks(database_url):
            await write_backup(source, tmp_path / "running.tar", _ignore)
    async with _service(empty_database_url, tmp_path / "b") as target:
        with pytest.raises(BackupError, match="A service was running"):
            await restore_backup(target, tmp_path / "running.tar", _ignore, nothing_since=True)
        assert not await _has_tables(target)
        await restore_backup(target, tmp_path / "idle.tar", _ignore, nothing_since=True)
        assert await _held(target) == []


async def test_a_backup_of_an_earlier_version_is_held(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    """The hold is there before the migration that the earlier version lacks."""
    async with _service(database_url, tmp_path / "a") as source:
        run, _ = await _fill(source)
        await source.db.execute("drop table restored_runs")
        await source.db.execute("alter table orders drop column lookup_since, drop column released_at")
        await source.db.execute("delete from schema_history where name like '%0016_restores.sql'")
        await write_backup(source, tmp_path / "backup.tar", _ignore)
    async with _service(empty_database_url, tmp_path / "b") as target:
        await restore_backup(target, tmp_path / "backup.tar", _ignore, nothing_since=False)
        assert await migrate(empty_database_url) == ["myloware/0016_restores.sql"]
        assert await _held(target) == [UUID(run)]


def _rewrite(source: Path, target: Path, change: Change) -> None:
    """Write a backup again with changed members."""
    with tarfile.open(source) as old:
        members = {name: old.extractfile(name).read() for name in old.getnames()}  # type: ignore[union-attr]
    change(members)
    with tarfile.open(target, "w") as new:
        for name, content in members.items():
            path = target.with_name("member")
            path.write_bytes(content)
            new.add(path, name)


def _change_manifest(members: dict[str, bytes], **values: Any) -> None:
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | values).encode()


def _damage_file(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("store/"))
    members[name] = b"another film"


def _cut_dump(members: dict[str, bytes]) -> None:
    """Cut the dump, with the digest of what is left: its first tables can be restored."""
    members["database.dump"] = members["database.dump"][:-20_000]
    _change_manifest(members, dump_digest=sha256(members["database.dump"]).hexdigest())


NEWER = [*sorted(newest_schema()), "myloware/9999_later.sql"]
REFUSED: dict[str, tuple[Change, str]] = {
    "incomplete": (lambda members: members.pop("manifest.json"), "no complete backup"),
    "damaged dump": (lambda members: members.update({"database.dump": b"x"}), "is damaged"),
    "damaged file": (_damage_file, "was changed"),
    "missing file": (lambda members: members.pop(next(n for n in members if n.startswith("store/"))), "is damaged"),
    "cut dump": (_cut_dump, "cannot be restored"),
    "newer": (
        lambda members: _change_manifest(members, version="9.9", migrations=NEWER),
        "MyloWare 9.9: this version does not know myloware/9999",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_restored_changes_nothing(
    database_url: str, empty_database_url: str, tmp_path: Path, name: str
) -> None:
    """An incomplete, damaged or newer backup is refused in one sentence, and the database stays empty."""
    async with _service(database_url, tmp_path / "a") as source:
        await _fill(source)
        await write_backup(source, tmp_path / "backup.tar", _ignore)
    change, sentence = REFUSED[name]
    _rewrite(tmp_path / "backup.tar", tmp_path / "changed.tar", change)
    async with _service(empty_database_url, tmp_path / "b") as target:
        with pytest.raises((BackupError, ArtifactChanged), match=sentence):
            await restore_backup(target, tmp_path / "changed.tar", _ignore, nothing_since=False)
        assert not await _has_tables(target)
        await restore_backup(target, tmp_path / "backup.tar", _ignore, nothing_since=False)
        assert await _held(target)


async def test_a_file_that_is_gone_is_named(database_url: str, tmp_path: Path) -> None:
    """A backup is written without a file that the store lacks, and says which one."""
    async with _service(database_url, tmp_path / "a") as source:
        _, digest = await _fill(source)
        (await source.open_store(tmp_path / "cache").local_path(digest)).unlink()
        manifest = await write_backup(source, tmp_path / "backup.tar", _ignore)

    assert (manifest.files, manifest.missing) == (0, [digest])
    with tarfile.open(tmp_path / "backup.tar") as tar:
        stored = tar.extractfile("manifest.json")
        assert stored is not None
        assert Manifest.model_validate_json(stored.read()) == manifest
        assert {member.mode & 0o077 for member in tar} <= {0o044, 0}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_from_embedded_to_a_postgres_of_ones_own_and_back(tmp_path: Path) -> None:
    """Three commands each way; no row is lost, and the password of the database is in no argument."""
    with EmbeddedPostgres(tmp_path / "a" / "postgres") as first:
        await migrate(first.dsn)
        async with _service(first.dsn, tmp_path / "a") as source:
            run, digest = await _fill(source)
            head = await decisions.chain_head(source.db)
    with EmbeddedPostgres(tmp_path / "own") as own:
        moves: list[tuple[str, dict[str, str]]] = [
            ("a", {}),
            ("b", {"DATABASE_URL": own.dsn}),
            ("c", {}),
        ]
        for (old, old_settings), (new, new_settings) in itertools.pairwise(moves):
            folders = {name: {"MYLOWARE_DATA_DIR": str(tmp_path / name)} for name in (old, new)}
            file = str(tmp_path / f"{old}.tar")
            written = run_command("backup", file, cwd=tmp_path, **folders[old], **old_settings)
            assert (written.returncode, "runs: 2, stored files: 1." in written.stdout) == (0, True), written.stderr
            restored = run_command("restore", file, cwd=tmp_path, **folders[new], **new_settings)
            assert (restored.returncode, "Runs on hold: 1." in restored.stderr) == (0, True), restored.stderr
            again = run_command("restore", file, cwd=tmp_path, **folders[new], **new_settings)
            assert (again.returncode, "not empty" in again.stderr) == (1, True)
    with EmbeddedPostgres(tmp_path / "c" / "postgres") as last:
        async with _service(last.dsn, tmp_path / "c") as target:
            assert await decisions.chain_head(target.db) == head
            assert await _held(target) == [UUID(run)]
            assert (await target.open_store(tmp_path / "cache").local_path(digest)).read_bytes() == FILM
