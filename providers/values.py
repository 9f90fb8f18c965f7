"""Check and convert values that a service sends."""

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeGuard

_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
#: The start of an object in JSON, or as Python prints it.
_OBJECT = re.compile(r"\{\s*\\?[\"']")
_CODE_FIELDS = ("code", "failureCode", "failure_code", "errorCode", "error_code")
_MESSAGE_FIELDS = ("message", "failure", "msg", "detail")


def error_code(value: object) -> str | None:
    """Return the code of a service as lower-case words with underscores, at most 64 characters; else None."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    code = "_".join(filter(None, _WORD_BREAK.split(text))).lower()
    # A number is `code_` and the number, unless it is an HTTP status.
    if code.isdigit():
        return f"code_{code}" if 3 < len(code) <= 20 else None
    return code if len(code) <= 64 and code[:1].isalpha() else None


def read_error(body: object, depth: int = 0) -> tuple[str | None, str]:
    """Return code and message of an error response of any service: its own, or those of the service behind it.

    The code is None without one. The message is prose on one line: JSON and pages in it are replaced by what they say.
    """
    if isinstance(body, list):
        body = body[0] if body else None
    if isinstance(body, str):
        prose = _OBJECT.split(body[:10_000], maxsplit=1)[0]
        code, message = read_error(_parse_object(body[len(prose) : 10_000]), depth + 1)
        return code, message or ("" if prose.lstrip().startswith("<") else one_line(prose, 2000).rstrip(" -:[(,"))
    if not isinstance(body, Mapping) or depth > 8:
        return None, ""
    # Entries of a validation report have their code in `type`.
    fields = (*_CODE_FIELDS, "type") if "msg" in body else _CODE_FIELDS
    own = next(filter(None, map(error_code, map(body.get, fields))), None)
    found = [read_error(body.get(field), depth + 1) for field in ("error", *_MESSAGE_FIELDS)]
    return own or next((code for code, _ in found if code), None), next((text for _, text in found if text), "")


def _parse_object(text: str) -> object:
    for parse in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return parse(text[: text.rfind("}") + 1])
    return None


def one_line(text: str, limit: int = 300) -> str:
    """Return the start of a text on one line, without characters that cannot be printed."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text[:2000]).split())[:limit]


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
