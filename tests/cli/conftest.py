"""What the tests of the commands share."""

from tests.world import migrated_template, postgres_server, sandbox, sandbox_process, world

__all__ = ["migrated_template", "postgres_server", "sandbox", "sandbox_process", "world"]
