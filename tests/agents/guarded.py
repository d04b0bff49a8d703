"""Small agents for the tests of the guard."""

from __future__ import annotations

from typing import Any

from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from agents import make, make_vec_env

TINY = {"policy.d_model": 8, "policy.n_layers": 1, "policy.n_heads": 1}
SHORT = {
    "ppo": {"n_steps": 8, "batch_size": 16},
    "dqn": {"learning_starts": 16},
    "a2c": {},
    "reinforce": {},
    "rloo": {},
    "grpo": {"episodes": 1},
}
DEEP = sorted(SHORT)
PLAIN: dict[type[BaseAlgorithm], dict[str, Any]] = {
    PPO: {"n_steps": 8, "batch_size": 16},
    A2C: {},
    DQN: {"learning_starts": 16, "train_freq": 1},
}


def agent_of(name: str, **settings: Any) -> Any:
    env = make_vec_env("TextGen-v0", 4, seed=0)
    return make(name, env, seed=0, device="cpu", **TINY, **SHORT[name], **settings)


def plain(kind: type[BaseAlgorithm], **settings: Any) -> Any:
    return kind("MlpPolicy", make_vec_env("TextGen-v0", 4, seed=0), device="cpu", seed=0, **PLAIN[kind], **settings)
