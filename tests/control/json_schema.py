"""The part of JSON Schema (2020-12) that our document uses: a check without our models."""

from __future__ import annotations

from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
CHECKED = {"$ref", "type", "anyOf", "oneOf", "const", "enum", "properties", "required"}
CHECKED |= {"additionalProperties", "propertyNames", "maxProperties", "items", "maxItems"}
CHECKED |= {"minimum", "maximum", "maxLength"}
TOLD = {"title", "description", "default"}


def faults(value: Any, schema: Any, document: dict[str, Any], where: str = "$") -> list[str]:
    """Where `value` is not as `schema` says; [] = it is."""
    assert schema.keys() <= CHECKED | TOLD, f"keywords that are not checked: {schema.keys()}"
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return faults(value, document["$defs"][name], document, where)
    found = []
    for key in ("anyOf", "oneOf"):
        if key in schema:
            num_fitting = sum(not faults(value, one, document, where) for one in schema[key])
            if num_fitting == 0 or (key == "oneOf" and num_fitting > 1):
                found.append(f"{where}: {num_fitting} of {key} fit")
    if "const" in schema and value != schema["const"]:
        found.append(f"{where}: not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: none of {schema['enum']}")
    if "type" in schema and not _is_kind(value, schema["type"]):
        return [*found, f"{where}: {type(value).__name__} is not {schema['type']}"]
    if isinstance(value, dict):
        found += _object_faults(value, schema, document, where)
    elif isinstance(value, list):
        found += [f"{where}: too many"] * (len(value) > schema.get("maxItems", len(value)))
        for index, item in enumerate(value):
            found += faults(item, schema.get("items", {}), document, f"{where}[{index}]")
    elif isinstance(value, str):
        found += [f"{where}: too long"] * (len(value) > schema.get("maxLength", len(value)))
    elif isinstance(value, int | float):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        found += [f"{where}: {value} is out of range"] * (not low <= value <= high)
    return found


def _is_kind(value: Any, wanted: str | list[str]) -> bool:
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if isinstance(value, bool):
        return "boolean" in kinds
    return any(isinstance(value, KINDS[kind]) for kind in kinds)


def _object_faults(value: Any, schema: Any, document: dict[str, Any], where: str) -> list[str]:
    found = [f"{where}: lacks {key}" for key in schema.get("required", []) if key not in value]
    found += [f"{where}: too many"] * (len(value) > schema.get("maxProperties", len(value)))
    members = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    for key, item in value.items():
        named = schema.get("propertyNames", {})
        found += faults(key, named, document, f"{where} key")
        if isinstance(others, dict) or key in members:
            found += faults(item, members.get(key, others), document, f"{where}.{key}")
    return found
