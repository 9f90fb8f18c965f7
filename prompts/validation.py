"""Format validation errors as one sentence."""

from collections.abc import Sequence
from typing import Any


def describe_errors(errors: Sequence[Any], *, root: str = "", limit: int = 1) -> str:
    """Return the first `limit` of the errors as "field.path: message", joined by "; " and without a final period.

    They are those of pydantic's or FastAPI's validation; `root` is put before every path, for example "edits".
    The rejected input is not repeated: it may be secret, or text that cannot be encoded.
    """
    return "; ".join(_describe(error, root) for error in errors[:limit])


def _describe(error: dict[str, Any], root: str) -> str:
    path = ".".join(map(str, ((root, *error["loc"]) if root else error["loc"])))
    message = str(error["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{path}: {message}" if path else message
