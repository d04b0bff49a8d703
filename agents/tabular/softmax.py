"""What tabular REINFORCE and actor-critic share: a softmax policy over action preferences, and a value of states."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from ..settings import Positive
from .learner import TabularAgent, TabularSettings
from .transitions import Array


class SoftmaxSettings(TabularSettings):
    """Settings of the policy-gradient rules."""

    value_alpha: Positive = Field(0.5, le=1, description="the step size of the values of states")


class SoftmaxPolicy(TabularAgent):
    """pi(a|s) = exp theta(s, a) / sum_b exp theta(s, b) (Sutton & Barto, 2018, equation 13.2)."""

    Settings = SoftmaxSettings
    columns = {"preferences": True, "values": False}  # noqa: RUF012 (a ClassVar in the base class)

    def state_values(self, observations: Array) -> Array:
        """Return V of observations `(n, width)`, `(n,)`; 0 after a prefix that was never met."""
        values: Array = self._table["values"][self._table.look(observations)]
        return values

    def _probabilities(self, states: Array, masks: Array) -> Array:
        """Return pi, `(n, size)`, 0 where the mask is False."""
        preferences = np.where(masks, self._table["preferences"][states], -np.inf)
        powers = np.exp(preferences - preferences.max(axis=1, keepdims=True))
        probabilities: Array = powers / powers.sum(axis=1, keepdims=True)
        return probabilities

    def _choose(self, states: Array, masks: Array, greedy: bool = False) -> Array:
        probabilities = self._probabilities(states, masks)
        if not greedy:  # the greatest of p / Exponential(1) is drawn with probability p
            probabilities = np.where(masks, probabilities / self._rng.exponential(size=masks.shape), -1.0)
        chosen: Array = probabilities.argmax(axis=1)
        return chosen

    def _reinforce(self, states: Array, actions: Array, masks: Array, weights: Array) -> None:
        """Add weight * grad ln pi(a|s) to the preferences: weight (1[b = a] - pi(b|s)) for each b (equation 13.9).

        Args:
            states: `(k,)` rows of the table.
            actions: `(k,)`.
            masks: `(k, size)` bool.
            weights: `(k,)`.
        """
        eligibility = -self._probabilities(states, masks)
        eligibility[np.arange(len(states)), actions] += 1.0
        np.add.at(self._table["preferences"], states, weights[:, None] * eligibility)
        self._table["preferences"][0] = 0.0
