"""The product's two graphs for LangGraph Studio, with a database of Studio's own and the sandbox as every provider.

`langgraph.json` names `run_graph`, `chat_graph` and `app`, whose lifespan opens the product's application state once
per process. Studio's server keeps the threads and no worker runs, so three things differ from the product: the first
step of a thread creates the row of its run, a gate records the decision that resumes it, and reading the status of an
order polls its provider.
"""

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from langgraph.graph.state import CompiledStateGraph
from langgraph_sdk.runtime import ServerRuntime
from pydantic import SecretStr
from starlette.applications import Starlette

from api.settings import Settings, read_settings, sandbox_settings
from api.settings_types import SettingsError
from api.wiring import AppState, open_app_state
from chat.changes import STUDIO
from chat.session import ChatGraph
from graph.chat import ChatContext, ChatDependencies, build_chat_graph
from graph.decisions import DecisionInput, RecordedDecision
from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from graph.review_content import Review
from graph.state import RunInput, RunState
from graph.status import STATUS_OF_WAITING_NODE, STEP_OF_NODE
from providers.orders import OrderStatus, digest_of
from runs.decide import decide
from runs.reconcile import reconcile_order
from runs.run_records import RunRecords
from runs.services import Services
from runs.start import start_run
from storage import decisions, runs
from storage.actors import RequestContext
from storage.embedded_postgres import EmbeddedPostgres
from storage.ledger import Ledger

#: The URL of the sandbox (default: that of `myloware sandbox`), and the folder of Studio's own data.
SANDBOX_VARIABLE, FOLDER_VARIABLE = "MYLOWARE_STUDIO_SANDBOX", "MYLOWARE_STUDIO_FOLDER"
DEFAULT_SANDBOX = "http://127.0.0.1:8900"
#: The settings that name a provider, a store or another receiver of requests.
DESTINATIONS = (
    "openai_base_url", "video_base_url", "upload_post_url", "remotion_url", "publish_folder", "store_url",
    "notify_urls", "notify_escalate_urls", "slack_webhook_url", "telegram_bot_token",
)  # fmt: skip

RunGraph = CompiledStateGraph[RunState, None, RunInput, RunState]
#: The graphs without dependencies, for schemas, drawings and threads that are only read.
RUN_SHAPE: RunGraph = build_run_graph(cast("Dependencies", None)).compile(name="run")
CHAT_SHAPE: ChatGraph = build_chat_graph(cast("ChatDependencies", None)).compile(name="chat")


@asynccontextmanager
async def run_graph(runtime: ServerRuntime[None]) -> AsyncIterator[RunGraph]:
    """Yield the run graph."""
    yield app.state.run_graph if runtime.execution_runtime else RUN_SHAPE


@asynccontextmanager
async def chat_graph(runtime: ServerRuntime[ChatContext]) -> AsyncIterator[ChatGraph]:
    """Yield the chat graph."""
    yield app.state.chat_graph if runtime.execution_runtime else CHAT_SHAPE


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    url = os.environ.get(SANDBOX_VARIABLE, DEFAULT_SANDBOX).rstrip("/")
    await check_sandbox(url)
    configured = read_settings({})
    folder = Path(os.environ.get(FOLDER_VARIABLE, configured.data_dir / "studio"))
    server = EmbeddedPostgres(folder / "postgres")
    settings = studio_settings(configured, sandbox=url, folder=folder, dsn=server.dsn)
    await asyncio.to_thread(server.start)
    try:
        async with open_app_state(settings, client_options=sandbox_only(url)) as state:
            app.state.run_graph = studio_run_graph(state)
            app.state.chat_graph = state.chat.graph
            yield
    finally:
        await asyncio.to_thread(server.stop)


app = Starlette(lifespan=_lifespan)


