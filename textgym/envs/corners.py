"""Corners: walk from a corner of a square to its centre, one move a token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.episodes import Episodes, Prompt
from textgym.errors import InvalidSetting
from textgym.prompts import ListedPrompts
from textgym.task import Task
from textgym.vocabulary import Vocabulary

MOVES = {"→": (1, 0), "←": (-1, 0), "↑": (0, 1), "↓": (0, -1)}
CORNERS = {"↗": (1, 1), "↖": (-1, 1), "↙": (-1, -1), "↘": (1, -1)}


def corners(step: float = 0.5, horizon: int | None = None) -> Task:
    """Walk from a corner of a square to its centre.

    ## Description
    A grid walk as text: the square has the corners (±1, ±1), a token is a move of `step` in one of four
    directions, and the text is the path. A move out of the square leaves the position as it is. Small enough for a
    table, and the only task here in which many completions are right.

    ## Prompts
    The starting corner, each equally likely, as one prompt-only symbol: ↗ ↖ ↙ ↘ for (1, 1), (-1, 1), (-1, -1), (1, -1).

    ## Actions
    → ← ↑ ↓: `Discrete(4)`.

    ## Observation
    `Box(0, pad, (1 + horizon,), int32)`: the corner, then the moves made.

    ## Reward
    The decrease of |x| + |y|. It telescopes: a walk to the centre earns 2 in all, whatever its length, so that
    loitering pays nothing. (A reward of the product of move and state, which is also met, pays the walker for
    going away and coming back; an agent that maximises it never arrives.)

    ## Episode end
    Termination: the centre, or `horizon` moves. `is_success` says whether the centre was reached.

    ## Arguments
    - `step`: the length of a move; 1 divided by an integer.
    - `horizon`: the most moves; four times the shortest way, if left out.

    Raises `InvalidSetting` (a step that does not divide 1, a horizon too short to arrive), `InvalidSize`.

    ## Version history
    v0: initial version.
    """
    radius = _radius(step)
    vocabulary = Vocabulary(tuple(MOVES), symbols=tuple(CORNERS))
    walk = Walk(radius, tuple(vocabulary.id(corner) for corner in CORNERS))
    prompts = ListedPrompts(tuple(_prompt(vocabulary, corner, radius) for corner in CORNERS))
    return Task(
        vocabulary,
        prompts,
        reward=Approach(walk),
        horizon=8 * radius if horizon is None else horizon,
        ends=Arrival(walk),
        metrics={"success": Arrival(walk)},
        state_key=Place(walk),
    )


def _radius(step: float) -> int:
    """Return how many moves lead from the centre to a side."""
    number = isinstance(step, (int, float)) and not isinstance(step, bool)
    radius = round(1 / step) if number and 1e-3 <= step <= 1 else 0
    if radius < 1 or abs(radius * step - 1) > 1e-9:
        raise InvalidSetting(
            f"step={step!r} does not divide 1. Give 1 divided by an integer up to 1000: 0.5, 0.25, ..."
        )
    return radius


def _prompt(vocabulary: Vocabulary, corner: str, radius: int) -> Prompt:
    x, y = CORNERS[corner]
    way = ("←" if x > 0 else "→") * radius + ("↓" if y > 0 else "↑") * radius
    return Prompt(vocabulary.encode(corner), vocabulary.encode(way))


@dataclass(frozen=True)
class Walk:
    """Where a path leads, on a grid whose coordinates run from -radius to radius."""

    radius: int
    corner_ids: tuple[int, ...]  # in the order of CORNERS

    def places(self, episodes: Episodes) -> tuple[IntArray, IntArray]:
        """Return x and y in moves before and after the newest token, `(n, 2)` each."""
        corner = episodes.prompt[:, -1] - self.corner_ids[0]  # (n,)
        places = self.radius * np.array(list(CORNERS.values()))[corner]  # (n, 2)
        steps = np.array([*MOVES.values(), *[(0, 0)] * (len(CORNERS) + 1)])  # pads move nobody
        before = places
        for column in range(episodes.longest):
            before = np.where(column < episodes.length[:, None], places, before)
            places = np.clip(places + steps[episodes.completion[:, column]], -self.radius, self.radius)
        return before, places

    def distances(self, episodes: Episodes) -> tuple[IntArray, IntArray]:
        """Return |x| + |y| in moves before and after the newest token, `(n,)` each."""
        before, after = self.places(episodes)
        return np.abs(before).sum(axis=1), np.abs(after).sum(axis=1)


@dataclass(frozen=True)
class Approach:
    """The decrease of |x| + |y| by the newest token."""

    walk: Walk

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        before, after = self.walk.distances(episodes)
        return (before - after) / self.walk.radius


@dataclass(frozen=True)
class Arrival:
    """Whether the walk is at the centre."""

    walk: Walk

    def __call__(self, episodes: Episodes) -> BoolArray:
        """Return `(n,)` bool."""
        arrived: BoolArray = self.walk.distances(episodes)[1] == 0
        return arrived


@dataclass(frozen=True)
class Place:
    """Where the walk is: all that matters for what is to come."""

    walk: Walk

    def __call__(self, episodes: Episodes) -> IntArray:
        """Return `(n,)` int64."""
        place: IntArray = self.walk.places(episodes)[1] @ np.array([2 * self.walk.radius + 1, 1])
        return place
