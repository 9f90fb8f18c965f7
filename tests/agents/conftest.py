"""What the tests of the agents share."""

from tests.app import sandbox, sandbox_process

__all__ = ["sandbox", "sandbox_process"]
