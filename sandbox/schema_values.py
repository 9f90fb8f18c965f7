"""Generation of a minimal valid value for any JSON Schema."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

MAX_DEPTH = 6
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


def fill_schema(schema: Mapping[str, Any]) -> Any:
    """Return a value that is valid under the schema."""
    return _SchemaFiller(schema).build_value(schema, 0)


class _SchemaFiller:
    """Builds values of a root schema and of the parts that its references point to."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    def build_value(self, schema: Mapping[str, Any], depth: int) -> Any:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self.build_value(_choose_option(options, prefer_null=depth >= MAX_DEPTH), depth + 1)
        match _schema_type(schema):
            case "object":
                return self._build_object(schema, depth)
            case "array":
                return self._build_array(schema, depth)
            case "integer" | "number" as kind:
                return _build_number(schema, kind)
            case "boolean":
                return True
            case "null":
                return None
        return _build_text(schema)

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the schema with its `$ref` and `allOf` merged in."""
        merged = dict(schema)
        while "$ref" in merged:
            path = str(merged.pop("$ref")).removeprefix("#").strip("/")
            target: Any = self.root
            for step in path.split("/") if path else []:
                target = target[step.replace("~1", "/").replace("~0", "~")]
            merged = {**target, **merged}
        for part in merged.pop("allOf", []):
            merged = {**self._resolve(part), **merged}
        return merged

    def _build_object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = [name for name in properties if depth < MAX_DEPTH or name in schema.get("required", [])]
        return {name: self.build_value(properties[name], depth + 1) for name in names}

    def _build_array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.build_value(item, depth + 1) for item in schema["prefixItems"]]
        minimum = schema.get("minItems", 0 if depth >= MAX_DEPTH else 1)
        count = min(minimum, schema.get("maxItems", minimum))
        items = [self.build_value(schema.get("items", {}), depth + 1) for _ in range(count)]
        if schema.get("uniqueItems") and items and isinstance(items[0], str):
            items = [f"{item} {n}" if n else item for n, item in enumerate(items)]
        return items


def _choose_option(options: Sequence[Mapping[str, Any]], *, prefer_null: bool) -> Mapping[str, Any]:
    """Return the first option that is not null; `prefer_null` ends the recursion of a schema that contains itself."""
    null = [option for option in options if option.get("type") == "null"]
    other = [option for option in options if option.get("type") != "null"]
    return (null or options)[0] if prefer_null else (other or options)[0]


def _schema_type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _build_number(schema: Mapping[str, Any], kind: str) -> float:
    """Return the lowest number within the bounds; an exclusive bound is moved inwards by one step."""
    step = schema.get("multipleOf", 1 if kind == "integer" else None)
    lows = [schema[name] + by for name, by in (("minimum", 0), ("exclusiveMinimum", step or 0.5)) if name in schema]
    highs = [schema[name] - by for name, by in (("maximum", 0), ("exclusiveMaximum", step or 0.5)) if name in schema]
    value, high = max(lows, default=min([1, *highs])), min(highs, default=math.inf)
    if step:
        value = math.ceil(value / step) * step
    if value > high:
        value = math.floor(high / step) * step if step else high
    return int(value) if kind == "integer" else value


def _build_text(schema: Mapping[str, Any]) -> str:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    text = str(schema.get("title") or "sandbox")
    text = text.ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength", len(text))]
