"""`/mcp`: the tools for agents, by the Model Context Protocol over Streamable HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.request_state import RequestStateSecurity
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CallToolResult, InputRequiredResult
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.authentication import authenticate
from api.errors import ApiError, to_api_error
from api.mcp_elicitation import Ctx, McpCaller
from api.mcp_tools import register_tools
from api.wiring import AppState
from prompts.templates import prompt
from storage.actors import RequestContext
from storage.secrets import get_secret

PATH = "/mcp"
STATE_SECRET = "state of mcp questions"  # noqa: S105 - the name of a secret


class _Server(MCPServer[Any]):
    """A server that reports every error of a tool as a sentence for the agent."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Ctx | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool. Raises ToolError with the message of the error response."""
        try:
            return await super().call_tool(name, arguments, context)
        except UnexpectedToolError as error:
            # Its cause is what the tool raised.
            known = to_api_error(cast("Exception", error.__cause__))
            raise ToolError(f"Error executing tool {name}: {known.message}") from error


def _principal(ctx: ServerRequestContext[Any, Any]) -> str | None:
    return str(ctx.request.state.mcp_caller.context.actor.id) if isinstance(ctx.request, Request) else None


class McpEndpoint:
    """The ASGI app of `/mcp`. It authenticates every request."""

    def __init__(self, state: AppState) -> None:
        self._state = state

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Serve requests while the application runs."""
        services = self._state.services
        # It seals the state that a client carries from question to answer.
        secret = await get_secret(services.db, STATE_SECRET)
        server = _Server(
            "myloware",
            title="MyloWare",
            instructions=prompt("mcp").system,
            version=version("myloware"),
            log_level="WARNING",
            request_state_security=RequestStateSecurity(keys=[secret], bind_principal=_principal),
            subscriptions=False,
        )
        register_tools(server, services)
        # The middleware verifies Host and Origin, for every path alike.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        server.streamable_http_app(stateless_http=True, json_response=True, transport_security=security)
        self._sessions = server.session_manager
        async with self._sessions.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request, state = Request(scope), self._state
        try:
            key = await authenticate(request, state)
            if request.method == "GET" and "mcp-session-id" not in request.headers:
                message = "Send POST requests: no stream opens without a session."
                raise ApiError(405, "method_not_allowed", message, headers={"Allow": "POST"})
        except ApiError as error:
            challenge = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
            error.headers = {**(error.headers or {}), **challenge}
            await error.as_response()(scope, receive, send)
            return
        caller = McpCaller(state.services, RequestContext(key.actor, "mcp"), state.base_url)
        scope["state"] = {**scope.get("state", {}), "mcp_caller": caller}
        await self._sessions.handle_request(scope, receive, send)
