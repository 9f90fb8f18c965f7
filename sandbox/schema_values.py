"""Generation of a minimal valid value for any JSON Schema."""

import math
from collections.abc import Mapping
from typing import Any

from sandbox.responses import ApiError

Schema = Mapping[str, Any]

MAX_DEPTH = 6
FORMATS = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "date-time": "2026-01-01T00:00:00Z",
    "uri": "https://example.com/sandbox",
}


def fill_schema(schema: Schema) -> Any:
    """Return a value that is valid under the schema. Raises ApiError 400 for what is no schema."""
    try:
        return _build_value(schema, schema, 0)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError, ArithmeticError) as error:
        raise ApiError(400, f"Invalid schema: {error}", code="invalid_schema") from error


def _build_value(schema: Schema, root: Schema, depth: int) -> Any:
    """Return a value of a part of the root schema."""
    schema = _resolve(schema, root)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        # Null comes last; deep inside it comes first, which ends the recursion of a schema that contains itself.
        options = sorted(options, key=lambda option: (option.get("type") == "null") is (depth < MAX_DEPTH))
        return _build_value(options[0], root, depth + 1)
    match _find_type(schema):
        case "object":
            properties = schema.get("properties", {})
            names = [name for name in properties if depth < MAX_DEPTH or name in schema.get("required", [])]
            return {name: _build_value(properties[name], root, depth + 1) for name in names}
        case "array":
            minimum = schema.get("minItems", 0 if depth >= MAX_DEPTH else 1)
            count = min(minimum, schema.get("maxItems", minimum))
            return [_build_value(schema.get("items", {}), root, depth + 1) for _ in range(count)]
        case "integer" | "number" as kind:
            return _build_number(schema, kind)
        case "boolean":
            return True
        case "null":
            return None
    text = FORMATS.get(schema.get("format", "")) or str(schema.get("title") or "sandbox")
    return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]


def _resolve(schema: Schema, root: Schema) -> Schema:
    """Return the schema with its `$ref` merged in."""
    merged = dict(schema)
    if "$ref" in merged:
        target: Any = root
        for step in str(merged.pop("$ref")).removeprefix("#").split("/")[1:]:
            target = target[step]
        return _resolve({**target, **merged}, root)
    return merged


def _find_type(schema: Schema) -> str:
    kind = schema.get("type") or ("object" if "properties" in schema else "array" if "items" in schema else "string")
    return str(next((one for one in kind if one != "null"), "null") if isinstance(kind, list) else kind)


def _build_number(schema: Schema, kind: str) -> float:
    """Return the lowest number within the bounds; an exclusive bound is moved inwards by one step."""
    step = schema.get("multipleOf", 1 if kind == "integer" else 0.5)
    highest = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - step)
    lowest = max(schema.get("minimum", min(1, highest)), schema.get("exclusiveMinimum", -math.inf) + step)
    value = min(math.ceil(lowest / step) * step, highest)
    return int(value) if kind == "integer" else value
