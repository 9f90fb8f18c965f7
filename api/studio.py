"""The two graphs for LangGraph Studio: built as everywhere, with memory for storage and the sandbox for the world.

`langgraph.json` names `line` and `talk`. There are no rows of decisions behind Studio: a click there approves, and
so nothing but the sandbox may ever be asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import httpx2
from langchain_core.tools import BaseTool, tool
from langgraph.graph.state import CompiledStateGraph
from langgraph_sdk.runtime import ServerRuntime

from agents.ideator import PreviousReview
from graph.chat import ChatDependencies, ChatState, build_chat_graph
from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from graph.state import RunState
from prompts.project import FOLDER, Project, read_projects
from providers.chat_models import chat_model
from providers.media.clips import accept_clip
from providers.moderation import Moderation
from providers.publications.upload_post import UploadPost
from providers.renders.embedded import EmbeddedRenders
from providers.video_profiles import VideoModel, load_profiles, profile_for
from providers.videos import Videos
from storage.memory import Hired, MemoryFiles, MemoryInbox, MemoryLedger

#: Where the sandbox is. By default where `myloware sandbox` answers.
VARIABLE, DEFAULT = "MYLOWARE_STUDIO_SANDBOX", "http://127.0.0.1:8900"
KEY, MODEL, VIDEO = "sandbox", "sandbox-rules", "sandbox-video"
MODEL_SECONDS = 60.0


class SandboxAway(RuntimeError):
    """There is no sandbox at the address."""

    def __init__(self, url: str) -> None:
        super().__init__(f"No sandbox answers at {url}: start one with `make studio`, or name it in {VARIABLE}.")


@dataclass(frozen=True)
class Parts:
    """What the graphs run with, once for the process."""

    line: Dependencies
    talk: ChatDependencies


@asynccontextmanager
async def run_graph(runtime: ServerRuntime[None]) -> AsyncIterator[CompiledStateGraph[RunState]]:
    """The line. Where nothing is to run, it is only the shape, and asks for nothing."""
    deps = (await _parts()).line if runtime.execution_runtime else _no_ports()
    yield build_run_graph(deps).compile(name="line")


@asynccontextmanager
async def chat_graph(runtime: ServerRuntime[None]) -> AsyncIterator[CompiledStateGraph[ChatState]]:
    """The talk with the supervisor. As `line`."""
    deps = (await _parts()).talk if runtime.execution_runtime else ChatDependencies(_nothing(), [], _nothing())
    yield build_chat_graph(deps).compile(name="supervisor")


def _nothing() -> Any:
    return None


def _no_ports() -> Dependencies:
    nothing = _nothing()
    return Dependencies(
        project=nothing, model=nothing, moderation=nothing, video=nothing, ledger=nothing, feedback=nothing
    )


async def _parts() -> Parts:
    """The parts, with a sandbox that answers. Raises SandboxAway."""
    url = os.environ.get(VARIABLE, DEFAULT).rstrip("/")
    parts = await asyncio.to_thread(_made, url)
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        try:
            health = await client.get(f"{url}/health")
            there = health.status_code == 200 and health.json().get("service") == "sandbox"
        except (httpx.HTTPError, ValueError):
            there = False
    if not there:
        raise SandboxAway(url)
    return parts


@cache
def _made(url: str) -> Parts:
    if not _on_this_machine(url):
        raise SandboxAway(url)
    folder = Path(tempfile.mkdtemp(prefix="myloware-studio-"))
    for name in ("files", "scratch"):
        (folder / name).mkdir()
    client = httpx.AsyncClient(event_hooks={"request": [_only(url)]}, trust_env=False)
    model = chat_model(
        base_url=f"{url}/v1",
        api_key=KEY,
        model=MODEL,
        http_async_client=httpx2.AsyncClient(trust_env=False),
        timeout=MODEL_SECONDS,
    )
    projects = read_projects([FOLDER])
    profile = profile_for(load_profiles(), f"{url}/v1", VIDEO, datetime.now(UTC).date())
    files = MemoryFiles(folder / "files")
    hired = {
        "clip": Hired(Videos(f"{url}/v1", KEY, profile, client, accept_clip), f"{url}/v1"),
        "render": Hired(EmbeddedRenders(files), None),
        "publication": Hired(UploadPost(f"{url}/api", KEY, "studio", files, client), f"{url}/api"),
    }
    deps = Dependencies(
        project=lambda name, options: projects[name].with_options(options),
        model=model,
        moderation=Moderation(f"{url}/v1", KEY, client),
        video=VideoModel(VIDEO, profile),
        ledger=MemoryLedger(hired, url, files, folder / "scratch"),
        feedback=MemoryInbox[PreviousReview](),
    )
    return Parts(deps, ChatDependencies(model, [_list_projects(projects)], _unspent))


def _on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _only(url: str) -> Any:
    """A hook that lets requests to nobody but `url` pass."""
    here = httpx.URL(url)

    async def check(request: httpx.Request) -> None:
        if (request.url.scheme, request.url.host, request.url.port) != (here.scheme, here.host, here.port):
            raise SandboxAway(str(request.url.copy_with(path="/", query=None)))

    return check


def _list_projects(projects: Mapping[str, Project]) -> BaseTool:
    @tool
    async def list_projects() -> str:
        """The projects a video can be made for."""
        return json.dumps([{"project": name, "summary": each.summary} for name, each in sorted(projects.items())])

    return list_projects


async def _unspent(key: str, input_tokens: int, output_tokens: int) -> None:
    """The sandbox's tokens cost nothing."""
