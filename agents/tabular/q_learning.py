"""Q-learning."""

from __future__ import annotations

import numpy as np

from ..recipe import Recipe
from .temporal_difference import TDSettings, TemporalDifference
from .transitions import Array, Transitions


class QLearning(TemporalDifference):
    """Q(s, a) += alpha (r + gamma max_b Q(s', b) - Q(s, a)) (Watkins, 1989; Sutton & Barto, 2018, equation 6.8)."""

    def _bootstrap(self, step: Transitions) -> Array:
        best: Array = np.where(step.masks, self._table["values"][step.after], -np.inf).max(axis=1)
        return best


make = Recipe("q-learning", TDSettings, QLearning.from_settings)
