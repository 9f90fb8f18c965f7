"""The listener for metrics, apart from that of the API. It answers without the database."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from prometheus_client import REGISTRY, start_http_server

from api.settings import Settings
from api.settings_types import SettingsError
from api.wiring import AppState
from runs.queue import repeating
from storage.metrics import read_gauges
from storage.readiness import OK
from telemetry.metrics import Gauges, Sample
from telemetry.traces import send_traces

REFRESH_SECONDS = 5.0


def start_traces(settings: Settings) -> None:
    """Send traces from now on, if the settings name a collector. Raises SettingsError without the extra `otel`."""
    if settings.otel_endpoint:
        try:
            send_traces(settings.otel_endpoint)
        except ImportError as error:
            message = "OTEL_EXPORTER_OTLP_ENDPOINT: traces need further packages: .venv/bin/pip install -e '.[otel]'."
            raise SettingsError(message) from error


@asynccontextmanager
async def serve_metrics(state: AppState) -> AsyncIterator[int | None]:
    """Serve metrics for the block, if the settings name a port, and yield it. Raises SettingsError if it is in use."""
    settings = state.settings
    if settings.metrics_port is None:
        yield None
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        address = f"{settings.metrics_host}:{settings.metrics_port}"
        raise SettingsError(f"MYLOWARE_METRICS_PORT: cannot listen on {address}: {error.strerror}.") from error
    gauges = Gauges()
    REGISTRY.register(gauges)
    try:
        async with repeating((partial(_refresh, state, gauges), REFRESH_SECONDS)):
            yield server.server_port
    finally:
        REGISTRY.unregister(gauges)
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


async def _refresh(state: AppState, gauges: Gauges) -> None:
    """Read all gauges; without the database only those of this process."""
    checks = await state.readiness.check()
    samples = [Sample("myloware_ready", float(result == OK), {"check": name}) for name, result in checks.items()]
    samples += _read_process(state)
    if checks["database"] == OK:
        samples += await read_gauges(state.services.db, state.services.ledger.caps)
    gauges.samples = samples


def _read_process(state: AppState) -> list[Sample]:
    services, pool = state.services, state.services.db.pool.get_stats()
    disk = shutil.disk_usage(state.settings.data_dir)
    connections = {"all": "pool_size", "idle": "pool_available", "waiting": "requests_waiting"}
    return [
        *(Sample("myloware_pool_connections", pool.get(key, 0), {"state": name}) for name, key in connections.items()),
        Sample("myloware_refreshed_timestamp_seconds", time.time()),
        Sample("myloware_locks", services.locks.count),
        Sample("myloware_lock_session", float(services.locks.is_connected)),
        Sample("myloware_streams", state.event_feed.stream_count),
        Sample("myloware_disk_free_bytes", disk.free),
        Sample("myloware_disk_bytes", disk.total),
    ]
