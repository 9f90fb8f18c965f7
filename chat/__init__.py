"""Chat sessions with the supervisor, and the tools that chats and MCP clients share."""
