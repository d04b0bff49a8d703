"""Agents whose scores are known: the optimum, uniform writing, one that fails, and one that says nothing of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.table import Made
from textgym import solve
from textgym.arrays import BoolArray, FloatArray, IntArray


class Known:
    """Learns nothing and has what an agent needs."""

    def __init__(self, env: Any) -> None:
        self.env, self.task = env, env.get_attr("task", 0)[0]
        self.made: Made | None = None

    def learn(self, total_timesteps: int) -> Known:
        self.env.reset()
        for _ in range(total_timesteps // self.env.num_envs):
            self.env.step(np.zeros(self.env.num_envs, np.int64))
        return self

    def predict(
        self, observation: IntArray, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[IntArray, Any]:
        return np.zeros(len(observation), np.int64), state


class Optimal(Known):
    """Writes an optimal text after every prompt that can be asked, from the tree of all texts."""

    def __init__(self, env: Any, kl_coefficient: float | None = None) -> None:
        super().__init__(env)
        self.kl_coefficient = kl_coefficient
        self._asked: dict[bytes, FloatArray] = {}

    def action_probabilities(
        self, observations: IntArray, action_masks: BoolArray, deterministic: bool = False
    ) -> FloatArray:
        if not self._asked:
            self._solve()
        return np.array([self._asked[row.tobytes()] for row in observations])

    def _solve(self) -> None:
        from dataclasses import replace

        tree = replace(self.task, state_key=None)
        whole: Any = solve(tree) if self.kl_coefficient is None else solve(tree, kl_coefficient=self.kl_coefficient)
        for level, policy in zip(whole.levels, whole.policy):
            for tokens, actions in zip(level.episodes.tokens, policy):
                chosen = np.eye(len(actions))[actions.argmax()] if self.kl_coefficient is None else actions
                self._asked[tokens.tobytes()] = chosen


class Uniform(Known):
    """Writes every token alike."""

    def action_probabilities(
        self, observations: IntArray, action_masks: BoolArray, deterministic: bool = False
    ) -> FloatArray:
        shared: FloatArray = action_masks / action_masks.sum(axis=1, keepdims=True)
        return shared


class Failing(Known):
    """Cannot learn."""

    def __init__(self, env: Any, error: BaseException) -> None:
        super().__init__(env)
        self.error = error

    def learn(self, total_timesteps: int) -> Known:
        raise self.error


class Nan(Known):
    """Learns parameters that are no numbers."""

    def action_probabilities(
        self, observations: IntArray, action_masks: BoolArray, deterministic: bool = False
    ) -> FloatArray:
        return np.full(action_masks.shape, np.nan)


class Remembering(Known):
    """Is recurrent: its state counts the steps, and it writes their number."""

    def predict(
        self, observation: IntArray, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[IntArray, Any]:
        count = np.zeros(len(observation), np.int64) if state is None else state
        return count, count + 1


class Chancy(Known):
    """Samples from NumPy's global chance, which it never seeds."""

    def predict(
        self, observation: IntArray, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[IntArray, Any]:
        size = self.env.action_space.n
        return np.random.randint(1 if deterministic else size, size=len(observation)), None  # noqa: NPY002


def optimal(env: Any) -> Optimal:
    return Optimal(env)


def restrained(env: Any) -> Optimal:
    return Optimal(env, kl_coefficient=1.0)


def uniform(env: Any, seed: int | None = None) -> Uniform:
    return Uniform(env)


def failing(env: Any, **overrides: Any) -> Failing:
    return Failing(env, ArithmeticError("parameters became NaN"))


def missing(env: Any) -> Failing:
    return Failing(env, KeyError("tokens"))


def leaving(env: Any) -> Failing:
    return Failing(env, SystemExit(3))


def separated(env: Any) -> Failing:
    return Failing(env, ValueError("one line\u2028another \ud800"))


def object_named(env: Any) -> object:
    return object()


def no_number(env: Any) -> Nan:
    return Nan(env)


def remembering(env: Any) -> Remembering:
    return Remembering(env)


def chancy(env: Any) -> Chancy:
    return Chancy(env)


def silent(env: Any, **overrides: Any) -> Known:
    return Known(env)
