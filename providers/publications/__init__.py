"""Providers that publish films."""
