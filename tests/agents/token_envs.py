"""Environments of tokens, of every kind that a memory of episodes meets, and random walks that fill one."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.buffers import ReplayBuffer

from agents import SB3VecEnv, make_vec_env
from agents.prefixes import Prefixes
from agents.replay import EpisodeReplayBuffer

Array = npt.NDArray[Any]


class Scribble(gymnasium.Env[Any, Any]):
    """Not growing prefixes: every observation is another row of chance."""

    observation_space = spaces.Box(0, 9, (5,), np.int32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._row(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._row(), float(action), bool(self.np_random.random() < 0.1), bool(self.np_random.random() < 0.1), {}

    def _row(self) -> Any:
        row, length = np.full(5, 9, np.int32), self.np_random.integers(6)
        row[:length] = self.np_random.integers(9, size=length)
        return row


class Insert(gymnasium.Env[Any, Any]):
    """A step writes no token, one or several; now and then the row is rubbed out in the middle of an episode."""

    observation_space = spaces.Box(0, 9, (12,), np.int32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.row, self.written = np.full(12, 9, np.int32), 3
        self.row[self.np_random.integers(4) : 3] = self.np_random.integers(9)
        return self.row.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.np_random.random() < 0.1:
            self.row[3:], self.written = 9, 3
        stop = min(12, self.written + int(self.np_random.integers(4)))
        self.row[self.written : stop] = self.np_random.integers(9, size=stop - self.written)
        self.written = stop
        return self.row.copy(), float(action), stop == 12, False, {}


def environment(name: str, n: int) -> SB3VecEnv:
    if name in ("scribble", "insert"):
        one = Scribble if name == "scribble" else Insert
        return SB3VecEnv(SyncVectorEnv([one] * n, autoreset_mode=AutoresetMode.SAME_STEP))
    if name == "truncated":
        rows = [lambda: gymnasium.wrappers.TimeLimit(gymnasium.make("TextGym/Copy-v0"), 3)] * n
        return SB3VecEnv(SyncVectorEnv(rows, autoreset_mode=AutoresetMode.SAME_STEP))
    return make_vec_env(name, n, seed=0)


class Walk:
    """Random steps of an environment, each reward another number, and buffers that remember them."""

    def __init__(self, name: str, n: int = 3, size: int = 10**4, seed: int = 0) -> None:
        self.env = environment(name, n)
        self.env.seed(seed)
        self.observations: Array = np.asarray(self.env.reset())
        self.rng = np.random.default_rng(seed)
        of = self.env.observation_space, self.env.action_space
        self.pad = int(of[0].high.flat[0])  # type: ignore[attr-defined]
        self.many = int(of[1].n)  # type: ignore[attr-defined]
        self.ours = EpisodeReplayBuffer(size * n, *of, "cpu", n)
        self.plain = ReplayBuffer(size * n, *of, "cpu", n)
        self.steps = 0
        self.segments: list[list[list[int]]] = [[] for _ in range(n)]  # of each row: the rewards that belong together
        self._goes_on = [False] * n

    def go(self, steps: int, *others: ReplayBuffer) -> Walk:
        """Step on; other buffers remember these steps too."""
        for _ in range(steps):
            n = self.env.num_envs
            actions = self.rng.integers(self.many, size=n)
            after, _, dones, infos = self.env.step(actions)
            following = np.array(after)
            for ended in np.flatnonzero(dones):
                following[ended] = infos[ended]["terminal_observation"]
            rewards = (self.steps * n + np.arange(n)).astype(np.float32)
            for buffer in (self.ours, self.plain, *others):
                buffer.add(self.observations, following, actions, rewards, dones, infos)
            for row in range(n):
                if not self._goes_on[row]:
                    self.segments[row].append([])
                self.segments[row][-1].append(int(rewards[row]))
                columns = np.flatnonzero(self.observations[row] != self.pad)
                stop = int(columns[-1] + 1) if len(columns) else 0
                grows = (self.observations[row, :stop] == following[row, :stop]).all()
                self._goes_on[row] = bool(grows) and not dones[row]
            self.observations, self.steps = np.asarray(after), self.steps + 1
        return self

    def remembered(self) -> set[tuple[int, ...]]:
        """The rewards of each segment that are still remembered."""
        first = max(0, self.steps - self.ours.buffer_size) * self.env.num_envs
        cut = ((tuple(r for r in segment if r >= first)) for row in self.segments for segment in row)
        return {segment for segment in cut if segment}

    def drawn(self, batch_size: int) -> list[tuple[int, ...]]:
        """The rewards of each segment of a minibatch."""
        batch = self.ours.sample(batch_size)
        local = batch.observations.segment  # type: ignore[attr-defined]
        assert local.diff().ge(0).all()
        return [tuple(batch.rewards[local == i].flatten().int().tolist()) for i in range(int(local[-1]) + 1)]


def seen(prefixes: Any, pad: int) -> torch.Tensor:
    """Return what each transition observed, `(N, L)`."""
    assert isinstance(prefixes, Prefixes)
    rows = prefixes.tokens[prefixes.segment]
    later = (rows != pad).cumsum(dim=1) > prefixes.length[:, None]
    return rows.masked_fill(later, pad)
