"""Fixtures of the CLI tests."""

from tests.app import app, migrated_template, postgres_server, sandbox, sandbox_process

__all__ = ["app", "migrated_template", "postgres_server", "sandbox", "sandbox_process"]
