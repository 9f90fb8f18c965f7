"""What the tests of the agents share."""

from tests.world import sandbox, sandbox_process

__all__ = ["sandbox", "sandbox_process"]
