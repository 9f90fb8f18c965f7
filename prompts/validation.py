"""Format validation errors as one sentence."""

from collections.abc import Sequence
from typing import Any, Protocol


class HasErrors(Protocol):
    """The part that `pydantic.ValidationError` and FastAPI's `RequestValidationError` have in common."""

    def errors(self) -> Sequence[Any]:
        """Return the errors, each with `loc` and `msg`."""
        ...


def describe_validation_error(error: HasErrors, *, root: str = "", limit: int = 1) -> str:
    """Return the first `limit` errors as "field.path: message", joined by "; " and without a final period.

    The rejected input is not repeated: it may be secret, or text that cannot be encoded.

    Args:
        error: The validation error.
        root: A name put before every path, for example "edits".
        limit: The number of errors to describe.
    """
    return "; ".join(_describe(fault, root) for fault in error.errors()[:limit])


def _describe(fault: dict[str, Any], root: str) -> str:
    path = ".".join(map(str, ((root, *fault["loc"]) if root else fault["loc"])))
    message = str(fault["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{path}: {message}" if path else message
