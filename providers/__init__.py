"""Clients of external services: one module per API contract, behind the interfaces of `providers/base.py`."""