async def check_sandbox(url: str) -> None:
    """Raise SettingsError unless a sandbox answers at `url`, on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            is_sandbox = is_local and (await client.get(f"{url}/health")).json()["service"] == "sandbox"
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        is_sandbox = False
    if not is_sandbox:
        reason = f"no sandbox answers at {url}, or it is not on this machine. Use `make studio`."
        raise SettingsError(f"{SANDBOX_VARIABLE}: {reason}")


def studio_settings(configured: Settings, *, sandbox: str, folder: Path, dsn: str) -> Settings:
    """Return the settings with the sandbox as every provider, and Studio's own database and data folder.

    Raises SettingsError if a provider is configured that is not the sandbox. Configured API keys are not used.
    """
    for field in DESTINATIONS:
        value = getattr(configured, field)
        if value is not None and not f"{value}/".startswith(f"{sandbox}/"):
            name = Settings.model_fields[field].alias
            raise SettingsError(f"{name}: Studio accepts no provider but the sandbox at {sandbox}. Unset it.")
    changes: dict[str, object] = {"data_dir": folder, "database_url": SecretStr(dsn)}
    for service_settings in sandbox_settings(sandbox).values():
        changes |= service_settings
    return configured.model_copy(update=changes)


def sandbox_only(url: str) -> dict[str, Any]:
    """Return the options of HTTP clients that connect to `url` directly and refuse every other host."""
    allowed = httpx.URL(url)

    async def check(request: Any) -> None:
        if (request.url.scheme, request.url.host, request.url.port) != (allowed.scheme, allowed.host, allowed.port):
            raise SettingsError(f"Studio sends requests to the sandbox at {url} only, not to {request.url.host}.")

    return {"trust_env": False, "event_hooks": {"request": [check]}}


def studio_run_graph(state: AppState) -> RunGraph:
    """Return the product's run graph with Studio's ledger and records."""
    services = state.services
    ledger = StudioLedger(**vars(services.ledger), services=services)
    deps = replace(state.dependencies, ledger=ledger, records=StudioRecords(services))
    return build_run_graph(deps).compile(name="run")


@dataclass(eq=False, kw_only=True)
class StudioLedger(Ledger):
    """The ledger, with reads that poll: resuming a thread that waits for orders is enough to continue it."""

    services: Services

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        """Return the statuses of these orders by key, after asking the providers."""
        await asyncio.gather(*(reconcile_order(self.services, key) for key in keys))
        return await super().statuses(keys)


class StudioRecords(RunRecords):
    """The records of runs and decisions, written by the graph itself."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.db)
        self._services = services

    async def load(self, run_id: str, project: str, brief: str) -> RunState:
        """Create the run of a new thread and return its first channels. Raises ProjectNotFound or InvalidRequest."""
        context = RequestContext(STUDIO, "studio")
        await start_run(self._services, run_id=UUID(run_id), project=project, brief=brief, context=context)
        return await super().load(run_id, project, brief)

    async def record_decision(self, run_id: str, review: Review, decision: RecordedDecision) -> int:
        """Record the decision, the same about the same review once, and return its number. Raises as `decide` does."""
        key = digest_of([review.model_dump(mode="json"), decision.model_dump(mode="json")])
        context = RequestContext(STUDIO, "studio", key)
        if not await decisions.find_recorded(self.db, UUID(run_id), context):
            await self._open_review(UUID(run_id), review)
        request = DecisionInput(**decision.model_dump(exclude={"number"}), digest=review.digest)
        return (await decide(self._services, UUID(run_id), review.gate, request, context)).number

    async def _open_review(self, run_id: UUID, review: Review) -> None:
        """Open the review in the row of the run."""
        # A review of a forked history repeats a revision that may have a decision: it gets the next free one.
        recorded = await decisions.list_decisions(self.db, run_id)
        revision = max([review.revision, *(row.revision + 1 for row in recorded if row.gate == review.gate)])
        opened = review.model_copy(update={"revision": revision}).model_dump(mode="json")
        run = await runs.claim(self.db, run_id)
        if run is None or run.review == opened:
            return
        node = f"{review.gate}_gate"
        status, step, event = STATUS_OF_WAITING_NODE[node], STEP_OF_NODE[node], ("review.opened", opened)
        projection = runs.Projection(status, step, revision, opened, run.artifacts, event=event)
        await runs.save_projection(self.db, run_id, projection)
