"""Where actions are no single token, TextGym's agents learn as SB3's own do."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import CachedTransformerPolicy, EpisodeRolloutBuffer, make

ACTIONS = {
    "box": spaces.Box(-1, 1, (1,)),
    "wide box": spaces.Box(-1, 1, (2,)),
    "several": spaces.MultiDiscrete([3, 2]),
    "bits": spaces.MultiBinary(3),
}


class Grow(gymnasium.Env[Any, Any]):
    """A row that grows by one token a step, whatever is done; it refuses what is no action."""

    observation_space = spaces.Box(0, 4, (6,), np.int32)

    def __init__(self, actions: spaces.Space[Any]) -> None:
        self.action_space = actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.row, self.length = np.full(6, 4, np.int32), 0
        return self.row.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action, self.action_space.dtype)), action
        self.row[self.length] = int(self.np_random.integers(4))
        self.length += 1
        return self.row.copy(), float(np.sum(action)), self.length == 6, False, {}


def rows(name: str) -> DummyVecEnv:
    return DummyVecEnv([lambda: Grow(ACTIONS[name])] * 3)


@pytest.mark.parametrize("name", list(ACTIONS))
@pytest.mark.parametrize("agent", ["ppo", "a2c", "reinforce"])
def test_agents_learn_whatever_actions_are(agent: str, name: str) -> None:
    model = make(agent, rows(name), n_steps=10, seed=0, device="cpu", policy={"d_model": 8, "n_heads": 2})
    model.learn(60)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


@pytest.mark.parametrize("name", list(ACTIONS))
def test_whole_episodes_have_the_rollouts_log_probabilities(name: str) -> None:
    model = PPO(
        CachedTransformerPolicy,
        rows(name),
        n_steps=10,
        batch_size=30,
        rollout_buffer_class=EpisodeRolloutBuffer,
        seed=0,
    )
    _, callback = model._setup_learn(10**6)
    assert model.env is not None
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 10)
    (batch,) = model.rollout_buffer.get(None)
    _, log_prob, _ = model.policy.evaluate_actions(batch.observations, batch.actions)
    torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-5, rtol=0)
