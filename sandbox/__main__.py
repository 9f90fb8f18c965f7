"""Run the sandbox: video generation, language model, moderation and publishing on one port.

On start it prints one line of JSON with its URL. Nothing it generates is real, every output is marked SANDBOX,
and nothing costs money.
"""

import argparse
import base64
import binascii
import contextlib
import json
import multiprocessing
import os
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from sandbox.app import create_app

#: Not an option, because every user can read the arguments of a process.
SECRET_VARIABLE = "SANDBOX_WEBHOOK_SECRET"  # noqa: S105 - a name

EPILOG = """
endpoints:
  /v1/videos, /v1/chat/completions, /v1/moderations, /v1/models, /v1/webhook_endpoints   OpenAI API (Bearer)
  /replicate/v1, /higgsfield, /kling                  vendors, from their published contracts, never compared with them
  /api/upload, /api/uploadposts/status, /api/uploadposts/history                          Upload-Post API (Apikey)
  /sandbox/counts, /sandbox/charges, /sandbox/posts, /sandbox/faults, /sandbox/pace       admin API (no key)

environment:
  SANDBOX_WEBHOOK_SECRET   secret that signs video events: whsec_ and Base64

words in a video prompt that inject a fault:
  #moderation_blocked  fail with moderation_blocked       #fail       fail with generation_failed
  #slow                take at least 8 seconds            #silent     no audio track
  #truncated           only the first half of the MP4     #html       an HTML page served as video/mp4

words in a brief that inject a fault:
  #unfit               screening rejects the brief        #flagged    moderation flags the brief
"""


def main() -> None:
    """Serve the sandbox until it is stopped."""
    os.umask(0o077)
    parser = _build_parser()
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    options.state.chmod(0o700)
    try:
        secret = _parse_secret(os.environ[SECRET_VARIABLE]) if SECRET_VARIABLE in os.environ else None
    except argparse.ArgumentTypeError as error:
        parser.error(f"{SECRET_VARIABLE} {error}")
    app = create_app(options.state, options.webhook_url, secret)
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = _Server(config)
    if options.parent_watch:
        threading.Thread(target=_stop_with_parent, args=(server,), daemon=True).start()
    listener = socket.create_server((options.host, options.port))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    for render_process in multiprocessing.active_children():
        render_process.kill()  # unfinished clips are rendered again after the next start


class _Server(uvicorn.Server):
    """Uvicorn server that prints its URL once it accepts requests."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            url_host = f"[{host}]" if ":" in host else host
            sys.stdout.write(json.dumps({"sandbox": f"http://{url_host}:{port}"}) + "\n")
            sys.stdout.flush()


def _stop_with_parent(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()  # returns when the parent process exits, even if it was killed
    server.should_exit = True


def _parse_secret(text: str) -> str:
    try:
        is_long_enough = len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) >= 24
    except binascii.Error:
        is_long_enough = False
    if not text.startswith("whsec_") or not is_long_enough:
        raise argparse.ArgumentTypeError("must be whsec_ followed by the Base64 of at least 24 bytes")
    return text


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free port)")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder for the database and files")
    parser.add_argument("--webhook-url", metavar="URL", help="URL that receives video events")
    parser.add_argument("--parent-watch", action="store_true", help="stop when standard input is closed")
    return parser


if __name__ == "__main__":
    main()
