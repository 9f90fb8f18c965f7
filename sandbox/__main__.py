"""python -m sandbox: starts the sandbox and says, in one line of JSON, where it is.

A stand-in for the outside world: video generation, language model, moderation and publishing, all on one
port. Nothing it makes is real, and everything it makes says SANDBOX. It costs nothing.
"""

import argparse
import base64
import binascii
import contextlib
import json
import multiprocessing
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from sandbox.app import create_app

EPILOG = """
where:
  /v1/videos, /v1/chat/completions, /v1/moderations, /v1/models, /v1/webhook_endpoints   as OpenAI (Bearer)
  /api/upload, /api/uploadposts/status, /api/uploadposts/history                          as Upload-Post (Apikey)
  /sandbox/counts, /sandbox/charges, /sandbox/posts, /sandbox/faults, /sandbox/pace       for tests (no key)

words in a video's prompt that make trouble:
  #moderation_blocked  fails, blocked by moderation       #fail       fails with generation_failed
  #slow                takes at least 8 seconds           #silent     has no sound track
  #truncated           the MP4 is only its first half     #html       an HTML page that says it is an MP4

words in a brief:
  #unfit               the screening says no              #flagged    moderation flags it
"""


def main() -> None:
    """Starts the server and stays until it is stopped."""
    options = _parser().parse_args()
    app = create_app(options.state, options.webhook_url, options.webhook_secret)
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = _Server(config)
    if options.parent_watch:
        threading.Thread(target=_leave_with_parent, args=(server,), daemon=True).start()
    listener = socket.create_server((options.host, options.port))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    for painter in multiprocessing.active_children():
        painter.kill()  # what it paints is begun again at the next start


class _Server(uvicorn.Server):
    """Says where it is once it answers there."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            name = f"[{host}]" if ":" in host else host
            sys.stdout.write(json.dumps({"sandbox": f"http://{name}:{port}"}) + "\n")
            sys.stdout.flush()


def _leave_with_parent(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()  # ends when the one who holds the other end is gone, however it went
    server.should_exit = True


def _secret(text: str) -> str:
    try:
        long_enough = len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) >= 24
    except binascii.Error:
        long_enough = False
    if not text.startswith("whsec_") or not long_enough:
        raise argparse.ArgumentTypeError("must be whsec_ and the Base64 of at least 24 bytes")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one (default)")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder that keeps everything")
    parser.add_argument("--webhook-url", metavar="URL", help="where video events are sent")
    parser.add_argument("--webhook-secret", type=_secret, metavar="whsec_…", help="what they are signed with")
    parser.add_argument("--parent-watch", action="store_true", help="stop when standard input ends")
    return parser


if __name__ == "__main__":
    main()
