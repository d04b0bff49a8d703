"""PPO with the causal transformer, and defaults that work on the tasks here."""

from __future__ import annotations

from typing import Any

from stable_baselines3 import PPO

from textgym.errors import InvalidSetting

from .features import TransformerExtractor


def make(env: Any, **overrides: Any) -> PPO:
    """Return Stable-Baselines3's PPO (Schulman et al., 2017) with a `TransformerExtractor`.

    Args:
        env: a vectorised environment of tokens, as `make_vec_env` makes them.
        overrides: `PPO`'s arguments, over the defaults here.

    Raises:
        InvalidSetting: a single environment.
    """
    if not hasattr(env, "num_envs"):
        raise InvalidSetting(f"ppo needs rows: agents.make_vec_env(id, 8) instead of {env}.")
    width = env.observation_space.shape[0] if env.observation_space.shape else 8
    n_steps = overrides.get("n_steps", min(256, max(32, 8 * width)))  # some eight episodes a row
    rollout = n_steps * env.num_envs
    settings: dict[str, Any] = {
        "n_steps": n_steps,
        "batch_size": next(size for size in range(min(512, rollout // 2), 0, -1) if rollout % size == 0),
        "n_epochs": 4,
        "learning_rate": 2e-3,
        "gamma": 1.0,
        "ent_coef": 0.01,
        "policy_kwargs": {"features_extractor_class": TransformerExtractor, "net_arch": [], "ortho_init": False},
        **overrides,
    }
    return PPO("MlpPolicy", env, **settings)
