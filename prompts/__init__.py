"""Prompts and projects: Markdown files with strict variables."""
