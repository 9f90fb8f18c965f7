"""Fixtures of the run tests."""

from tests.app import sandbox, sandbox_process

__all__ = ["sandbox", "sandbox_process"]
