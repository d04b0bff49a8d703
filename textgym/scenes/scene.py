"""Scene: all that language knows of one environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.describing import Describer, Scale
from textgym.speech import Speech

Rule: TypeAlias = Callable[[FloatArray], IntArray]
"""From the numbers that a description says, `(n, k)`, to what is best done, `(n,)`."""
Worth: TypeAlias = Callable[[FloatArray], FloatArray]
"""From the same numbers to how good the states are, `(n,)` from 0 to 1."""


@dataclass(frozen=True)
class Scene:
    """How one environment is described and spoken of, and what somebody who knows it would advise.

    Args:
        describers: by name: `compact` (one token a number), `english`, `chinese`. All describe the same numbers.
        speeches: by language.
        rule: the expert's.
        worth: what the expert thinks of a state.
        opposite: for each action the one that an adversary names in its place.
    """

    describers: Mapping[str, Describer]
    speeches: Mapping[str, Speech]
    rule: Rule
    worth: Worth
    opposite: tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """The digits of a discrete state: `state = (first * sizes[1] + second) * sizes[2] + ...`."""

    sizes: tuple[int, ...]

    def __call__(self, states: FloatArray) -> FloatArray:
        """Return the digits of states `(n, 1)`, `(n, k)`."""
        return np.stack(np.unravel_index(states[:, 0].astype(np.int64), self.sizes), axis=1).astype(np.float64)


@dataclass(frozen=True)
class TableRule:
    """What is best in each state of a table, by its digits."""

    sizes: tuple[int, ...]
    best: tuple[Any, ...]

    def __call__(self, numbers: FloatArray) -> Any:
        """Return the entries of states, `(n,)`, from their digits `(n, k)`."""
        digits = np.rint(numbers).astype(np.int64)
        return np.array(self.best)[np.ravel_multi_index(tuple(digits.T), self.sizes, mode="clip")]


Table: TypeAlias = Mapping[int, Mapping[int, list[tuple[float, int, float, bool]]]]
"""Gymnasium's `env.P`: state -> action -> (probability, next state, reward, terminated)."""


def solve_table(table: Table, gamma: float, sweeps: int = 10_000) -> tuple[FloatArray, FloatArray]:
    """Return the optimal values `(states,)` and action values `(states, actions)` of a table by value iteration.

    Bellman's optimality equation, Q(s, a) = sum_s' p (r + gamma V(s')), iterated until nothing moves by 1e-12
    (Sutton & Barto, 2018, equation 4.10).
    """
    n, actions = len(table), len(table[0])
    move, paid = np.zeros((n, actions, n)), np.zeros((n, actions))
    for s, of_state in table.items():
        for a, outcomes in of_state.items():
            for p, after, reward, terminated in outcomes:
                paid[s, a] += p * reward
                move[s, a, after] += 0.0 if terminated else p
    values = np.zeros(n)
    for _ in range(sweeps):
        action_values = paid + gamma * move @ values
        best = action_values.max(axis=1)
        if np.abs(best - values).max() < 1e-12:
            break
        values = best
    return values, action_values


def phrased(edges: tuple[float, ...], text: str) -> Scale:
    """Return a scale whose phrases stand in one text, with `|` between them."""
    return Scale(edges, tuple(text.split("|")))
