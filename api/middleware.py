"""ASGI middleware: the request id, the hosts that are served, and the limit of the request body."""

import logging
import re
import time
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import uuid4

from opentelemetry.trace import get_current_span
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import RequestBodyLimitResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, body_too_large, route_of
from telemetry.logs import identified
from telemetry.metrics import HTTP_SECONDS
from telemetry.traces import span

log = logging.getLogger("api.access")

#: Far above the longest brief and twelve edited ideas.
MAX_BODY_BYTES = 256 * 1024
#: Chat clients send long messages, or the whole conversation with images; the other paths take uploads.
MAX_BODY_BYTES_BY_PATH = dict.fromkeys(("/v1/artifacts", "/new"), 32 * 1024 * 1024)
MAX_BODY_BYTES_BY_PATH |= dict.fromkeys(("/v1/chat/completions", "/v1/chat/supervisor", "/chat"), 4 * 1024 * 1024)
#: Paths that may be requested under any host: probes, and webhooks, which are signed.
ANY_HOST_PATHS = ("/health", "/ready", "/metrics", "/v1/webhooks/")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: Requested every few seconds.
PROBES = ("/health", "/ready")
#: In the state of a request with an endless stream as its response: the server ends it when it stops.
ENDS_AT_STOP = "ends_at_stop"


class _Middleware:
    """Passes everything but HTTP requests on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._serve if scope["type"] == "http" else self.app)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class RequestId(_Middleware):
    """Add `X-Request-ID` to every response: the id that the client sent, if it is valid, or a new one. Log requests."""

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent_id = Headers(scope=scope).get("x-request-id", "")
        request_id = sent_id if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", sent_id) else uuid4().hex
        # For the handler of unexpected exceptions, which answers outside this middleware.
        scope.setdefault("state", {})["request_id"] = request_id

        started_at, status = time.perf_counter(), None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"], status = request_id, message["status"]
                _record(scope, status, time.perf_counter() - started_at)
            await send(message)

        with identified(scope["path"], request=request_id), span("request"):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                if status is None:  # it failed, or the client went away
                    _record(scope, 500, time.perf_counter() - started_at)


def _record(scope: Scope, status: int, seconds: float) -> None:
    """Count and log a request by its route: path and query can contain secrets. Probes are for debugging only."""
    method, route = scope["method"] if scope["method"] in METHODS else "other", route_of(scope)
    HTTP_SECONDS.labels(method, route, status).observe(seconds)
    get_current_span().update_name(f"{method} {route}")
    get_current_span().set_attribute("http.response.status_code", status)
    level = logging.DEBUG if route in PROBES else logging.INFO
    fields = {"client": (scope["client"] or ("",))[0], "method": method, "route": route, "status": status}
    fields["milliseconds"] = round(seconds * 1000, 1)
    log.log(level, "%s %s %d", method, route, status, extra={"fields": fields})


class AllowedHosts(_Middleware):
    """Refuse requests for other hosts, so that no page of another site reaches this service under its own name.

    A request may name an address of this machine or a host of the settings. Probes and webhooks may name any.
    """

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(ANY_HOST_PATHS):
            headers = Headers(scope=scope)
            # Browsers send `Origin` with each request to the MCP endpoint, which its protocol has servers verify.
            origin = headers.get("origin") if scope["path"].startswith("/mcp") else None
            for url in (f"http://{headers.get('host', '')}", *([origin] if origin else ())):
                if not _is_allowed(url, scope):
                    message = "This host is not served here. Add it to MYLOWARE_ALLOWED_HOSTS."
                    await ApiError(400, "host_not_allowed", message).as_response()(scope, receive, send)
                    return
        await self.app(scope, receive, send)


def _is_allowed(url: str, scope: Scope) -> bool:
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    with suppress(ValueError):
        if ip_address(host).is_loopback or host == scope["server"][0]:
            return True
    return host == "localhost" or host in scope["app"].state.app_state.settings.host_names


class BodyLimit(_Middleware):
    """Refuse a request body over the limit with 413, whether or not its headers declare the length."""

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = MAX_BODY_BYTES_BY_PATH.get(scope["path"], MAX_BODY_BYTES)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            await body_too_large(limit).as_response()(scope, receive, send)
        else:
            await RequestBodyLimitResponder(self.app, limit)(scope, receive, send)
