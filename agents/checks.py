"""What a state must look like before a learner goes on from it: it may come from a stranger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from textgym.errors import InvalidSetting

Array = npt.NDArray[Any]


def count(state: Mapping[str, Any], name: str) -> int:
    """Return an integer of at least 0 from a state."""
    value = state[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise InvalidSetting(f"{name}={value!r} is no count.")
    return value


def array_like(state: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: Any, low: Any, high: Any) -> Array:
    """Return a copy of a state's array, whose numbers must lie from `low` to `high`, both of them allowed."""
    value = state[name]
    if not isinstance(value, np.ndarray) or (value.shape, value.dtype) != (shape, np.dtype(dtype)):
        given = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else repr(value)
        raise InvalidSetting(f"{name} is {given}; this agent needs {np.dtype(dtype)} {shape}.")
    if not ((low <= value) & (value <= high)).all():  # nor is NaN between them
        raise InvalidSetting(f"{name} has a number that is not from {np.min(low)} to {np.max(high)}.")
    return value.copy()


def statistics(state: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[bool]]:
    """Return a state's last episodes, each with its return `r` and length `l`, and which of them succeeded."""
    episodes, successes = state["episodes"], state["successes"]
    if not isinstance(episodes, list) or not all(map(_is_episode, episodes)):
        raise InvalidSetting(f"{episodes!r} is no list of episodes with numbers r and l.")
    if not isinstance(successes, list) or not all(isinstance(success, bool) for success in successes):
        raise InvalidSetting(f"{successes!r} is no list of true and false.")
    return list(episodes), list(successes)


def _is_episode(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), Real) and math.isfinite(value[name]) for name in ("r", "l")
    )
