"""Makes a value that fits a JSON Schema, as a model that follows `response_format` or a tool's parameters would.

Covers what the service accepts for structured outputs: objects, arrays, enums, `anyOf`, `$ref` into `$defs`. A schema
that refers to itself is followed six levels deep; the value is null below.
"""

from __future__ import annotations

from typing import Any

_DEEPEST = 6


def example(schema: object) -> Any:
    """The simplest value that fits `schema`; None for schemas that it does not understand."""
    return _example(schema, schema, 0)


def _example(schema: object, root: object, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    if isinstance(schema.get("$ref"), str):
        return _example(_resolved(schema["$ref"], root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return _example(schema[key][0], root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None and "properties" in schema:
        kind = "object"
    return _of_kind(kind, schema, root, depth)


def _of_kind(kind: object, schema: dict[str, Any], root: object, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties")
        named = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        wanted = required if isinstance(required, list) else list(named)
        return {name: _example(named.get(name), root, depth + 1) for name in wanted if isinstance(name, str)}
    if kind == "array":
        least = schema.get("minItems")
        number = min(least, 10) if isinstance(least, int) and least > 0 else int(depth < 3)
        return [_example(schema.get("items"), root, depth + 1) for _ in range(number)]
    if kind in ("integer", "number"):
        least = schema.get("minimum")
        return least if isinstance(least, int | float) else 1
    return {"string": "text", "boolean": True}.get(kind) if isinstance(kind, str) else None


def _resolved(reference: str, root: object) -> object:
    """What a `#/a/b` reference points at in `root`."""
    found = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part) if isinstance(found, dict) else None
    return found
