"""What the tests of the runs share."""

from tests.app import sandbox, sandbox_process

__all__ = ["sandbox", "sandbox_process"]
