"""Check and convert values that a service sends."""

import re
from typing import TypeGuard

_ERROR_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


def is_error_code(value: object) -> TypeGuard[str]:
    """Return whether the value can be used as an error code: snake_case, at most 64 characters."""
    return isinstance(value, str) and _ERROR_CODE.fullmatch(value) is not None


def is_plain_text(value: object, max_length: int = 4096) -> TypeGuard[str]:
    """Return whether the value can be stored and displayed: 1 to 4096 printable characters, no lone surrogates."""
    return isinstance(value, str) and 1 <= len(value) <= max_length and value.isprintable()


def parse_number(value: object) -> float | None:
    """Return a number given as a number or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e12 else None  # neither infinity nor NaN


def parse_progress(done: object, total: object = 1) -> float | None:
    """Return `done` as a share (0..1) of `total`; None unless both are numbers."""
    number, whole = parse_number(done), parse_number(total)
    return min(max(number / whole, 0.0), 1.0) if number is not None and whole else None
