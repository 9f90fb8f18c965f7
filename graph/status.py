"""The gates, and the public status and step of a run by the node its thread is at."""

from typing import Literal

Gate = Literal["ideation", "publish"]
Status = Literal[
    "pending",
    "running",
    "awaiting_ideation_approval",
    "awaiting_video_generation",
    "awaiting_render",
    "awaiting_publish_approval",
    "completed",
    "failed",
]

TERMINAL_STATUSES: tuple[Status, ...] = ("completed", "failed")

_NODES_OF_STEP = {
    "supervisor": ["supervisor"],
    "ideator": ["ideator", "ideation_gate"],
    "clips": ["plan_clips", "order_clip", "await_clips", "rewrite_shots", "await_narration"],
    "render": ["order_render", "await_render"],
    "publisher": ["write_caption", "publish_gate", "order_publication", "await_publication"],
}
#: The `current_step` of the API reference, by node.
STEP_OF_NODE = {node: step for step, nodes in _NODES_OF_STEP.items() for node in nodes}

#: The status of a run that waits in a node. The API reference has no status for a wait for the publisher: `running`.
STATUS_OF_WAITING_NODE: dict[str, Status] = {
    "ideation_gate": "awaiting_ideation_approval",
    "await_clips": "awaiting_video_generation",
    "await_narration": "awaiting_video_generation",
    "await_render": "awaiting_render",
    "publish_gate": "awaiting_publish_approval",
    "await_publication": "running",
}
