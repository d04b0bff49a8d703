"""Environments whose observations are rows of tokens, of every kind that a memory of episodes meets."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agents import SB3VecEnv, make_vec_env


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
