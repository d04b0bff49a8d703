"""A2C with the causal transformer: one step of the optimiser for each rollout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from stable_baselines3 import A2C
from stable_baselines3.common.utils import explained_variance

from .buffers import EpisodeRolloutBuffer
from .collecting import Collecting
from .deep import discount, on_policy_arguments, step_size
from .guard import Guarded
from .kl_control import controlled
from .missing import counts_nothing
from .probe import Probe
from .recipe import Recipe
from .reinforce import step_along
from .scaled import reward_scale
from .settings import Choice, ControlledSettings, Count, NotNegative, Positive, Share


class A2CSettings(ControlledSettings):
    """A2C's settings, by SB3's names."""

    learning_rate: Positive = Field(3e-3, description="the step size of Adam")
    n_steps: Count = Field(8, description="the steps of each row in a rollout")
    gae_lambda: Share = Field(0.95, description="how far an advantage looks ahead: 0 one step, 1 to the end")
    ent_coef: NotNegative = Field(0.01, description="the entropy coefficient: what keeps the policy trying things")
    vf_coef: NotNegative = Field(0.5, description="the weight of the value loss")
    normalize_advantage: bool = Field(False, description="whether a rollout's advantages get mean 0, deviation 1")


class GuardedA2C(Guarded, Collecting, A2C):
    """Stable-Baselines3's A2C with a `FiniteGuard`."""

    def train(self) -> None:
        """Learn from the rollout as SB3's A2C does, in parts or not, and from a divergence that is part of the loss."""
        if counts_nothing(self.rollout_buffer):
            return
        if self.micro_batch_size is None and (self.kl_control is None or not self.kl_control.in_loss):
            super().train()
            if isinstance(buffer := self.rollout_buffer, EpisodeRolloutBuffer) and buffer.left_out.any():
                counts = ~buffer.left_out  # SB3 has recorded it of all
                explained = explained_variance(buffer.values[counts], buffer.returns[counts])
                self.logger.record("train/explained_variance", explained)
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        (rollout,) = self.rollout_buffer.get(batch_size=None)
        weight = rollout.advantages
        scale = weight.std() + 1e-8 if self.normalize_advantage else 1.0
        step_along(self, rollout, (weight - weight.mean()) / scale if self.normalize_advantage else weight, scale)


def choose(seen: Probe, given: A2CSettings) -> Mapping[str, Choice]:
    """Return what the environment's length and scale of reward speak for."""
    length = seen.longest or seen.width
    n_steps = min(64, max(8, 2 * length))
    return {
        "n_steps": Choice(n_steps, f"some two episodes of {length} tokens a row, within 8 to 64"),
        "reward_scale": reward_scale(seen),
        **discount(seen),
        **step_size(given),
    }


def build(env: Any, settings: A2CSettings, **runtime: Any) -> Any:
    """Return Stable-Baselines3's A2C, the synchronous form of A3C (Mnih et al., 2016), with Adam."""
    arguments = on_policy_arguments(env, settings)
    return controlled(GuardedA2C(**arguments, use_rms_prop=False, **runtime), settings)


make = Recipe("a2c", A2CSettings, build, choose)
