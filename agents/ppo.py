"""PPO with the causal transformer, and defaults that work on the tasks here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from stable_baselines3 import PPO

from .collecting import Collecting
from .deep import discount, on_policy_arguments
from .guard import Guarded
from .probe import Probe
from .recipe import Recipe
from .scaled import reward_scale
from .settings import Choice, Count, DeepSettings, NotNegative, Positive, Share


class PPOSettings(DeepSettings):
    """PPO's settings, by SB3's names."""

    n_steps: Count = Field(64, description="the steps of each row in a rollout")
    batch_size: Count = Field(256, description="the transitions of a minibatch")
    n_epochs: Count = Field(4, description="how often an update reads the rollout")
    gae_lambda: Share = Field(0.95, description="how far an advantage looks ahead: 0 one step, 1 to the end")
    clip_range: Positive = Field(0.2, description="how far a ratio of probabilities may move in an update")
    ent_coef: NotNegative = Field(0.01, description="the entropy coefficient: what keeps the policy trying things")
    vf_coef: NotNegative = Field(0.5, description="the weight of the value loss")
    normalize_advantage: bool = Field(True, description="whether a minibatch's advantages get mean 0, deviation 1")
    target_kl: Positive | None = Field(None, description="the divergence that ends an update early")


class GuardedPPO(Guarded, Collecting, PPO):
    """Stable-Baselines3's PPO with a `FiniteGuard`."""


def choose(seen: Probe, given: PPOSettings) -> Mapping[str, Choice]:
    """Return what the environment's length, scale and density of reward speak for."""
    n_steps = given.n_steps if "n_steps" in given.model_fields_set else min(256, max(32, 8 * seen.width))
    rollout, most = n_steps * seen.n_envs, 128 if seen.dense else 256
    dividing = (size for size in range(min(most, rollout // 2), most // 4, -1) if rollout % size == 0)
    batch = next(dividing, min(most, rollout))
    if seen.dense:
        gamma = Choice(0.9, "most steps pay, so that little need be looked ahead")
        ent_coef = Choice(0.01, "most steps pay, so that little need be tried")
    else:
        gamma = Choice(1.0, "most steps pay nothing: the end counts in full")
        ent_coef = Choice(0.03, "most steps pay nothing: what pays must be found before the policy settles")
    return {
        "gamma": gamma,
        **discount(seen),
        "ent_coef": ent_coef,
        "n_steps": Choice(n_steps, f"eight times the {seen.width} tokens of an observation, within 32 to 256"),
        "batch_size": Choice(batch, f"at most {most}, and where it can divides the rollout's {rollout} transitions"),
        "reward_scale": reward_scale(seen),
    }


def build(env: Any, settings: PPOSettings, **runtime: Any) -> GuardedPPO:
    """Return Stable-Baselines3's PPO (Schulman et al., 2017) with a `TransformerExtractor`."""
    return GuardedPPO(**on_policy_arguments(env, settings), **runtime)


make = Recipe("ppo", PPOSettings, build, choose)
