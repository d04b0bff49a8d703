"""DQN with the causal transformer: Q-learning from a memory of transitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from stable_baselines3 import DQN

from .deep import deep_arguments, discount
from .guard import Guarded
from .probe import Probe
from .recipe import Recipe
from .scaled import reward_scale
from .settings import Choice, Count, DeepSettings, Positive, Share


class DQNSettings(DeepSettings):
    """DQN's settings, by SB3's names."""

    learning_rate: Positive = Field(1e-3, description="the step size of Adam")
    buffer_size: Count = Field(50_000, description="the transitions remembered")
    learning_starts: int = Field(256, ge=0, description="the random steps before learning begins")
    batch_size: Count = Field(64, description="the transitions of a minibatch")
    train_freq: Count = Field(1, description="the steps of each row between updates")
    gradient_steps: Count = Field(1, description="the minibatches of an update")
    target_update_interval: Count = Field(256, description="the steps between copies into the target network")
    tau: Share = Field(1.0, description="the share of a copy into the target network that is new")
    exploration_initial_eps: Share = Field(1.0, description="the chance of a random action at the start")
    exploration_final_eps: Share = Field(0.05, description="the chance of a random action in the end")
    exploration_fraction: Share = Field(0.5, description="the share of learning in which that chance falls")
    max_grad_norm: Positive = Field(10.0, description="the norm that gradients are clipped to")


class GuardedDQN(Guarded, DQN):
    """Stable-Baselines3's DQN with a `FiniteGuard`."""


def choose(seen: Probe, given: DQNSettings) -> Mapping[str, Choice]:
    """Return what the environment's scale of reward and rows speak for."""
    interval = max(given.target_update_interval, seen.n_envs)
    return {
        "target_update_interval": Choice(interval, "at least the rows that are stepped at once"),
        "reward_scale": reward_scale(seen),
        **discount(seen),
    }


def build(env: Any, settings: DQNSettings, **runtime: Any) -> GuardedDQN:
    """Return Stable-Baselines3's DQN (Mnih et al., 2015) with a `TransformerExtractor`."""
    return GuardedDQN(**deep_arguments(env, settings), **runtime)


make = Recipe("dqn", DQNSettings, build, choose)
