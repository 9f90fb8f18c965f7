"""Fixtures: the product with a key that cannot approve, and a model that obeys injected texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.app import (
    ANNA,
    BEN,
    TINY_PROJECT,
    App,
    SandboxClient,
    migrated_template,
    open_app,
    postgres_server,
    sandbox,
    sandbox_process,
)
from tests.chat.adversarial_model import AdversarialModel

__all__ = ["migrated_template", "postgres_server", "sandbox", "sandbox_process"]

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
