"""Schemas: any JSON Schema is answered with the plainest value that satisfies it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

DEPTH = 6
FORMATS = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "email": "sandbox@example.com",
    "uri": "https://example.com/sandbox",
    "ipv4": "192.0.2.1",
    "duration": "PT1S",
}


def filled(schema: Mapping[str, Any]) -> Any:
    """A value the schema allows."""
    return _Filler(schema).value(schema, 0)


class _Filler:
    """Knows the whole schema, since its parts refer to each other."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    def value(self, schema: Mapping[str, Any], depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self.value(_plainest(options, deep=depth >= DEPTH), depth + 1)
        match _kind(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number" as kind:
                return _number(schema, kind)
            case "boolean":
                return True
            case "null":
                return None
        return _text(schema)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        whole = dict(schema)
        while "$ref" in whole:
            path = str(whole.pop("$ref")).removeprefix("#").strip("/")
            found: Any = self.root
            for step in path.split("/") if path else []:
                found = found[step.replace("~1", "/").replace("~0", "~")]
            whole = {**found, **whole}
        for part in whole.pop("allOf", []):
            whole = {**self._resolved(part), **whole}
        return whole

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = [name for name in properties if depth < DEPTH or name in schema.get("required", [])]
        return {name: self.value(properties[name], depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(item, depth + 1) for item in schema["prefixItems"]]
        least = schema.get("minItems", 0 if depth >= DEPTH else 1)
        count = min(least, schema.get("maxItems", least))
        items = [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
        if schema.get("uniqueItems") and items and isinstance(items[0], str):
            items = [f"{item} {n}" if n else item for n, item in enumerate(items)]
        return items


def _plainest(options: Sequence[Mapping[str, Any]], *, deep: bool) -> Mapping[str, Any]:
    """The first that is something; deep inside a schema that contains itself, the one that is nothing."""
    nothing = [option for option in options if option.get("type") == "null"]
    something = [option for option in options if option.get("type") != "null"]
    return (nothing or options)[0] if deep else (something or options)[0]


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _number(schema: Mapping[str, Any], kind: str) -> float:
    step = schema.get("multipleOf", 1 if kind == "integer" else None)
    low = schema.get("minimum")
    if (above := schema.get("exclusiveMinimum")) is not None:
        low = above + (step or 0.5)
    high = schema.get("maximum")
    if (below := schema.get("exclusiveMaximum")) is not None:
        high = below - (step or 0.5)
    value = low if low is not None else min(1, high) if high is not None else 1
    if step:
        value = math.ceil(value / step) * step
    if high is not None and value > high:
        value = math.floor(high / step) * step if step else high
    return int(value) if kind == "integer" else value


def _text(schema: Mapping[str, Any]) -> str:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    text = str(schema.get("title") or "sandbox")
    text = text.ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength", len(text))]
