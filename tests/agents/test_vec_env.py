"""SB3VecEnv beside SB3's own DummyVecEnv and Monitor, step for step."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents import SB3VecEnv, make_vec_env
from textgym import TextGenVectorEnv, load_task
from textgym.errors import InvalidSetting

Array = npt.NDArray[Any]

N, STEPS, SEED = 5, 300, 11


class Tally(gymnasium.Env[Array, np.int64]):
    """Counts its steps, ends by chance, and reports something at every step and reset."""

    observation_space: spaces.Space[Any] = spaces.Box(0, 99, (2,), np.int64)
    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.count, self.start = 0, int(self.np_random.integers(50))
        return np.array([self.start, 0]), {"start": self.start, "at": {"reset": True}}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.count += 1
        info: dict[str, Any] = {"count": self.count, "last": {"name": f"{action}", "pair": np.array([1, self.count])}}
        if action == 2:
            info["bonus"] = 0.5 * self.count
        ends = bool(self.np_random.random() < 0.15)
        return np.array([self.start, self.count]), 0.1 * float(action), ends, False, info


class TwoParts(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Splits an observation into a Dict of tokens and a number."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        tokens, clock = spaces.Box(0, 99, (1,), np.int64), spaces.Box(0, 99, (1,), np.float32)
        self.observation_space = spaces.Dict({"tokens": tokens, "clock": clock})

    def observation(self, observation: Array) -> dict[str, Array]:
        return {"tokens": observation[:1].copy(), "clock": observation[1:].astype(np.float32)}


def tally() -> gymnasium.Env[Any, Any]:
    return TimeLimit(Tally(), 5)


def two_parts() -> gymnasium.Env[Any, Any]:
    return TwoParts(tally())


def in_sync(make: Callable[[], gymnasium.Env[Any, Any]], copy: bool = True) -> SB3VecEnv:
    return SB3VecEnv(SyncVectorEnv([make] * N, copy=copy, autoreset_mode=AutoresetMode.SAME_STEP))


def without_clock(info: dict[str, Any], done: bool) -> dict[str, Any]:
    """An info without the seconds an episode took, and without SB3's False in rows that go on."""
    shown = {key: value for key, value in info.items() if done or key != "TimeLimit.truncated"}
    if done:
        shown["episode"] = {key: shown["episode"][key] for key in ("r", "l")}
        assert set(info["episode"]) == {"r", "l", "t"}
        assert info["episode"]["t"] >= 0
    return shown


def assert_agree(ours: VecEnv, make: Callable[[], gymnasium.Env[Any, Any]]) -> set[bool]:
    """Step both with the same seeds and actions; return which values `TimeLimit.truncated` took."""
    theirs = DummyVecEnv([lambda: Monitor(make())] * N)
    assert ours.seed(SEED) == theirs.seed(SEED)
    rng = np.random.default_rng(0)
    handed: list[tuple[Any, Any]] = []
    first = ours.reset()
    handed.append((first, deepcopy(first)))
    np.testing.assert_equal(first, theirs.reset())
    cut: set[Any] = set()
    ended = 0
    for _ in range(STEPS):
        np.testing.assert_equal(ours.reset_infos, theirs.reset_infos)
        actions = rng.integers(theirs.action_space.n, size=N)  # type: ignore[attr-defined]
        got, want = ours.step(actions), theirs.step(actions)
        handed.append((got, deepcopy(got)))
        for mine, other in zip(got[:3], want[:3]):
            np.testing.assert_equal(mine, other)
        assert (got[1].dtype.name, got[2].dtype.name) == ("float32", "bool")
        for mine, other, done in zip(got[3], want[3], want[2].tolist()):
            np.testing.assert_equal(without_clock(mine, done), without_clock(other, done))
            if done:
                cut.add(mine["TimeLimit.truncated"])
                ended += 1
    assert ended > N
    for kept, then in handed:
        np.testing.assert_equal(kept, then)
    return cut


@pytest.mark.parametrize(
    ("id", "kwargs"),
    [
        ("TextGen-v0", {}),
        ("TextGen-v0", {"target": ["ab", "abcb", "c"], "stop_on_error": True, "reward": "shaped"}),
        ("TextGen-v0", {"target": "ab", "horizon": 9, "eos": "$"}),
        ("TextGym/Copy-v0", {"alphabet": "ab", "max_length": 4}),
        ("TextGym/Reverse-v0", {"alphabet": "ab", "max_length": 3, "reward": "token"}),
        ("TextGym/Corners-v0", {"step": 1.0}),
    ],
)
def test_rows_of_a_batch_are_monitored_single_environments(id: str, kwargs: dict[str, Any]) -> None:
    cut = assert_agree(make_vec_env(id, N, **kwargs), partial(gymnasium.make, id, **kwargs))
    assert cut == {False}


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("make", [tally, two_parts])
def test_foreign_rows_with_infos_at_every_step_agree(make: Callable[[], Any], copy: bool) -> None:
    assert assert_agree(in_sync(make, copy), make) == {True, False}


@pytest.mark.parametrize("copy", [True, False])
def test_cart_pole_agrees(copy: bool) -> None:
    assert assert_agree(in_sync(lambda: gymnasium.make("CartPole-v1"), copy), lambda: gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_other_autoreset_modes_are_refused_with_the_right_one_named(mode: AutoresetMode) -> None:
    for env in (TextGenVectorEnv(load_task("TextGen-v0"), 2, mode), SyncVectorEnv([tally], autoreset_mode=mode)):
        with pytest.raises(InvalidSetting, match=f"{mode}.*autoreset_mode='SameStep'"):
            SB3VecEnv(env)
