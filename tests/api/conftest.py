"""What the tests of the doors share."""

from tests.app import app, migrated_template, postgres_server, quiet_app, sandbox, sandbox_process

__all__ = ["app", "migrated_template", "postgres_server", "quiet_app", "sandbox", "sandbox_process"]
