"""`/mcp`: the tools for agents, by the Model Context Protocol over Streamable HTTP."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.request_state import RequestStateSecurity
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.authentication import authenticate
from api.errors import ApiError, to_api_error
from api.mcp_elicitation import Ctx, McpCaller, mcp_caller
from api.mcp_tools import register_tools
from api.middleware import ENDS_AT_STOP
from api.wiring import AppState
from prompts.templates import prompt
from prompts.validation import describe_errors
from runs.errors import TooManyStreams
from storage.actors import RequestContext
from storage.secrets import get_secret

PATH = "/mcp"
MAX_DESCRIBED_ERRORS = 5
#: A session keeps a request open, and so does each call that waits for a person.
MAX_OPEN_REQUESTS_PER_KEY = 100
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
        except ToolError as error:
            match error.__cause__:
                case ValidationError() as invalid:
                    sentence = describe_errors(invalid.errors(), limit=MAX_DESCRIBED_ERRORS)
                    raise ToolError(f"Invalid arguments of {name}: {sentence}.") from error
                case ToolError() as refused if str(refused).startswith("Resolver "):
                    raise ToolError("The answer does not fill in the form of the question: ask again.") from error
            raise
        except MCPError as error:  # by the client, instead of an answer to a question
            address = f"{mcp_caller(context).base_url}/inbox" if context else "/inbox"
            raise ToolError(f"The client did not show the question. Give the person this address: {address}") from error


class McpEndpoint:
    """The ASGI app of `/mcp`. It authenticates every request."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._open_requests = Counter[str]()

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Serve requests while the application runs."""
        services = self._state.services
        # It seals the state that a client carries from question to answer, for its API key alone.
        secret = await get_secret(services.db, STATE_SECRET)
        server = _Server(
            "myloware",
            title="MyloWare",
            instructions=prompt("mcp").system,
            version=version("myloware"),
            log_level="WARNING",
            request_state_security=RequestStateSecurity(keys=[secret]),
            subscriptions=False,
        )
        register_tools(server, services)
        # The middleware verifies Host and Origin, for every path alike.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        # To a client of a version before 2026-07-28 questions are sent in its session, on the stream of its call.
        server.streamable_http_app(transport_security=security)
        sessions = server.session_manager
        self._app = AuthContextMiddleware(sessions.handle_request)
        async with sessions.run():
            yield
            # A call that waits for a person then ends at once: to write an answer, it would wait for seconds.
            for transport in [*sessions._server_instances.values()]:
                await transport.terminate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request, state = Request(scope), self._state
        try:
            key = await authenticate(request, state)
            if request.method == "GET" and "mcp-session-id" not in request.headers:
                message = "Send POST requests: no stream opens without a session."
                raise ApiError(405, "method_not_allowed", message, headers={"Allow": "POST"})
            if self._open_requests[key.id] >= MAX_OPEN_REQUESTS_PER_KEY:
                message = f"An API key can have {MAX_OPEN_REQUESTS_PER_KEY} requests open here. Close one of them."
                raise to_api_error(TooManyStreams(message))
        except ApiError as error:
            challenge = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
            error.headers = {**(error.headers or {}), **challenge}
            await error.as_response()(scope, receive, send)
            return
        caller = McpCaller(state.services, RequestContext(key.actor, "mcp"), state.base_url)
        scope["state"] |= {"mcp_caller": caller, ENDS_AT_STOP: True}
        # A session and a question belong to an API key: with another one they do not exist.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=str(key.actor.id), scopes=[]))
        self._open_requests[key.id] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open_requests -= Counter([key.id])
