"""What stands in for whatever is not set: an embedded database, and the sandbox for every vendor."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

import httpx
from pydantic import SecretStr

from api.settings import Settings, SettingsError, read_settings
from api.wiring import check_settings
from cli.output import fail
from storage.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

SANDBOX_MODEL, SANDBOX_VIDEO = "sandbox-rules", "sandbox-video"
START_SECONDS = 30.0


def checked_settings() -> Settings:
    """The settings of this process, with everything that they name read, before anything is started.

    Ends the program with one sentence if one of them cannot be used.
    """
    try:
        settings = read_settings()
        if settings.video_missing:
            settings.projects()
        else:
            check_settings(settings)
    except ValueError as error:
        fail(str(error))
    return settings


@asynccontextmanager
async def with_local_services(
    settings: Settings, *, webhooks_to: str | None = None, with_sandbox: bool = True
) -> AsyncIterator[Settings]:
    """These settings with nothing missing, for as long as the block runs.

    Without DATABASE_URL an embedded server starts in the data folder; for every vendor without a setting the
    sandbox starts on a loopback port, unless only runs are looked at (`with_sandbox`). `webhooks_to` is the address
    of the API that the sandbox calls back; it is polled where there is none. Processes that share a data folder
    share both. Raises SettingsError.
    """
    async with AsyncExitStack() as stack:
        changes: dict[str, Any] = {}
        if settings.database_url is None:
            server = EmbeddedPostgres(settings.data_dir / "postgres")
            try:
                await asyncio.to_thread(server.start)
            except EmbeddedPostgresError as error:
                raise SettingsError(str(error)) from error
            stack.push_async_callback(asyncio.to_thread, server.stop)
            changes["database_url"] = SecretStr(server.dsn)
        if sandboxed_services(settings):
            sandbox = Sandbox(settings.data_dir.absolute() / "sandbox")
            if with_sandbox:
                await stack.enter_async_context(sandbox.kept_up(webhooks_to))
            changes |= _by_sandbox(settings, sandbox)
        yield settings.model_copy(update=changes)


def sandboxed_services(settings: Settings) -> list[str]:
    """What the sandbox stands in for."""
    missing = {
        "language model and moderation": settings.models_missing,
        "video": settings.video_missing,
        "publishing": settings.publisher_missing,
    }
    return [what for what, is_missing in missing.items() if is_missing]


def _by_sandbox(settings: Settings, sandbox: Sandbox) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    key = SecretStr("sandbox")
    if settings.models_missing:
        changes |= {"openai_base_url": f"{sandbox.url}/v1", "openai_api_key": key, "openai_model": SANDBOX_MODEL}
    if settings.video_missing:
        changes |= {"video_base_url": f"{sandbox.url}/v1", "video_api_key": key, "video_model": SANDBOX_VIDEO}
        changes["video_webhook_secrets"] = [*(settings.video_webhook_secrets or []), SecretStr(sandbox.secret)]
    if settings.publisher_missing:
        changes |= {"upload_post_url": f"{sandbox.url}/api", "upload_post_api_key": key}
    return changes


class Sandbox:
    """The sandbox of one data folder, always at the same address. Whoever holds its lock keeps it running."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        place = self._place()
        self.port: int = place["port"]
        self.secret: str = place["secret"]
        self.url = f"http://127.0.0.1:{self.port}"

    def _place(self) -> dict[str, Any]:
        """The port and the webhook secret, chosen once for the folder."""
        path = self.folder / "place.json"
        with open(self.folder / "place.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(OSError, ValueError):
                known: dict[str, Any] = json.loads(path.read_text())
                return known
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            place = {"port": port, "secret": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()}
            path.touch(mode=0o600)
            path.write_text(json.dumps(place))
            return place

    @asynccontextmanager
    async def kept_up(self, webhooks_to: str | None) -> AsyncIterator[None]:
        """The sandbox answers while the block runs: started here, or by another process of the folder."""
        keeper = asyncio.create_task(self._keep(webhooks_to))
        try:
            await self._answers(keeper)
            yield
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
            await asyncio.to_thread(self._stop)

    async def _keep(self, webhooks_to: str | None) -> None:
        """Start it when nobody else has, and again when it died."""
        while True:
            if self._process is None or self._process.poll() is not None:
                if self._lock is None:
                    self._lock = self._take()
                if self._lock is not None:
                    self._process = self._start(webhooks_to)
            await asyncio.sleep(0.5)

    def _take(self) -> IO[bytes] | None:
        lock = open(self.folder / "running.lock", "wb")  # noqa: SIM115 - held for as long as the sandbox runs
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _start(self, webhooks_to: str | None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sandbox", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--state", str(self.folder), "--parent-watch"]
        if webhooks_to:
            command += ["--webhook-url", f"{webhooks_to}/v1/webhooks/sora", "--webhook-secret", self.secret]
        log = open(self.folder / "sandbox.log", "ab")  # noqa: SIM115 - handed to the child
        with log:
            # It ends when its standard input does, so it never outlives us, however we end.
            return subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")},
                start_new_session=True,
            )

    async def _answers(self, keeper: asyncio.Task[None]) -> None:
        async with httpx.AsyncClient() as client:
            for _ in range(round(START_SECONDS / 0.1)):
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{self.url}/health")).status_code == 200:
                        return
                if keeper.done():
                    break
                await asyncio.sleep(0.1)
        raise SettingsError(f"The sandbox does not answer on port {self.port}: see {self.folder / 'sandbox.log'}.")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._lock is not None:
            self._lock.close()
