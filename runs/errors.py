"""What can be wrong with a request about a run. Each has a code, and a sentence for the person who asked."""

from __future__ import annotations

from typing import Any


class RunError(Exception):
    """A request about a run that cannot be met; nothing was changed."""

    code = "run_error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class ProjectNotFound(RunError):
    """There is no project of that name."""

    code = "project_not_found"


class RunNotFound(RunError):
    """There is no run of that id."""

    code = "run_not_found"


class RevisionNotFound(RunError):
    """The run has no such revision."""

    code = "revision_not_found"


class ArtifactNotFound(RunError):
    """There is no file of that digest."""

    code = "artifact_not_found"


class InvalidRequest(RunError):
    """What was sent does not fit; the message names the place."""

    code = "invalid_request"


class GateNotOpen(RunError):
    """That gate is not open; the details name the one that is, and who decided last."""

    code = "gate_not_open"


class StaleReview(RunError):
    """What was reviewed is not what the gate shows now."""

    code = "stale_review"


class BudgetExceeded(RunError):
    """It would cost more than is left under a cap."""

    code = "budget_exceeded"


class ApprovalNotPermitted(RunError):
    """This key was given without the right to decide."""

    code = "may_not_decide"


class ConfirmationNotFound(RunError):
    """No decision waits under that code here, or no longer."""

    code = "code_unknown"


class LinkNotFound(RunError):
    """The reviewer's link was not made here, or was altered on its way."""

    code = "link_unknown"


class LinkClosed(RunError):
    """The reviewer's link served its time: what it was for is decided, or its run has ended."""

    code = "link_over"


class LinkExpired(LinkClosed):
    """The reviewer's link expired."""

    code = "link_expired"


class LinkUsed(LinkClosed):
    """Somebody decided with this link already, and a link works once."""

    code = "link_used"


class RunEnded(RunError):
    """The run has ended already."""

    code = "run_ended"


class OutcomeUnknown(RunError):
    """Something was ordered and nobody knows whether it was made; a person must look before it is ordered again."""

    code = "outcome_unknown"


class NotRetryable(RunError):
    """The run did not fail, or failed for good."""

    code = "run_not_retryable"
