"""Fixtures: the product with a key that cannot approve, and a model that obeys injected texts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from api.http_server import run_server
from api.listening import listen, url_of
from chat.session import ChatServices
from providers.chat_models import chat_model
from tests.app import ANNA, BEN, TINY_PROJECT, App, SandboxClient, open_app, sandbox, sandbox_process
from tests.chat.adversarial_model import AdversarialModel, ObedientModel

#: A sandbox of their own: the worker of `app` uses it until the end of the session.
__all__ = ["sandbox", "sandbox_process"]

#: A key without approval permission.
LIM = "key-of-lim-0000000000000"


@pytest.fixture(scope="session")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two projects of one clip, in addition to the built-in ones: aismr, calm, shorts, tiny."""
    folder = tmp_path_factory.mktemp("projects")
    for name in ("calm", "tiny"):
        (folder / f"{name}.md").write_text(TINY_PROJECT)
    return folder


@pytest.fixture(scope="session")
def app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient, projects: Path) -> Iterator[App]:
    """The product, with two keys that can approve and one that cannot."""
    with open_app(
        postgres_server,
        migrated_template,
        sandbox_process,
        api_keys=[SecretStr(ANNA), SecretStr(BEN)],
        limited_api_keys=[SecretStr(LIM)],
        projects_dir=projects,
    ) as opened:
        yield opened


@pytest.fixture(scope="session")
def adversarial_model() -> Iterator[AdversarialModel]:
    """A model that obeys every text it reads."""
    with AdversarialModel() as model:
        yield model


@contextmanager
def served_with(app: App, model: AdversarialModel) -> Iterator[str]:
    """Serve the same product with another model of the chat; run graph, worker and sandbox are unchanged."""
    listening, stop = listen(), asyncio.Event()

    async def serve() -> None:
        async with httpx2.AsyncClient(verify=False) as http:
            chat = chat_model(
                base_url=model.url,
                api_key="any",
                model="adversarial",
                http_async_client=http,
                timeout=20,
                max_tokens=2000,
            )
            async with run_server(replace(app.state, chat=ChatServices(app.state.services, chat)), listening):
                await stop.wait()

    server = asyncio.run_coroutine_threadsafe(serve(), app._loop)
    yield url_of(listening)
    app._loop.call_soon_threadsafe(stop.set)
    server.result(30)


@pytest.fixture(scope="session")
def obedient_model() -> Iterator[ObedientModel]:
    """A model that makes the calls that it reads."""
    with ObedientModel() as model:
        yield model


@pytest.fixture(scope="session")
def obedient_url(app: App, obedient_model: ObedientModel) -> Iterator[str]:
    """The URL of the same product with an obedient supervisor."""
    with served_with(app, obedient_model) as url:
        yield url
