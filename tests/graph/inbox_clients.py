"""What Agent Inbox and Agent Chat UI do with an interrupt, as their sources have it.

Agent Inbox: `normalizeInterrupt`, `createDefaultHumanResponse`, `onEditChange` and `handleSubmit` at commit f38301b of
langchain-ai/agent-inbox. Agent Chat UI: `isAgentInboxInterruptSchema`, `createDefaultHumanResponse`, `onEditChange` and
`buildDecisionFromState` at commit fdc87e6 of langchain-ai/agent-chat-ui.
"""

from __future__ import annotations

import json
from typing import Any


class AgentInbox:
    """A person at Agent Inbox, who sees the interrupt with this value."""

    def __init__(self, value: dict[str, Any]) -> None:
        request, config = value["action_requests"][0], value["review_configs"][0]["allowed_decisions"]
        self.action = {"action": request.get("name") or "", "args": request.get("arguments") or {}}
        self.allowed = {"accept": "approve" in config, "edit": "edit" in config, "response": "reject" in config}
        # Its text areas have as many rows as `v.length` of each argument says, which fails for a null.
        assert None not in self.action["args"].values()

    def edit(self, **texts: str) -> list[dict[str, Any]]:
        """Type these texts into the fields: each is sent as the text that was typed, all others as they were."""
        assert self.allowed["edit"]
        assert texts.keys() <= self.action["args"].keys()
        return [{"type": "edit", "args": {"action": self.action["action"], "args": {**self.action["args"], **texts}}}]

    def accept(self) -> list[dict[str, Any]]:
        """Press Accept without an edit: the action is sent back with it."""
        return [{"type": "accept", "args": self.action}]

    def respond(self, text: str) -> list[dict[str, Any]]:
        return [{"type": "response", "args": text}]

    def ignore(self) -> list[dict[str, Any]]:
        """Press Ignore, which is always there."""
        return [{"type": "ignore", "args": None}]


class AgentChatUI:
    """A person at Agent Chat UI, who sees the interrupt with this value."""

    def __init__(self, value: dict[str, Any]) -> None:
        for request in value["action_requests"]:
            assert isinstance(request["name"], str)
            assert isinstance(request["args"], dict)
        for config in value["review_configs"]:
            assert isinstance(config["action_name"], str)
            assert isinstance(config["allowed_decisions"], list)
        self.action = {name: value["action_requests"][0][name] for name in ("name", "args")}

    def edit(self, **texts: str) -> dict[str, Any]:
        """Type these texts into the fields."""
        assert texts.keys() <= self.action["args"].keys()
        args = {**self.action["args"], **texts}
        return {"decisions": [{"type": "edit", "edited_action": {"name": self.action["name"], "args": args}}]}

    def accept(self) -> dict[str, Any]:
        return {"decisions": [{"type": "approve"}]}

    def respond(self, text: str) -> dict[str, Any]:
        """Reject, which takes a reason."""
        return {"decisions": [{"type": "reject", "message": text}]}


def typed(value: Any) -> str:
    """Return a value as both show it in a text area."""
    return value if isinstance(value, str) else json.dumps(value)
