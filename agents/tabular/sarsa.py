"""SARSA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checks import array_like
from ..recipe import Recipe
from .temporal_difference import TDSettings, TemporalDifference
from .transitions import Array, Transitions


class Sarsa(TemporalDifference):
    """Q(s, a) += alpha (r + gamma Q(s', a') - Q(s, a)) (Rummery & Niranjan, 1994; Sutton & Barto, 2018, equation 6.7).

    a' is the action that is then taken; after the last state of a truncated episode, one that would have been.
    """

    _next: Array | None = None  # (n,) the actions to take now; -1 where an episode begins

    def _begin(self) -> None:
        self._next = None

    def _act(self, states: Array, masks: Array) -> Array:
        actions = self._choose(states, masks)
        return actions if self._next is None else np.where(self._next < 0, actions, self._next)

    def _bootstrap(self, step: Transitions) -> Array:
        chosen = self._choose(step.after, step.masks)
        self._next = np.where(step.dones, -1, chosen)
        worth: Array = self._table["values"][step.after, chosen]
        return worth

    def _underway(self) -> dict[str, Any]:
        return {"next": None if self._next is None else self._next.copy()}

    def _go_on(self, state: Mapping[str, Any]) -> None:
        given = state["next"] is not None
        self._next = array_like(state, "next", (self.env.num_envs,), np.int64, -1, self.size - 1) if given else None


make = Recipe("sarsa", TDSettings, Sarsa.from_settings)
