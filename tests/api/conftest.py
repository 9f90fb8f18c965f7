"""Fixtures of the API tests."""

from tests.app import app, migrated_template, postgres_server, quiet_app, sandbox, sandbox_process

__all__ = ["app", "migrated_template", "postgres_server", "quiet_app", "sandbox", "sandbox_process"]
