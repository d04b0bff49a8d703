"""When an episode ends: predicates over the tokens just written, to be given to `Task(ends=...)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from textgym.arrays import BoolArray
from textgym.episodes import Episodes

Predicate: TypeAlias = Callable[[Episodes], BoolArray]
"""Episodes in, `(n,)` bool out; called right after `write`. A module-level function or a frozen dataclass."""


def wrote_eos(episodes: Episodes) -> BoolArray:
    """Whether the newest token is the end token; never, in a vocabulary without one."""
    eos = episodes.vocabulary.eos_id
    return np.zeros(len(episodes), np.bool_) if eos is None else episodes.newest == eos


def wrote_error(episodes: Episodes) -> BoolArray:
    """Whether the newest token differs from the target's in its place."""
    wrong: BoolArray = episodes.newest != episodes.wanted
    return wrong


def reached_target_length(episodes: Episodes) -> BoolArray:
    """Whether as many tokens are written as the target has."""
    reached: BoolArray = episodes.length >= episodes.target_length
    return reached


@dataclass(frozen=True)
class EitherEnd:
    """Ends where any of its predicates does."""

    predicates: tuple[Predicate, ...]

    def __call__(self, episodes: Episodes) -> BoolArray:
        """Return `(n,)` bool."""
        ended: BoolArray = np.logical_or.reduce([predicate(episodes) for predicate in self.predicates])
        return ended
