"""The doors for chat clients and agents: the OpenAI-compatible one, and MCP."""
