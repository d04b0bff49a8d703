"""Rewards that count: how varied a finished text is, how it repeats itself, how long it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting, require_natural, require_positive
from textgym.texts import distinct, repetition


def of_finished(episodes: Episodes, value: Callable[[Episodes, int], float]) -> FloatArray:
    """Return the value of each finished row and 0.0 of all others, `(n,)`."""
    values = np.zeros(len(episodes))
    for row in np.flatnonzero(episodes.finished).tolist():
        values[row] = value(episodes, row)
    return values


def written(episodes: Episodes, row: int) -> list[int]:
    """Return the ids that a row wrote, without the end token."""
    ids = episodes.completion[row, : int(episodes.length[row])].tolist()
    return [token for token in ids if token != episodes.vocabulary.eos_id]


@dataclass(frozen=True)
class Distinct:
    """At the end: different n-grams of tokens / tokens written (`textgym.texts.distinct`); 0.0 of an empty text.

    Args:
        n: of n-grams.
    """

    n: int = 2

    def __post_init__(self) -> None:
        require_positive(n=self.n)

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64, from 0 to 1."""
        return of_finished(episodes, lambda rows, row: distinct([written(rows, row)], self.n) or 0.0)


@dataclass(frozen=True)
class Repetition:
    """At the end: the share of n-grams that the text had before (`textgym.texts.repetition`); 0.0 of a shorter text.

    Give it a negative weight.

    Args:
        n: of n-grams.
    """

    n: int = 4

    def __post_init__(self) -> None:
        require_positive(n=self.n)

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64, from 0 to below 1."""
        return of_finished(episodes, lambda rows, row: repetition([written(rows, row)], self.n) or 0.0)


@dataclass(frozen=True)
class Length:
    """At the end: how many tokens were written, or, with bounds, how many too few or too many.

    Args:
        least: the fewest that cost nothing.
        most: the most that cost nothing; None, with `least` 0, for the plain number of tokens.
    """

    least: int = 0
    most: int | None = None

    def __post_init__(self) -> None:
        require_natural(least=self.least)
        if self.most is not None:
            require_natural(most=self.most)
            if self.most < self.least:
                raise InvalidSetting(f"most={self.most} is less than least={self.least}.")

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64, at least 0."""
        return of_finished(episodes, self._of)

    def _of(self, episodes: Episodes, row: int) -> float:
        length = len(written(episodes, row))
        if self.most is None and not self.least:
            return float(length)
        return float(max(0, self.least - length) + max(0, length - (length if self.most is None else self.most)))
