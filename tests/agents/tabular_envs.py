"""Small environments for agents with a table, and a record of what happens in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.vec_env import VecEnvWrapper

from agents import SB3VecEnv
from textgym import Task
from textgym.env import TextGenEnv

Array = npt.NDArray[Any]
State = tuple[int, ...]
Table = dict[State, list[float]]


@dataclass
class Round:
    """One step of all rows."""

    before: Array
    allowed: Array
    actions: Array
    after: Array
    rewards: Array
    dones: Array
    infos: list[dict[str, Any]]
    allowed_after: Array

    def rows(self) -> Iterator[tuple[int, State, int, float]]:
        for row, state in enumerate(self.before):
            yield row, key(state), int(self.actions[row]), float(self.rewards[row])

    def cut(self, row: int) -> bool:
        return bool(self.dones[row] and self.infos[row]["TimeLimit.truncated"])

    def next(self, row: int) -> State | None:
        """The state whose value the row goes on with; None after an end."""
        if self.cut(row):
            return key(self.infos[row]["terminal_observation"])
        return None if self.dones[row] else key(self.after[row])


class Recorder(VecEnvWrapper):
    """Keeps every round."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.rounds: list[Round] = []

    def reset(self) -> Array:
        self.seen: Array = self.venv.reset()  # type: ignore[assignment]
        return self.seen

    def step_async(self, actions: Array) -> None:
        self.actions, self.allowed = np.array(actions), self.masks()
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        found: Any = self.venv.step_wait()
        after, rewards, dones, infos = found
        self.rounds.append(Round(self.seen, self.allowed, self.actions, after, rewards, dones, infos, self.masks()))
        self.seen = after
        return found

    def masks(self) -> Array:
        if self.venv.has_attr("task") and self.venv.get_attr("task")[0].mask is not None:
            return np.stack(self.venv.env_method("action_masks"))
        assert isinstance(self.action_space, spaces.Discrete)
        return np.ones((self.num_envs, int(self.action_space.n)), np.bool_)


class Ring(gymnasium.Env[Array, np.int64]):
    """Places in a ring; every action moves on to the next. It ends after `end` steps, or never."""

    def __init__(
        self, rewards: Sequence[Sequence[float]], end: int | None = None, high: int = 9, dtype: Any = np.int32
    ) -> None:
        self.rewards, self.end = rewards, end
        self.observation_space = spaces.Box(0, high, (1,), dtype)
        self.action_space: spaces.Space[Any] = spaces.Discrete(len(rewards[0]))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, self.observation_space.dtype), {}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        reward = self.rewards[self.steps % len(self.rewards)][int(action)]
        self.steps += 1
        place = np.full(1, self.steps % len(self.rewards), self.observation_space.dtype)
        return place, reward, self.steps == self.end, False, {}


def rows_of(make: Callable[[], gymnasium.Env[Any, Any]], n_envs: int = 1, limit: int | None = None) -> SB3VecEnv:
    """Rows that are cut after `limit` steps."""
    one = make if limit is None else lambda: TimeLimit(make(), limit)
    return SB3VecEnv(SyncVectorEnv([one] * n_envs, autoreset_mode=AutoresetMode.SAME_STEP))


def ring(rewards: Sequence[Sequence[float]], n_envs: int = 1, limit: int | None = None, **kwargs: Any) -> SB3VecEnv:
    return rows_of(lambda: Ring(rewards, **kwargs), n_envs, limit)


def cut_task(task: Task, n_envs: int, limit: int) -> SB3VecEnv:
    return rows_of(lambda: TextGenEnv(task), n_envs, limit)


def all_but_one(episodes: Any) -> Any:
    """All tokens but one in turn, by the length of what was written."""
    size = episodes.vocabulary.size
    mask = np.ones((len(episodes), size), np.bool_)
    mask[np.arange(len(episodes)), episodes.length % size] = False
    return mask


def masked(task: Task) -> Task:
    return replace(task, mask=all_but_one)


def key(observation: Array) -> State:
    return tuple(int(token) for token in observation)


def learned(agent: Any, column: str = "values") -> dict[State, Any]:
    """What an agent's table says of each state."""
    state = agent.state_dict()
    return {key(states): found.tolist() for states, found in zip(state["states"], state[column])}
