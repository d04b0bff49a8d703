"""Nested settings as dictionaries: names with dots, and one layer over another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from textgym.errors import InvalidSetting


def nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with names that may have dots as nested ones: `policy.d_model=8` as `{"policy": {"d_model": 8}}`.

    Raises:
        InvalidSetting: one setting is given twice, or both as a value and with settings inside it.
    """
    result: dict[str, Any] = {}
    for name, value in given.items():
        first, *path = str(name).split(".")
        value = (
            nested(value) if isinstance(value, Mapping) else value.item() if isinstance(value, np.generic) else value
        )
        for part in reversed(path):
            value = {part: value}
        _put(result, first, value, first)
    return result


def _put(place: dict[str, Any], key: str, value: Any, name: str) -> None:
    """Add a setting, or the settings inside it one by one."""
    if key not in place:
        place[key] = value
    elif isinstance(value, dict) and isinstance(place[key], dict):
        for inner, part in value.items():
            _put(place[key], inner, part, f"{name}.{inner}")
    else:
        raise InvalidSetting(f"{name!r} is given twice: {place[key]!r} and {value!r}. Give it once.")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by names with dots."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings in which a later layer's values stand over an earlier one's."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            inner = result.get(name)
            both = isinstance(value, Mapping) and isinstance(inner, Mapping)
            result[name] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return result
