"""PPO writes the text: the first lines of the README, with the same settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed

from agents import TransformerExtractor, make, make_vec_env
from agents.evaluation import evaluate
from textgym import Episodes, load_task

some_seeds = pytest.mark.parametrize("seed", [0, *[pytest.param(s, marks=pytest.mark.slow) for s in range(1, 5)]])


@some_seeds
def test_plain_ppo_with_the_readmes_settings_writes_the_text(seed: int) -> None:
    set_random_seed(seed)  # the README gives none
    model = PPO(
        "MlpPolicy",
        make_vec_env("TextGen-v0", 8),
        n_steps=12,
        batch_size=48,
        learning_rate=3e-3,
        policy_kwargs={"features_extractor_class": TransformerExtractor, "net_arch": [], "ortho_init": False},
    ).learn(5_000)
    result = evaluate(model, load_task("TextGen-v0"), 10)
    assert (result.mean_return, result.success_rate, result.samples) == (3.0, 1.0, ["我爱你"] * 5)


def test_the_readmes_other_forms_of_the_environment_are_what_they_say() -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    env = gym.make("TextGen-v0", target="hello", alphabet=alphabet, reward="terminal")
    envs = gym.make_vec("TextGen-v0", num_envs=1024, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    steps = [env.step(alphabet.index(letter)) for letter in "hello"]
    assert [step[1] for step in steps] == [0, 0, 0, 0, 1]
    assert steps[-1][4]["is_success"] is True
    assert envs.reset(seed=0)[0].shape == (1024, 3)
    assert envs.step(np.ones(1024, np.int64))[1].tolist() == [-1.0] * 1024


@pytest.mark.parametrize("reward", ["token", "terminal"])
@some_seeds
def test_the_ppo_agent_writes_the_text(seed: int, reward: str) -> None:
    agent = make("ppo", make_vec_env("TextGen-v0", 8, seed=seed, reward=reward), seed=seed, device="cpu")
    agent.learn(5_000)
    result = evaluate(agent, load_task("TextGen-v0", reward=reward), 10)
    assert (result.mean_return, result.success_rate) == (3.0 if reward == "token" else 1.0, 1.0)


def only_the_target(episodes: Episodes) -> Any:
    """Allow the target's next token alone, `(n, size)` bool."""
    place = np.minimum(episodes.length, episodes.target.shape[1] - 1)
    wanted = episodes.target[np.arange(len(episodes)), place]
    return np.arange(episodes.vocabulary.size) == wanted[:, None]


def test_a_masked_agent_writes_nothing_that_the_mask_forbids() -> None:
    task = replace(load_task("TextGym/Reverse-v0"), mask=only_the_target)
    model = MaskablePPO(
        "MlpPolicy",
        make_vec_env(task, 4, seed=0),
        n_steps=16,
        batch_size=32,
        n_epochs=1,
        device="cpu",
        seed=0,
        policy_kwargs={"features_extractor_class": TransformerExtractor, "net_arch": [], "ortho_init": False},
    ).learn(128)
    assert model.ep_info_buffer
    assert [episode["r"] for episode in model.ep_info_buffer] == pytest.approx([1.0] * len(model.ep_info_buffer))
