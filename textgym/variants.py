"""variant: the arguments with which a task is as hard as one wants it."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from textgym.envs.ladders import LADDERS
from textgym.errors import InvalidSetting
from textgym.hardness import difficulty

HIGHEST = 64  # rungs
NEAR = 0.5  # decades


def variant(id: str, success: float) -> dict[str, Any]:
    """Return arguments with which uniform writing succeeds with about the probability asked for.

    The task's ladder (`textgym.envs.ladders`) is climbed, one knob a little further at a time, and each rung's
    probability computed; the nearest one, in its logarithm, is returned.

    Args:
        id: a registered id that has a ladder.
        success: the probability of success of uniform writing, such as 1e-1 to 1e-6.

    Returns:
        Plain data for `gymnasium.make(id, **arguments)` and for `difficulty(id, **arguments)`.

    Raises:
        UnknownName: no such id, or it has no ladder; the message names those that have one.
        InvalidSetting: success is no probability between 0 and 1; no rung comes within half a decade of it.

    Example:
        >>> variant("TextGen-v0", 1e-3)
        {'target': 'abc', 'alphabet': 'abcdefghij'}
    """
    ladder = LADDERS[id]
    if isinstance(success, bool) or not isinstance(success, Real) or not 0 < success < 1:
        raise InvalidSetting(f"success={success!r} is no probability between 0 and 1. Give one such as 1e-3.")
    nearest, off, reached = ladder(1), math.inf, math.nan
    for k in range(1, HIGHEST + 1):
        found = difficulty(id, **ladder(k)).random_success
        distance = abs(math.log10(found / success)) if found else math.inf
        if distance < off:
            nearest, off, reached = ladder(k), distance, found
        if found <= success:
            break
    if off > NEAR:
        raise InvalidSetting(
            f"success={success!r} is out of reach of the ladder of {id}: the nearest, {nearest}, has {reached:.2g}. "
            "Ask for that, or choose the arguments yourself; textgym.difficulty says how hard they are."
        )
    return nearest
