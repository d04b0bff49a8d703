"""ScaledRewards: rewards of a size that a value function can learn quickly."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from .probe import Probe
from .settings import Choice


class ScaledRewards(VecEnvWrapper):
    """An environment whose rewards are multiplied by a constant; episode statistics stay the environment's own.

    A constant, where `VecNormalize` keeps running statistics: what a text is worth does not change while learning, and
    a run can be continued exactly.

    Args:
        venv: the environment.
        scale: the factor.
    """

    def __init__(self, venv: VecEnv, scale: float) -> None:
        super().__init__(venv)
        self.scale = np.float32(scale)

    def reset(self) -> VecEnvObs:
        """Begin an episode in every row."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Step all rows."""
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards * self.scale, dones, infos


def scaled(env: Any, scale: float) -> Any:
    """Return the environment with rewards of that scale; itself where that is 1. An older scale of it is gone."""
    while isinstance(env, ScaledRewards):
        env = env.venv
    return env if scale == 1 else ScaledRewards(env, scale)


def reward_scale(seen: Probe) -> Choice:
    """Return the factor that brings returns to ±1: the largest return of random episodes becomes 1."""
    if not seen.largest:
        why = "no random episode was paid" if seen.episodes else "this environment cannot be probed"
        return Choice(1.0, f"{why}: rewards stay as they are")
    return Choice(1 / seen.largest, f"the largest of {seen.episodes} random returns, {seen.largest:g}, becomes 1")
