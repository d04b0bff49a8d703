"""What Q-learning, SARSA and expected SARSA share: values of actions, and exploration by epsilon."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from pydantic import Field

from ..masked import one_hot, uniform
from ..settings import Pair, Share
from .learner import TabularAgent, TabularSettings
from .transitions import Array, Transitions


class TDSettings(TabularSettings):
    """Settings of the temporal-difference rules."""

    alpha: float = Field(0.5, gt=0, le=1, description="the step size")
    epsilon: Share | Pair = Field(
        (1.0, 0.05), description="the chance of a random action: one number, or at the start and in the end"
    )
    exploration_fraction: Share = Field(0.5, description="the share of learning in which that chance falls")


class TemporalDifference(TabularAgent):
    """Q(s, a) += alpha (r + gamma B(s') - Q(s, a)); what B is, makes the rule (Sutton & Barto, 2018, chapter 6)."""

    Settings = TDSettings

    @property
    def epsilon(self) -> float:
        """The chance of a random action now."""
        given = self.settings.epsilon
        start, end = given if isinstance(given, tuple) else (given, given)
        fraction = self.settings.exploration_fraction
        done = min(1.0, self._progress / fraction) if fraction else 1.0
        return float(start + (end - start) * done)

    def action_values(self, observations: Array) -> Array:
        """Return Q of observations `(n, width)`, `(n, size)`; 0 after a prefix that was never met."""
        values: Array = self._table["values"][self._table.look(observations)]
        return values

    @abstractmethod
    def _bootstrap(self, step: Transitions) -> Array:
        """Return what the next states are worth, `(n,)`."""

    def _choose(self, states: Array, masks: Array, greedy: bool = False) -> Array:
        best: Array = np.where(masks, self._table["values"][states], -np.inf).argmax(axis=1)
        if greedy:
            return best
        explores = self._rng.random(len(states)) < self.epsilon
        return np.where(explores, self._any(masks), best)

    def _probabilities(self, states: Array, masks: Array) -> Array:
        best = one_hot(self._choose(states, masks, greedy=True), self.size)
        return (1 - self.epsilon) * best + self.epsilon * uniform(masks)

    def _update(self, step: Transitions) -> None:
        worth = np.where(step.terminated, 0.0, self._bootstrap(step))  # (n,)
        goals = step.rewards + self.settings.gamma * worth
        values = self._table["values"]
        known = step.counted
        parts = zip(step.states[known], step.actions[known], goals[known])
        for state, action, goal in parts:  # one by one: rows may share a state
            values[state, action] += self.settings.alpha * (goal - values[state, action])
        values[0] = 0.0
