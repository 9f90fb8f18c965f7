"""The product with its chat doors, for this folder, and a model that does what it is told by anybody."""

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
    opened,
    postgres_server,
    sandbox,
    sandbox_process,
)
from tests.chat.adversarial_model import AdversarialModel

__all__ = ["migrated_template", "postgres_server", "sandbox", "sandbox_process"]

#: A key that may do everything but decide.
LIM = "key-of-lim-0000000000000"


@pytest.fixture(scope="session")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Projects of one clip, beside those that are always there: aismr, calm, shorts, tiny."""
    folder = tmp_path_factory.mktemp("projects")
    for name in ("calm", "tiny"):
        (folder / f"{name}.md").write_text(TINY_PROJECT)
    return folder


@pytest.fixture(scope="session")
def app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient, projects: Path) -> Iterator[App]:
    """The product, with a key that may not decide beside those that may."""
    with opened(
        postgres_server,
        migrated_template,
        sandbox_process,
        api_keys=[SecretStr(ANNA), SecretStr(BEN)],
        limited_api_keys=[SecretStr(LIM)],
        projects_dir=projects,
    ) as made:
        yield made


@pytest.fixture(scope="session")
def worst_model() -> Iterator[AdversarialModel]:
    """A model that obeys whatever it reads."""
    with AdversarialModel() as model:
        yield model
