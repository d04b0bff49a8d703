"""Expected SARSA."""

from __future__ import annotations

import numpy as np

from ..recipe import Recipe
from .temporal_difference import TDSettings, TemporalDifference
from .transitions import Array, Transitions


class ExpectedSarsa(TemporalDifference):
    """Q(s, a) += alpha (r + gamma sum_b pi(b|s') Q(s', b) - Q(s, a)) (Sutton & Barto, 2018, equation 6.9).

    pi is the epsilon-greedy policy that acts.
    """

    def _bootstrap(self, step: Transitions) -> Array:
        values = self._table["values"][step.after]  # (n, size)
        best = np.where(step.masks, values, -np.inf).max(axis=1)
        mean = np.where(step.masks, values, 0.0).sum(axis=1) / step.masks.sum(axis=1)
        expected: Array = self.epsilon * mean + (1 - self.epsilon) * best
        return expected


make = Recipe("expected-sarsa", TDSettings, ExpectedSarsa.from_settings)
