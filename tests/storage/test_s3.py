"""Artifacts in a real S3 server over plain http: moto, in an environment of its own."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from providers.base import Unavailable
from storage.artifacts import Artifacts
from storage.backup import Service, restore_backup, write_backup
from storage.database import Database, open_pool
from tests.app import App, SandboxClient, open_app
from tests.cli.terminals import run_command, settings_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BUCKET = "films"


@pytest.fixture(scope="module")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the server, installed by the first process of the tests that needs it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "moto"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            python = folder / "venv/bin/python"
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
            # `moto[server]` has the packages of all services. Most modules are never imported: they are not compiled.
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "--python", python]
            subprocess.run(
                [*pip, "install", "--no-compile", "moto[s3]>=5", "flask", "flask-cors"], check=True, capture_output=True
            )
    return folder / "venv/bin/moto_server"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(moto_server: Path, port: int, log: Path) -> Iterator[dict[str, str]]:
    """Run an S3 server with one bucket for the block, and yield the environment that names it."""
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        server = subprocess.Popen([str(moto_server), "-p", str(port)], stdout=output, stderr=output)
    try:
        until_created(f"{url}/{BUCKET}", log)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "films",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def s3(moto_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that names a running S3 server, which has one bucket."""
    with running(moto_server, free_port(), tmp_path_factory.mktemp("s3") / "log") as environment:
        yield environment


def until_created(bucket: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert httpx.put(bucket).status_code == 200
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@contextmanager
def environ(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def test_files_are_stored_over_plain_http(s3: dict[str, str], db: Database, tmp_path: Path) -> None:
    """A file of several parts is stored, streamed and fetched; the probe leaves nothing behind."""
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(6_000_000))
    with environ(s3):
        artifacts = Artifacts(db, f"s3://{BUCKET}/productions", tmp_path / "cache")
    await artifacts.probe()
    digest = await artifacts.store(film, kind="clip", media_type="video/mp4", facts={})

    assert (await artifacts.local_path(digest)).read_bytes() == film.read_bytes()
    assert (
        b"".join([bytes(chunk) async for chunk in await artifacts.stream(digest, 10, 20)]) == film.read_bytes()[10:20]
    )
    async with httpx.AsyncClient() as client:
        listing = (await client.get(f"{s3['AWS_ENDPOINT_URL']}/{BUCKET}")).text
    assert f"productions/sha256/{digest[:2]}/{digest}" in listing
    assert "probe" not in listing


async def test_a_backup_moves_files_from_a_bucket_to_a_folder(
    s3: dict[str, str], database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    """The files are downloaded for the backup, and not kept in the cache."""
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(100_000))
    with environ(s3):
        async with open_pool(database_url, prepare=False) as pool:
            open_store = partial(Artifacts, Database(pool), f"s3://{BUCKET}/backup")
            stored = open_store(tmp_path / "cache")
            digest = await stored.store(film, kind="clip", media_type="video/mp4", facts={})
            service = Service(database_url, Database(pool), open_store, tmp_path / "a" / "c2pa.pem")
            await write_backup(service, tmp_path / "backup.tar", lambda files: files)
    async with open_pool(empty_database_url, prepare=False) as pool:
        open_store = partial(Artifacts, Database(pool), tmp_path / "artifacts")
        service = Service(empty_database_url, Database(pool), open_store, tmp_path / "b" / "c2pa.pem")
        manifest = await restore_backup(service, tmp_path / "backup.tar", lambda files: files, nothing_since=False)
        copied = await open_store(tmp_path / "cache").local_path(digest)

    assert (manifest.files, copied.read_bytes()) == (1, film.read_bytes())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("bucket", "words"), [("none", "404"), (BUCKET, "error sending request")], ids=["missing", "closed"]
)
async def test_probe_names_the_setting(
    s3: dict[str, str], db: Database, tmp_path: Path, bucket: str, words: str
) -> None:
    """A bucket that does not exist, and a server that refuses connections, are one sentence without an address."""
    closed = {} if bucket == "none" else {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with environ(s3 | closed):
        artifacts = Artifacts(db, f"s3://{bucket}/productions", tmp_path / "cache")
    with pytest.raises(Unavailable, match=words) as raised:
        await artifacts.probe()

    assert raised.value.message.startswith("MYLOWARE_STORE_URL: the store of clips and films cannot be used: ")
    assert "\n" not in raised.value.message
    assert "127.0.0.1" not in raised.value.message


def test_commands_probe_the_store(app: App, s3: dict[str, str], tmp_path: Path) -> None:
    """`doctor` reports the store; `serve` and `worker` stop with one sentence before anything is bought."""
    good = settings_of(app) | s3 | {"MYLOWARE_STORE_URL": f"s3://{BUCKET}/productions"}
    report = json.loads(run_command("doctor", "--json", cwd=tmp_path, **good).stdout)
    assert {check["check"]: check["ok"] for check in report["checks"]}["store"] is True
    bad = good | {"MYLOWARE_STORE_URL": "s3://none/productions"}
    report = json.loads(run_command("doctor", "--json", cwd=tmp_path, **bad).stdout)
    [store] = [check for check in report["checks"] if check["check"] == "store"]
    assert (store["ok"], store["message"].partition(":")[0]) == (False, "MYLOWARE_STORE_URL")
    for command in (("serve", "--port", "0"), ("worker",)):
        result = run_command(*command, cwd=tmp_path, **bad)
        [line] = result.stderr.strip().splitlines()
        assert (result.returncode, result.stdout) == (1, "")
        assert line.startswith("myloware: MYLOWARE_STORE_URL: the store of clips and films cannot be used: ")


def test_run_waits_for_a_store_that_cannot_be_reached(
    moto_server: Path, postgres_server: str, migrated_template: str, sandbox_process: SandboxClient, tmp_path: Path
) -> None:
    """It names the setting within ten seconds, and its clip is paid once, and stored, when the store is back."""
    port = free_port()
    with ExitStack() as stack:
        environment = stack.enter_context(running(moto_server, port, tmp_path / "log"))
        store = {"store_url": f"s3://{BUCKET}/productions"}
        with (
            environ(environment),
            open_app(postgres_server, migrated_template, sandbox_process, **store) as app,
        ):
            run_id = app.start("A heron in the reeds")
            app.until(run_id, "awaiting_ideation_approval")
            stack.close()
            app.decide(run_id, "ideation")
            app.until_true(run_id, lambda _: "order.submitted" in [event["kind"] for event in app.events(run_id)])
            waiting = app.until_true(run_id, lambda run: bool(run["waiting"]["code"]), seconds=10)["waiting"]
            assert waiting["code"] == "store_unavailable"
            assert waiting["last_answer"].startswith("MYLOWARE_STORE_URL: the store of clips and films cannot be used")

            with running(moto_server, port, tmp_path / "log"):
                app.client.post(f"/v1/runs/{run_id}/retry")  # 409 where the worker's own next attempt came first
                app.until(run_id, "awaiting_publish_approval")
                assert len(sandbox_process.charges(run_id)) == 1
