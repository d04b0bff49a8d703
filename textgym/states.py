"""What a saved state must look like before anything goes on from it: it may come from a stranger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from textgym.arrays import Array
from textgym.errors import InvalidSetting


def array_like(state: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: Any, low: Any, high: Any) -> Array:
    """Return a copy of a state's array, whose numbers must lie from `low` to `high`, both of them allowed."""
    value = state.get(name)
    if not isinstance(value, np.ndarray) or (value.shape, value.dtype) != (shape, np.dtype(dtype)):
        given = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else repr(value)
        raise InvalidSetting(f"{name} is {given}; here it must be {np.dtype(dtype)} {shape}.")
    if not ((low <= value) & (value <= high)).all():  # nor is NaN between them
        raise InvalidSetting(f"{name} has a number that is not from {np.min(low)} to {np.max(high)}.")
    return value.copy()
