"""What a state must look like before a learner goes on from it: it may come from a stranger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from textgym.errors import InvalidSetting
from textgym.states import array_like as array_like


def count(state: Mapping[str, Any], name: str) -> int:
    """Return an integer of at least 0 from a state."""
    value = state[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise InvalidSetting(f"{name}={value!r} is no count.")
    return value


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
