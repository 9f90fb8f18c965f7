"""Fixtures of the agents' tests."""

from tests.app import sandbox, sandbox_process

__all__ = ["sandbox", "sandbox_process"]
