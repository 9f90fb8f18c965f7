"""Providers that render films from a manifest."""
