"""Fixtures of the upgrade test."""

from tests.databases import postgres_server

__all__ = ["postgres_server"]
