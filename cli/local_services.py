"""Local services for everything that is not configured: an embedded database, and the sandbox for every vendor."""

import asyncio
import base64
import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from api.checked_settings import check_settings
from api.settings import Settings, read_settings, sandbox_settings
from api.settings_types import SettingsError
from cli.output import exit_with_error
from prompts.project import FOLDER, read_projects
from providers.webhooks import parse_secret
from storage.embedded_postgres import EmbeddedPostgres, try_lock
from storage.postgres_binaries import EmbeddedPostgresError
from storage.private_folders import make_private

START_TIMEOUT_SECONDS = 30.0
HEALTH_INTERVAL_SECONDS = 0.1
WATCH_INTERVAL_SECONDS = 0.5
STOP_TIMEOUT_SECONDS = 10
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
#: The environment variable from which the sandbox reads the secret of its webhooks.
SECRET_VARIABLE = "SANDBOX_WEBHOOK_SECRET"  # noqa: S105 - a name


def checked_settings(change: Callable[[Settings], Settings] | None = None) -> Settings:
    """Return the settings after `change`; every file that they name is checked. Exits with a message on an error."""
    try:
        settings = change(read_settings()) if change else read_settings()
        if "video" in settings.missing_services:
            settings.projects()
        else:
            check_settings(settings)
    except ValueError as error:
        exit_with_error(str(error))
    return settings


def service_url(chosen: str | None) -> str:
    """Return the URL of the service for links: the chosen one, MYLOWARE_PUBLIC_URL, or that of `myloware serve`."""
    from api.wiring import DEFAULT_URL

    return (chosen or checked_settings().public_url or DEFAULT_URL).rstrip("/")


def sandbox_only(settings: Settings, *, project: str | None, keep_renderer: bool) -> Settings:
    """Return settings without any vendor, notification or shared storage, and with a data folder of their own.

    A worker with other settings that shared the database would continue the runs at its own vendors. Only the folder
    of projects is kept, unless `project` is built in, and REMOTION_URL if `keep_renderer` is set.
    """
    kept = {"projects_dir"} if project not in read_projects([FOLDER]) else set()
    kept |= {"remotion_url", "remotion_service_key", "remotion_webhook_secrets"} if keep_renderer else set()
    defaults = {name: field.default for name, field in Settings.model_fields.items() if name not in kept}
    return settings.model_copy(update={**defaults, "data_dir": settings.data_dir / "demo"})


@asynccontextmanager
async def with_local_services(
    settings: Settings, *, webhooks_to: str | None = None, with_sandbox: bool = True
) -> AsyncIterator[Settings]:
    """Yield complete settings: start local services for what is not configured, and stop them after the block.

    Without DATABASE_URL an embedded server starts in the data folder. Vendors that are not configured are replaced by
    the sandbox of MYLOWARE_SANDBOX_URL, or by one on a loopback port; commands that only read runs do not need it
    started. Processes with the same data folder share both. `webhooks_to` is the URL of the API that receives the
    webhooks of the sandbox started here; without it the sandbox is polled. Raises SettingsError if a service does not
    start.
    """
    async with AsyncExitStack() as stack:
        changes: dict[str, Any] = {}
        if settings.database_url is None:
            server = EmbeddedPostgres(settings.data_dir / "postgres")
            stack.push_async_callback(asyncio.to_thread, server.stop)
            try:
                await _finish_in_thread(server.start)
            except EmbeddedPostgresError as error:
                raise SettingsError(str(error)) from error
            changes["database_url"] = SecretStr(server.dsn)
        if settings.missing_services:
            url, secret = settings.sandbox_url, settings.sandbox_webhook_secret
            if url is None or secret is None:
                sandbox = Sandbox(settings.data_dir.absolute() / "sandbox")
                if with_sandbox:
                    await stack.enter_async_context(sandbox.running(webhooks_to))
                url, secret = sandbox.url, parse_secret(sandbox.secret)
            replacements = sandbox_settings(url)
            replacements["video"]["video_webhook_secrets"] = [*(settings.video_webhook_secrets or []), secret]
            for service in settings.missing_services:
                changes |= replacements[service]
        if settings.speech_base_url:
            changes.pop("speech_base_url", None)
        yield settings.model_copy(update=changes)


async def _finish_in_thread(function: Callable[[], None]) -> None:
    """Run the function in a thread, and wait for its end also when cancelled: a server half started must be stopped."""
    work = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.gather(work, return_exceptions=True)
        raise


def sandbox_notice(settings: Settings) -> str | None:
    """Return the notice that the sandbox replaces vendors, or None if all are configured."""
    services = ", ".join(settings.missing_services)
    return f"[yellow]SANDBOX[/] replaces {services}, which then charge and post nothing." if services else None


class Sandbox:
    """The sandbox of a data folder, always on the same port. The process that holds its lock keeps it running."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_private(folder)
        self.port, self.secret = self._load_endpoint()
        self.url = f"http://127.0.0.1:{self.port}"

    def _load_endpoint(self) -> tuple[int, str]:
        """Return the port and the webhook secret of the folder, created by the first process."""
        path = self.folder / "endpoint.json"
        with open(self.folder / "endpoint.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(OSError, ValueError):
                stored = json.loads(path.read_text())
                return stored["port"], stored["secret"]
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
            path.touch(mode=0o600)
            path.write_text(json.dumps({"port": port, "secret": secret}))
            return port, secret

    @asynccontextmanager
    async def running(self, webhooks_to: str | None) -> AsyncIterator[None]:
        """Keep the sandbox running for the block: started here, or by another process with the same folder."""
        supervisor = asyncio.create_task(self._supervise(webhooks_to))
        try:
            await self._wait_until_healthy(supervisor)
            yield
        finally:
            supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await supervisor

    async def _supervise(self, webhooks_to: str | None) -> None:
        """Start the process if no other process holds the lock, and start it again after it has exited."""
        process = None
        with await asyncio.to_thread((self.folder / "running.lock").open, "ab") as lock:
            try:
                while True:
                    if try_lock(lock) and (process is None or process.poll() is not None):
                        process = self._start(webhooks_to)
                    await asyncio.sleep(WATCH_INTERVAL_SECONDS)
            finally:
                if process is not None:
                    await asyncio.to_thread(_stop, process)

    def _start(self, webhooks_to: str | None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sandbox", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--state", str(self.folder), "--parent-watch"]
        if webhooks_to:
            command += ["--webhook-url", f"{webhooks_to}/v1/webhooks/sora"]
        with open(self.folder / "sandbox.log", "ab") as log:
            # It ends when its standard input is closed, so it never outlives this process, even a killed one.
            return subprocess.Popen(  # noqa: S603 - the program of this package
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Not an argument, because every user can read those.
                env={**{k: v for k, v in os.environ.items() if k in INHERITED}, SECRET_VARIABLE: self.secret},
                start_new_session=True,
            )

    async def _wait_until_healthy(self, supervisor: asyncio.Task[None]) -> None:
        import httpx  # here, because commands without a sandbox do not need it

        async with httpx.AsyncClient() as client:
            for _ in range(round(START_TIMEOUT_SECONDS / HEALTH_INTERVAL_SECONDS)):
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{self.url}/health")).status_code == 200:
                        return
                if supervisor.done():
                    break
                await asyncio.sleep(HEALTH_INTERVAL_SECONDS)
        log = self.folder / "sandbox.log"
        raise SettingsError(f"The sandbox does not respond on port {self.port}. Its log is {log}.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_SECONDS)
    process.kill()  # no effect on a process that has exited
    process.wait()
