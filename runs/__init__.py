"""Queries about runs and the operations that move them. Every entry point calls these functions."""
