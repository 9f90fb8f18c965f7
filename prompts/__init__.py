"""The words: prompts and projects, Markdown with strict variables."""
