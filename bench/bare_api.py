"""The yardstick of the API: bare FastAPI on the same server stack, with one statement per request.

`POST /webhook` verifies a Standard Webhooks signature and inserts a row, `GET /runs/{id}` selects one row by its key,
`GET /runs` selects 20 by an index. `python -m bench.bare_api DSN` prints its URL as a line of JSON.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI, HTTPException, Request
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from standardwebhooks import Webhook, WebhookVerificationError

from api.listening import listen, url_of
from bench.options import WEBHOOK_SECRET


def create_app(dsn: str) -> FastAPI:
    """Return the app."""
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        dsn,
        min_size=2,
        max_size=20,
        open=False,
        kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0},
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with pool:
            yield

    app = FastAPI(lifespan=lifespan)
    webhook = Webhook(WEBHOOK_SECRET)

    @app.post("/webhook")
    async def receive(request: Request) -> dict[str, str]:
        body = await request.body()
        try:
            event = webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            raise HTTPException(401) from None
        insert = "insert into webhooks (id, event) values (%s, %s) on conflict do nothing"
        async with pool.connection() as connection:
            await connection.execute(insert, (request.headers["webhook-id"], Jsonb(event)))
        return {"status": "accepted"}

    @app.get("/runs/{run_id}")
    async def get_run(run_id: str) -> dict[str, Any]:
        async with pool.connection() as connection:
            found = await connection.execute("select content from runs where id = %s", (run_id,))
            row = await found.fetchone()
        if row is None:
            raise HTTPException(404)
        content: dict[str, Any] = row["content"]
        return content

    @app.get("/runs")
    async def list_runs() -> dict[str, Any]:
        select = "select content from runs order by created_at desc, id desc limit 20"
        async with pool.connection() as connection:
            rows = await (await connection.execute(select)).fetchall()
        return {"runs": [row["content"] for row in rows]}

    return app


async def main(dsn: str) -> None:
    """Serve until standard input ends."""
    listening = listen()
    server = uvicorn.Server(uvicorn.Config(create_app(dsn), http="httptools", log_level="warning", access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    os.write(1, json.dumps({"url": url_of(listening), "pid": os.getpid()}).encode() + b"\n")
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
