"""The errors of requests about runs. Each has a stable code and a sentence for the caller."""

from typing import Any


class RunError(Exception):
    """A request about a run was refused. Nothing was changed."""

    code = "run_error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class ProjectNotFound(RunError):
    """No project has this name."""

    code = "project_not_found"


class RunNotFound(RunError):
    """No run has this id."""

    code = "run_not_found"


class RevisionNotFound(RunError):
    """The run has no such revision."""

    code = "revision_not_found"


class ArtifactNotFound(RunError):
    """No stored file has this digest."""

    code = "artifact_not_found"


class InvalidRequest(RunError):
    """The request is invalid. The message names the field."""

    code = "invalid_request"


class GateNotOpen(RunError):
    """The gate is not open. The details contain the open gate and the last decision."""

    code = "gate_not_open"


class StaleReview(RunError):
    """The content that was reviewed differs from the content that the gate shows now, which the details contain."""

    code = "stale_review"


class BudgetExceeded(RunError):
    """The cost is higher than the amount that remains under a cap."""

    code = "budget_exceeded"


class ApprovalNotPermitted(RunError):
    """The actor lacks approval permission."""

    code = "approval_not_permitted"


class ConfirmationNotFound(RunError):
    """No pending confirmation has this code, or it has expired."""

    code = "confirmation_not_found"


class LinkNotFound(RunError):
    """The reviewer's link is unknown or was altered."""

    code = "link_not_found"


class LinkClosed(RunError):
    """The reviewer's link cannot be used: its review was decided, its run has ended, or its creator lost the right."""

    code = "link_closed"


class LinkExpired(LinkClosed):
    """The reviewer's link has expired."""

    code = "link_expired"


class LinkUsed(LinkClosed):
    """The reviewer's link was used for a decision; it works once."""

    code = "link_used"


class RunEnded(RunError):
    """The run has ended."""

    code = "run_ended"


class OutcomeUnknown(RunError):
    """The outcome of an order is unknown. A person must check with the provider before it is placed again."""

    code = "outcome_unknown"


class NotRetryable(RunError):
    """The run did not fail, or its failure is final."""

    code = "run_not_retryable"


class TooManyStreams(RunError):
    """The API key has as many event streams open as it can have."""

    code = "too_many_streams"
