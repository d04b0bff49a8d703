"""Prefixes: observations of many transitions as the few rows of tokens that they are prefixes of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from torch import Tensor

from textgym.errors import InvalidSetting

Array = npt.NDArray[Any]


class Prefixes(NamedTuple):
    """Observations of N transitions: rows of tokens, and for each transition which prefix of which row it saw."""

    tokens: Tensor  # (S, L) int64, the longest prefix seen of each segment
    segment: Tensor  # (N,) int64, a row of `tokens`
    length: Tensor  # (N,) int64, the tokens of the prefix
    masks: Tensor | None = None  # (N, size) bool, the actions that could be taken; None for all


def holds_tokens(space: spaces.Space[Any]) -> bool:
    """Return whether a space is a row of token ids: an integer Box from 0 to a pad."""
    whole = isinstance(space, spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.integer)
    return whole and isinstance(space, spaces.Box) and not space.low.any() and bool((space.high == space.high[0]).all())


def require_tokens(space: spaces.Space[Any], owner: str) -> int:
    """Return the pad of a space of tokens.

    Raises:
        InvalidSetting: it is another space; `owner` is what reads it.
    """
    if not isinstance(space, spaces.Box) or not holds_tokens(space):
        raise InvalidSetting(
            f"{space} holds no tokens. {owner} reads Box(0, pad, (length,), int32), the space of TextGym's "
            "environments: ids below pad, and pad where nothing stands."
        )
    return int(space.high[0])


def lengths(tokens: Array, space: spaces.Space[Any]) -> tuple[Array, Array]:
    """Return how many tokens each of some observations `(n, L)` has, and the column after its newest, each `(n,)`."""
    assert isinstance(space, spaces.Box)
    real = tokens != space.high.flat[0]
    return real.sum(axis=1), (np.arange(1, tokens.shape[1] + 1) * real).max(axis=1, initial=0)


def extends(later: Array, earlier: Array, stop: Array) -> npt.NDArray[np.bool_]:
    """Return whether observations `(n, L)` go on where earlier ones, whose tokens end in columns `stop`, ended."""
    same = (later == earlier) | (np.arange(later.shape[1]) >= stop[:, None])
    grows: npt.NDArray[np.bool_] = same.all(axis=1)
    return grows
