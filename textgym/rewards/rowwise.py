"""A reward written for one row, in plain Python, made into a batched one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Episodes


class Row(NamedTuple):
    """One row as text, right after a token was written. The end token is no part of a text."""

    prompt: str
    completion: str
    target: str
    length: int  # tokens written
    finished: bool


class RowwiseReward:
    """A batched reward that asks a function of one `Row` for each row. It pickles by the function's name."""

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[[Row], float]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        return np.array([self.function(row_of(episodes, row)) for row in range(len(episodes))], dtype=np.float64)

    def __reduce__(self) -> str:
        return self.__qualname__


def rowwise(function: Callable[[Row], float]) -> RowwiseReward:
    """Make a batched reward from a function of one row.

    Example:
        >>> @rowwise
        ... def brevity(row: Row) -> float:
        ...     return 1.0 / row.length if row.finished else 0.0
    """
    return RowwiseReward(function)


def row_of(episodes: Episodes, row: int) -> Row:
    """Return one row as text."""
    decode = episodes.vocabulary.decode
    return Row(
        decode(episodes.prompt[row]),
        decode(episodes.completion[row]),
        decode(episodes.target[row]),
        int(episodes.length[row]),
        bool(episodes.finished[row]),
    )
