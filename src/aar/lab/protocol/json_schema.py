"""The part of JSON Schema (2020-12) that requests are described with, checked with the standard library.

Known here: `type` (object, array, string, integer, boolean, null, or a list of them), `properties`,
`required`, `additionalProperties`, `propertyNames`, `maxProperties`, `dependentRequired`, `items`,
`minItems`, `maxItems`, `minLength`, `maxLength`, `pattern`, `enum`, `minimum`, `maximum`. A pattern stands
between ``^`` and ``$``. Other words only describe, but for `x-max-bytes`: the most UTF-8 bytes of an
object's strings together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

Schema = Mapping[str, Any]

_TYPES: Mapping[str, tuple[type, str]] = {
    "object": (dict, "an object"),
    "array": (list, "a list"),
    "string": (str, "a text"),
    "integer": (int, "a whole number"),
    "boolean": (bool, "true or false"),
    "null": (type(None), "null"),
}
_SHOWN_CHARACTERS = 60
_SHOWN_KEYS = 12


def fault(value: object, schema: Schema, where: str = "") -> str:
    """The first thing that is wrong with `value`, in one line: what came and what was wanted. Else ''."""
    return next(_faults(value, schema, where), "")


def shown(value: object) -> str:
    """A stranger's value in at most 60 characters of ASCII, on one line."""
    # Cut first: the representation of a megabyte is another one.
    cut = value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value
    if isinstance(value, (dict, list)):
        cut = f"{len(value)} {'keys' if isinstance(value, dict) else 'items'}"
    elif isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    text = ascii(cut)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _faults(value: object, schema: Schema, where: str) -> Iterator[str]:
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if kinds and not any(_is_of(kind, value) for kind in kinds):
        words = " or ".join(_TYPES[kind][1] for kind in kinds)
        yield _said(where, f"got {shown(value)}, want {words}")
        return
    if "enum" in schema and value not in schema["enum"]:
        yield _said(where, f"got {shown(value)}, want one of {', '.join(map(repr, schema['enum']))}")
    if isinstance(value, str):
        yield from _faults_of_text(value, schema, where)
    elif isinstance(value, int):
        least, most = schema.get("minimum", value), schema.get("maximum", value)
        if not least <= value <= most:
            yield _said(where, f"got {shown(value)}, want a whole number {_range(schema, 'imum')}")
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield _said(where, f"got {len(value)} items, want {_range(schema, 'Items')}")
        else:
            for position, item in enumerate(value):
                yield from _faults(item, schema.get("items", {}), f"{where}[{position}]")
    elif isinstance(value, dict):
        yield from _faults_of_object(value, schema, where)


def _is_of(kind: str, value: object) -> bool:
    return isinstance(value, _TYPES[kind][0]) and (kind == "boolean" or not isinstance(value, bool))


def _faults_of_text(value: str, schema: Schema, where: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield _said(where, f"got {len(value)} characters, want {_range(schema, 'Length')}")
        return
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        yield _said(where, f"it is no Unicode text: half of a surrogate pair at character {error.start}")
        return
    if "pattern" in schema and not _compiled(schema["pattern"]).fullmatch(value):
        wanted = schema.get("description") or f"what matches {schema['pattern']}"
        yield _said(where, f"got {shown(value)}, want {wanted}")


def _faults_of_object(value: dict[Any, Any], schema: Schema, where: str) -> Iterator[str]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    strange = [key for key in value if key not in properties]
    missing = [key for key in schema.get("required", ()) if key not in value]
    lacks = f"it lacks {', '.join(missing)}" if missing else ""
    if strange and others is False:
        known = ", ".join(sorted(properties)) or "nothing"
        named = ", ".join(shown(key) for key in strange[:_SHOWN_KEYS])
        yield _said(where, f"unknown {named}; known here: {known}" + (lacks and f"; {lacks}"))
        return
    if lacks:
        yield _said(where, lacks)
    if len(value) > schema.get("maxProperties", len(value)):
        yield _said(where, f"got {len(value)} of them, at most {schema['maxProperties']}")
        return
    for key, wanted in schema.get("dependentRequired", {}).items():
        if key in value and any(one not in value for one in wanted):
            yield _said(where, f"{key} stands there without {' and '.join(wanted)}")
    for key, one in value.items():
        if key not in properties and "propertyNames" in schema:
            yield from _faults(key, schema["propertyNames"], f"{where} key".strip())
        inner = properties.get(key, others)
        if isinstance(inner, Mapping):
            name = key if key in properties else shown(key)
            yield from _faults(one, inner, f"{where}.{name}" if where else str(name))
    if "x-max-bytes" in schema:
        size = sum(len(one.encode("utf-8", "replace")) for one in value.values() if isinstance(one, str))
        if size > schema["x-max-bytes"]:
            yield _said(where, f"got {size} bytes in all, at most {schema['x-max-bytes']}")


def _range(schema: Schema, ending: str) -> str:
    least, most = schema.get(f"min{ending}"), schema.get(f"max{ending}")
    if most is None:
        return f"{least} or more"
    return f"{least or 0} to {most}"


def _said(where: str, what: str) -> str:
    return f"{where}: {what}" if where else what


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removeprefix("^").removesuffix("$"), re.ASCII)
