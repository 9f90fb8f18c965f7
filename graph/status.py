"""The public status and step of a run, by the node its thread is at."""

from __future__ import annotations

from typing import Literal

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

#: The `current_step` of the API reference, by node.
STEP_OF_NODE = {
    "supervisor": "supervisor",
    "ideator": "ideator",
    "ideation_gate": "ideator",
    "plan_clips": "clips",
    "order_clip": "clips",
    "await_clips": "clips",
    "rewrite_shots": "clips",
    "order_render": "render",
    "await_render": "render",
    "write_caption": "publisher",
    "publish_gate": "publisher",
    "order_publication": "publisher",
    "await_publication": "publisher",
}

#: The status of a run that waits in a node. The API reference has no status for a wait for the publisher: `running`.
STATUS_OF_WAITING_NODE: dict[str, Status] = {
    "ideation_gate": "awaiting_ideation_approval",
    "await_clips": "awaiting_video_generation",
    "await_render": "awaiting_render",
    "publish_gate": "awaiting_publish_approval",
    "await_publication": "running",
}
