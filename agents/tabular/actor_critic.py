"""One-step actor-critic with a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checks import array_like
from ..recipe import Recipe
from .softmax import SoftmaxPolicy, SoftmaxSettings
from .transitions import Array, Transitions


class ActorCritic(SoftmaxPolicy):
    """One-step actor-critic (Sutton & Barto, 2018, section 13.5, equations 13.12 to 13.14, and its algorithm).

    delta = r + gamma V(s') - V(s); V(s) += value_alpha delta; theta += alpha gamma^t delta grad ln pi(a|s).
    """

    gae_lambda = 0.0  # an advantage is delta
    _discount: Array  # (n,) gamma^t of each row

    def _begin(self) -> None:
        self._discount = np.ones(self.env.num_envs)

    def _update(self, step: Transitions) -> None:
        settings, values = self.settings, self._table["values"]
        worth = np.where(step.terminated, 0.0, values[step.after])
        delta = step.rewards + settings.gamma * worth - values[step.states]  # (n,)
        delta = np.where(step.counted, delta, 0.0)  # nothing is learned from a reward that nobody knows
        self._reinforce(step.states, step.actions, step.allowed, settings.alpha * self._discount * delta)
        for state, goal in zip(step.states, delta + values[step.states]):  # one by one: rows may share a state
            values[state] += settings.value_alpha * (goal - values[state])
        values[0] = 0.0
        self._discount = np.where(step.dones, 1.0, self._discount * settings.gamma)

    def _underway(self) -> dict[str, Any]:
        return {"discount": self._discount.copy()}

    def _go_on(self, state: Mapping[str, Any]) -> None:
        self._discount = array_like(state, "discount", (self.env.num_envs,), np.float64, 0.0, 1.0)


make = Recipe("tabular-actor-critic", SoftmaxSettings, ActorCritic.from_settings)
