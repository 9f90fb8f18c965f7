"""Run the sandbox: video generation, language model, moderation and publishing on one port.

On start it prints one line of JSON with its URL. Nothing it generates is real, every output is marked SANDBOX,
and nothing costs money.
"""

import argparse
import base64
import binascii
import contextlib
import gc
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


def main() -> None:
    """Serve the sandbox until it is stopped."""
    gc.freeze()  # the modules live to the end
    os.umask(0o077)
    parser = _build_parser()
    options = parser.parse_args()
    secret = os.environ.get(SECRET_VARIABLE)
    if secret is not None and not _is_secret(secret):
        parser.error(f"{SECRET_VARIABLE} must be whsec_ followed by the Base64 of at least 24 bytes")
    app = create_app(options.state, options.webhook_url, secret)
    options.state.chmod(0o700)
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


def _is_secret(text: str) -> bool:
    with contextlib.suppress(binascii.Error):
        return text.startswith("whsec_") and len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) >= 24
    return False


def _build_parser() -> argparse.ArgumentParser:
    usage, form = Path(__file__).with_name("usage.txt").read_text("utf-8"), argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m sandbox", description=__doc__, epilog=usage, formatter_class=form)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free port)")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder for the database and files")
    parser.add_argument("--webhook-url", metavar="URL", help="URL that receives video events")
    parser.add_argument("--parent-watch", action="store_true", help="stop when standard input is closed")
    return parser


if __name__ == "__main__":
    main()
