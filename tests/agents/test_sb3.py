"""Stable-Baselines3's own tools and agents on the bridge and the extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from agents import SB3VecEnv, TransformerExtractor, make, make_vec_env
from agents.evaluation import evaluate
from textgym import load_task

EXTRACTOR: dict[str, Any] = {"features_extractor_class": TransformerExtractor, "net_arch": []}
EXTRACTOR["features_extractor_kwargs"] = {"d_model": 16, "n_layers": 1, "n_heads": 2}
SHORT: dict[str, Any] = {"n_steps": 8, "batch_size": 32, "n_epochs": 1, "device": "cpu", "seed": 0}
ON_POLICY: dict[str, Any] = {**EXTRACTOR, "ortho_init": False}


def test_evaluate_policy_finds_what_our_evaluation_finds() -> None:
    agent = make("q-learning", make_vec_env("TextGym/Copy-v0", 8, alphabet="ab", max_length=2), seed=0)
    agent.learn(3_000)
    env = make_vec_env("TextGym/Copy-v0", 3, seed=5, alphabet="ab", max_length=2)
    returns, lengths = evaluate_policy(agent, env, n_eval_episodes=60, return_episode_rewards=True)
    assert returns == pytest.approx([1.0] * 60)
    assert set(lengths) == {2, 3}  # type: ignore[arg-type]
    assert evaluate(agent, load_task("TextGym/Copy-v0", alphabet="ab", max_length=2), 60).success_rate == 1.0


def test_eval_callback_keeps_returns_lengths_and_successes(tmp_path: Path) -> None:
    env = make_vec_env("TextGen-v0", 2)
    callback = EvalCallback(env, eval_freq=16, n_eval_episodes=6, log_path=str(tmp_path), verbose=0)
    PPO("MlpPolicy", make_vec_env("TextGen-v0", 4), policy_kwargs=ON_POLICY, **SHORT).learn(128, callback)
    kept = np.load(tmp_path / "evaluations.npz")
    assert kept["timesteps"].tolist() == [64, 128]
    assert kept["results"].shape == kept["successes"].shape == (2, 6)
    assert (kept["ep_lengths"] == 3).all()
    np.testing.assert_array_equal(kept["successes"], kept["results"] == 3.0)


def test_checkpoints_come_back(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", make_vec_env("TextGen-v0", 4), policy_kwargs=ON_POLICY, **SHORT)
    model.learn(64, CheckpointCallback(8, str(tmp_path), "text"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text_32_steps.zip", "text_64_steps.zip"]
    assert PPO.load(tmp_path / "text_64_steps.zip", device="cpu").num_timesteps == 64


def test_a_saved_and_loaded_agent_predicts_the_same(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", make_vec_env("TextGym/Copy-v0", 4), policy_kwargs=ON_POLICY, **SHORT).learn(64)
    model.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", env=make_vec_env("TextGym/Copy-v0", 4), device="cpu")
    observations, _ = model.policy.obs_to_tensor(make_vec_env("TextGym/Copy-v0", 100, seed=1).reset())
    for mine, other in zip(model.policy(observations, True), again.policy(observations, True)):
        np.testing.assert_array_equal(mine.detach().numpy(), other.detach().numpy())
    again.learn(64)


def test_normalised_rewards_leave_observations_and_episode_returns_alone() -> None:
    plain = make_vec_env("TextGym/Copy-v0", 4, seed=0)
    env = VecNormalize(make_vec_env("TextGym/Copy-v0", 4, seed=0), norm_obs=False, norm_reward=True, gamma=0.9)
    np.testing.assert_array_equal(env.reset(), plain.reset())
    rng = np.random.default_rng(0)
    running, ended = np.zeros(4), 0
    for _ in range(100):
        actions = rng.integers(9, size=4)
        observations, rewards, dones, infos = env.step(actions)
        raw = plain.step(actions)
        np.testing.assert_array_equal(observations, raw[0])
        np.testing.assert_array_equal(env.get_original_reward(), raw[1])
        np.testing.assert_allclose(rewards, raw[1] / np.sqrt(env.ret_rms.var + env.epsilon), rtol=1e-5)
        np.testing.assert_allclose(env.returns, np.where(dones, 0, running := running * 0.9 + raw[1]), rtol=1e-5)
        running[dones] = 0
        for row in np.flatnonzero(dones):
            ended += 1
            assert infos[row]["episode"]["r"] == raw[3][row]["episode"]["r"]
    assert ended > 50


def test_a_vec_monitor_counts_what_the_bridge_counts() -> None:
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        env = VecMonitor(make_vec_env("TextGym/Copy-v0", 4, seed=0))
    plain = make_vec_env("TextGym/Copy-v0", 4, seed=0)
    np.testing.assert_array_equal(env.reset(), plain.reset())
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = rng.integers(9, size=4)
        _, _, dones, infos = env.step(actions)
        others = plain.step(actions)[3]
        for row in np.flatnonzero(dones):
            assert infos[row]["episode"]["r"] == pytest.approx(others[row]["episode"]["r"])
            assert infos[row]["episode"]["l"] == others[row]["episode"]["l"]


@pytest.mark.parametrize(
    ("algorithm", "policy", "settings"),
    [
        (PPO, "MlpPolicy", {**SHORT, "policy_kwargs": ON_POLICY}),
        (A2C, "MlpPolicy", {"device": "cpu", "policy_kwargs": ON_POLICY}),
        (DQN, "MlpPolicy", {"device": "cpu", "learning_starts": 8, "buffer_size": 99, "policy_kwargs": EXTRACTOR}),
        (MaskablePPO, "MlpPolicy", {**SHORT, "policy_kwargs": ON_POLICY}),
        (RecurrentPPO, "MlpLstmPolicy", {**SHORT, "policy_kwargs": {**ON_POLICY, "lstm_hidden_size": 8}}),
    ],
)
def test_an_agent_learns_with_the_extractor(algorithm: Any, policy: str, settings: dict[str, Any]) -> None:
    model = algorithm(policy, make_vec_env("TextGym/Copy-v0", 4, seed=0), **settings)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(96)
    after = model.policy.state_dict()
    moved = {name for name, value in after.items() if not value.equal(before[name])}
    assert all(value.isfinite().all() for value in after.values())
    assert any("transformer.blocks.0.attention.project" in name for name in moved)
    assert any("transformer.token" in name for name in moved)
    assert len(model.ep_info_buffer) > 0


class Mood(gymnasium.Env[dict[str, npt.NDArray[Any]], np.int64]):
    """One step: the right action is told by a token and by the sign of a number."""

    observation_space: spaces.Space[Any] = spaces.Dict(
        {"tokens": spaces.Box(0, 2, (3,), np.int32), "mood": spaces.Box(-1, 1, (1,), np.float32)}
    )
    action_space: spaces.Space[Any] = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.token, self.mood = int(self.np_random.integers(2)), float(self.np_random.choice([-1, 1]))
        return self.observation(), {}

    def observation(self) -> dict[str, npt.NDArray[Any]]:
        return {"tokens": np.array([2, self.token, 2], np.int32), "mood": np.array([self.mood], np.float32)}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation(), float(action == 2 * self.token + (self.mood > 0)), True, False, {}


def test_tokens_and_numbers_of_a_dict_are_both_learned_from() -> None:
    env = SB3VecEnv(SyncVectorEnv([Mood] * 8, autoreset_mode=AutoresetMode.SAME_STEP))
    settings: dict[str, Any] = {**SHORT, "n_epochs": 10, "learning_rate": 1e-2, "policy_kwargs": ON_POLICY}
    model = PPO("MultiInputPolicy", env, **settings).learn(2_000)
    assert evaluate_policy(model, env, n_eval_episodes=80)[0] == 1.0
