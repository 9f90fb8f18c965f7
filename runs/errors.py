"""The errors of requests about runs. Each has a stable code and a sentence for the caller."""

from typing import Any


class RunError(Exception):
    """A request about a run was refused. Nothing was changed. Each class names its code."""

    code = "run_error"

    def __init_subclass__(cls, code: str) -> None:
        cls.code = code

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class NotFound(RunError, code="not_found"):
    """What the request names does not exist."""


class ProjectNotFound(NotFound, code="project_not_found"):
    """No project has this name."""


class ProjectRefused(RunError, code="project_refused"):
    """The video model cannot generate the clips of the project. The details contain the code of the reason."""


class RunNotFound(NotFound, code="run_not_found"):
    """No run has this id."""


class RevisionNotFound(NotFound, code="revision_not_found"):
    """The run has no such revision."""


class SessionNotFound(NotFound, code="session_not_found"):
    """The API key has no chat session of this id."""


class ArtifactNotFound(NotFound, code="artifact_not_found"):
    """No stored file has this digest."""


class InvalidRequest(RunError, code="invalid_request"):
    """The request is invalid. The message names the field."""


class ImageRefused(RunError, code="video_image_unsupported"):
    """The offered video model cannot start a clip from the image."""


class GateNotOpen(RunError, code="gate_not_open"):
    """The gate is not open. The details contain the open gate and the last decision."""


class StaleReview(RunError, code="stale_review"):
    """The content that was reviewed differs from the content that the gate shows now, which the details contain."""


class RulesChanged(RunError, code="rules_changed"):
    """The rules of the project differ from those that were shown, or are being changed."""


class BudgetExceeded(RunError, code="budget_exceeded"):
    """The cost is higher than the amount that remains under a cap."""


class ApprovalNotPermitted(RunError, code="approval_not_permitted"):
    """The actor lacks approval permission."""


class ConfirmationNotFound(NotFound, code="confirmation_not_found"):
    """No pending confirmation has this code, or it has expired."""


class LinkNotFound(NotFound, code="link_not_found"):
    """The reviewer's link is unknown or was altered."""


class LinkClosed(RunError, code="link_closed"):
    """The reviewer's link cannot be used: its review was decided, its run has ended, or its creator lost the right."""


class LinkExpired(LinkClosed, code="link_expired"):
    """The reviewer's link has expired."""


class LinkUsed(LinkClosed, code="link_used"):
    """The reviewer's link was used for a decision; it works once."""


class RunEnded(RunError, code="run_ended"):
    """The run has ended."""


class RunNotEnded(RunError, code="run_not_ended"):
    """The run cannot be deleted: it has not ended, or is still needed."""


class RunPruned(RunError, code="run_pruned"):
    """What the request needs of the run was pruned. Its costs, orders and decisions are kept."""


class OutcomeUnknown(RunError, code="outcome_unknown"):
    """The outcome of an order is unknown. A person must check with the provider before it is placed again."""


class NotRetryable(RunError, code="run_not_retryable"):
    """The run did not fail, or its failure is final."""


class TooManyStreams(RunError, code="too_many_streams"):
    """The API key has as many event streams open as it can have."""
