"""What surrounds every request: an id for it, and a limit to its body."""

from __future__ import annotations

import json
import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bytes of a request body. The longest brief and twelve edited ideas are far below.
BODY_LIMIT = 256 * 1024
#: Chat clients send a whole conversation, every time, its pictures too.
LONGER = {"/v1/chat/completions": 4 * 1024 * 1024}


class RequestId:
    """Gives every response an `X-Request-ID`: the client's own, if it sent a plain one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid4().hex
        # For whoever answers from outside of here, because what is inside broke.
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self.app(scope, receive, named)


class BodyTooLarge(Exception):
    """The body grew over the limit while it was read."""


class BodyLimit:
    """Refuses a body over its limit with 413, whatever its headers say of its length."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = LONGER.get(scope["path"], BODY_LIMIT)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            await self._refuse(send, limit)
            return
        read, answered = 0, False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise BodyTooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            # Whoever reads the body may take our refusal for a body that cannot be read: that is not said.
            if answered or read <= limit:
                answered = True
                await send(message)

        try:
            await self.app(scope, counted, watched)
        except BodyTooLarge:
            if answered:
                raise
        if read > limit and not answered:
            await self._refuse(send, limit)

    async def _refuse(self, send: Send, limit: int) -> None:
        message = f"The body must have at most {limit} bytes."
        body = json.dumps({"error": {"code": "body_too_large", "message": message, "details": {}}}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
