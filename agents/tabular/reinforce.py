"""REINFORCE with baseline, with a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from textgym.errors import InvalidSetting

from ..checks import array_like
from ..recipe import Recipe
from .softmax import SoftmaxPolicy, SoftmaxSettings
from .transitions import Array, Transitions


class Path(NamedTuple):
    """One row's episode so far."""

    states: list[int]
    actions: list[int]
    rewards: list[float]
    masks: list[Array]  # (size,) bool each


class TabularReinforce(SoftmaxPolicy):
    """REINFORCE with baseline (Williams, 1992; Sutton & Barto, 2018, section 13.4: equation 13.11, and its algorithm).

    At an episode's end, for each of its steps: V(s) += value_alpha (G - V(s)); theta += alpha gamma^t (G - V(s))
    grad ln pi(a|s), with V as it was before. A truncated episode's return goes on with the value of its last state.
    """

    gae_lambda = 1.0  # an advantage is a whole return less its state's value
    _paths: list[Path]  # one a row

    def _begin(self) -> None:
        self._paths = [Path([], [], [], []) for _ in range(self.env.num_envs)]

    def _update(self, step: Transitions) -> None:
        parts = zip(self._paths, step.states.tolist(), step.actions.tolist(), step.rewards.tolist(), step.allowed)
        for path, state, action, reward, allowed in parts:
            path.states.append(state)
            path.actions.append(action)
            path.rewards.append(reward)
            path.masks.append(allowed)
        for row in np.flatnonzero(step.dones):
            last = 0.0 if step.terminated[row] else float(self._table["values"][step.after[row]])
            if step.counted[row]:
                self._learn_from(self._paths[row], last)
            self._paths[row] = Path([], [], [], [])

    def _learn_from(self, path: Path, last: float) -> None:
        """Update along one whole episode, whose last state is worth `last`."""
        settings, values = self.settings, self._table["values"]
        states, returns = np.array(path.states), np.zeros(len(path.rewards))
        for t in range(len(returns) - 1, -1, -1):
            last = returns[t] = path.rewards[t] + settings.gamma * last
        advantages = returns - values[states]
        weights = settings.alpha * settings.gamma ** np.arange(len(returns)) * advantages
        self._reinforce(states, np.array(path.actions), np.array(path.masks), weights)
        for state, goal in zip(states, returns):
            values[state] += settings.value_alpha * (goal - values[state])
        values[0] = 0.0

    def _underway(self) -> dict[str, Any]:
        """Return the paths end to end: `lengths` `(n,)`, and `(k,)` or `(k, size)` of all their steps."""
        paths = self._paths
        return {
            "lengths": np.array([len(path.states) for path in paths], np.int64),
            "states": np.array([state for path in paths for state in path.states], np.int64),
            "actions": np.array([action for path in paths for action in path.actions], np.int64),
            "rewards": np.array([reward for path in paths for reward in path.rewards], np.float64),
            "masks": np.array([mask for path in paths for mask in path.masks], np.bool_).reshape(-1, self.size),
        }

    def _go_on(self, state: Mapping[str, Any]) -> None:
        largest = np.finfo(np.float64).max
        lengths = array_like(state, "lengths", (self.env.num_envs,), np.int64, 0, 2**31)
        k = int(lengths.sum())
        states = array_like(state, "states", (k,), np.int64, 0, len(self._table))
        actions = array_like(state, "actions", (k,), np.int64, 0, self.size - 1)
        rewards = array_like(state, "rewards", (k,), np.float64, -largest, largest)
        masks = array_like(state, "masks", (k, self.size), np.bool_, False, True)
        if not masks[np.arange(k), actions].all():
            raise InvalidSetting("an action of an episode is one that its mask forbids.")
        parts = [slice(end - length, end) for length, end in zip(lengths, lengths.cumsum())]
        self._paths = [
            Path(states[part].tolist(), actions[part].tolist(), rewards[part].tolist(), list(masks[part]))
            for part in parts
        ]


make = Recipe("tabular-reinforce", SoftmaxSettings, TabularReinforce.from_settings)
