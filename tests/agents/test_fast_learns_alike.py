"""Reading each token once, episode by episode, changes the speed of learning, not its course: curves, seed by seed."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback

from agents import make, make_vec_env

SEEDS, STEPS, WINDOWS = range(5), {"ppo": 5_000, "a2c": 4_000, "dqn": 2_000}, 6


class Returns(BaseCallback):
    """Notes the return of each episode and the step that it ended in."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        infos: list[dict[str, Any]] = self.locals["infos"]
        self.ends += [(self.num_timesteps, float(info["episode"]["r"])) for info in infos if "episode" in info]
        return True


def curve(agent: str, seed: int, fast: bool) -> list[float]:
    """Return the mean returns of an agent's episodes in each sixth of its learning; else with SB3's own minibatches."""
    env = make_vec_env("TextGen-v0", 8, seed=seed, target="abcde", alphabet="abcdefgh")
    noted, small = Returns(), {"d_model": 16, "n_layers": 1, "n_heads": 2, "use_cache": fast}
    model = make(agent, env, seed=seed, device="cpu", policy=small)
    if not fast:
        spaces = model.observation_space, model.action_space
        if agent == "dqn":
            model.replay_buffer = ReplayBuffer(model.buffer_size, *spaces, model.device, n_envs=8)
        else:
            gains = {"gae_lambda": model.gae_lambda, "gamma": model.gamma}
            model.rollout_buffer = RolloutBuffer(model.n_steps, *spaces, model.device, n_envs=8, **gains)
    model.learn(STEPS[agent], callback=noted)
    steps, returns = map(np.array, zip(*noted.ends))
    windows = (steps - 1) * WINDOWS // (steps.max() + 1)
    return [float(returns[windows == window].mean()) for window in range(WINDOWS)]


def unlikely(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Return how often a random division of all curves has means as far apart as these two groups (one curve a row)."""
    curves, n = np.concatenate([one, other]), len(one)
    divisions = [np.isin(np.arange(2 * n), chosen) for chosen in combinations(range(2 * n), n)]
    gaps = [np.abs(curves[chosen].mean(axis=0) - curves[~chosen].mean(axis=0)).sum() for chosen in divisions]
    mine = np.abs(one.mean(axis=0) - other.mean(axis=0)).sum()
    return float(np.mean(np.array(gaps) >= mine - 1e-9))


@pytest.mark.slow
@pytest.mark.parametrize("agent", list(STEPS))
def test_curves_of_the_fast_and_the_plain_way_cannot_be_told_apart(agent: str) -> None:
    fast, plain = (np.array([curve(agent, seed, way) for seed in SEEDS]) for way in (True, False))
    for curves in (fast, plain):
        assert curves[:, -1].mean() > curves[:, 0].mean() + 0.3, curves  # they learned
    assert unlikely(fast, plain) > 0.02, (fast, plain)


def test_curves_that_differ_would_be_told_apart() -> None:
    rng = np.random.default_rng(0)
    curves = rng.normal(size=(10, WINDOWS)) / 4
    assert unlikely(curves[:5], curves[5:] + 1) < 0.02
