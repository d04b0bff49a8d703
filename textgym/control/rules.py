"""Control: all the rules of a task of states and actions that is told in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces

from textgym.arrays import Array, BoolArray, FloatArray, IntArray
from textgym.errors import require_positive
from textgym.scenes.scene import Scene

Rngs: TypeAlias = Sequence[np.random.Generator]
Moved: TypeAlias = tuple[FloatArray, FloatArray, BoolArray]
"""States `(n, d)` float64, rewards `(n,)`, and whether each episode has terminated `(n,)`."""


class Physics(Protocol):
    """How states change: Gymnasium's own laws, over rows."""

    def begin(self, rng: np.random.Generator) -> FloatArray:
        """Draw the first state of an episode, `(d,)`, as Gymnasium's environment of that seed draws it."""

    def step(self, states: FloatArray, actions: IntArray, rngs: Rngs) -> Moved:
        """Return what follows from actions `(n,)` in states `(n, d)`; row i draws from the i-th generator."""

    def observe(self, states: FloatArray) -> Array:
        """Return what is seen of states, `(n, ...)`, as Gymnasium's environment shows it."""


@dataclass(frozen=True)
class Control:
    """All the rules of a control task; composed, never subclassed.

    Args:
        physics: how states change.
        scene: how they are described, and what is advised.
        space: of one observation.
        actions: how many there are.
        max_steps: after which an episode is truncated.
        succeeded: from the returns `(n,)` and terminations `(n,)` of ended episodes to whether they succeeded.

    Raises:
        InvalidSize: `max_steps` is no positive integer.
    """

    physics: Physics
    scene: Scene
    space: spaces.Space[Any]
    actions: int
    max_steps: int
    succeeded: Callable[[FloatArray, BoolArray], BoolArray]

    def __post_init__(self) -> None:
        require_positive(max_steps=self.max_steps)


def stayed_up(returns: FloatArray, terminated: BoolArray) -> BoolArray:
    """Return which episodes only the time limit ended."""
    return ~terminated


def arrived(returns: FloatArray, terminated: BoolArray) -> BoolArray:
    """Return which episodes ended by themselves."""
    return terminated


def was_paid(returns: FloatArray, terminated: BoolArray) -> BoolArray:
    """Return which episodes earned anything."""
    paid: BoolArray = returns > 0
    return paid
