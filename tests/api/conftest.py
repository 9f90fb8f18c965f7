"""What the tests of the doors share."""

from tests.world import migrated_template, postgres_server, quiet_world, sandbox, sandbox_process, world

__all__ = ["migrated_template", "postgres_server", "quiet_world", "sandbox", "sandbox_process", "world"]
