"""Agents: typed requests to a language model."""
