"""PPO with the causal transformer, and defaults that work on the tasks here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field
from stable_baselines3 import PPO
from stable_baselines3.common.utils import explained_variance
from torch import Tensor

from textgym.errors import InvalidSetting

from .accumulating import parts
from .collecting import Collecting
from .deep import discount, on_policy_arguments, step_size
from .flat_adam import FlatAdam
from .guard import Guarded
from .kl_control import controlled
from .missing import counts_nothing
from .probe import Probe
from .recipe import Recipe
from .scaled import reward_scale
from .settings import Choice, ControlledSettings, Count, NotNegative, Positive, Share, TransformerSettings
from .surrogate import Surrogate


class PPOSettings(ControlledSettings):
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

    def train(self) -> None:
        """Learn from the rollout as SB3's PPO does, with fewer small operations: on few rows they are what it costs."""
        if counts_nothing(self.rollout_buffer):
            return
        policy, optimizer = self.policy, self.policy.optimizer
        plain = isinstance(optimizer, FlatAdam) and isinstance(self.action_space, spaces.Discrete)
        if not plain or self.clip_range_vf is not None:
            if self.kl_control is not None and self.kl_control.in_loss:
                raise InvalidSetting("a divergence in the loss needs FlatAdam and no clip_range_vf. Or use kl='k1'.")
            if self.micro_batch_size is not None:
                raise InvalidSetting("micro_batch_size needs discrete actions. Leave it out, or give a batch_size.")
            return super().train()
        assert isinstance(optimizer, FlatAdam)
        policy.set_training_mode(True)
        self._update_learning_rate(optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        details: list[Tensor] = []  # of each minibatch: losses, divergence, what was clipped
        for _ in range(self.n_epochs):
            seen = len(details)
            for batch in self.rollout_buffer.get(self.batch_size):
                optimizer.zero_grad()
                details.append(self._add_gradients(batch, clip_range))
                if self.target_kl is not None and details[-1][3] > 1.5 * self.target_kl:
                    optimizer.zero_grad()
                    break
                optimizer.step_clipped(self.max_grad_norm)
            self._n_updates += 1
            if self.target_kl is not None and details[-1][3] > 1.5 * self.target_kl:
                break
        optimizer.spread()
        self._record(torch.stack(details), seen, clip_range)

    def _add_gradients(self, batch: Any, clip_range: float) -> Tensor:
        """Add a minibatch's gradients, part by part, and return what is recorded of it, `(6,)`."""
        advantages, scale = batch.advantages, torch.ones(())
        if self.normalize_advantage and len(advantages) > 1:  # over the whole minibatch, whatever its parts
            deviation, mean = torch.std_mean(advantages)
            scale = deviation + 1e-8
            batch = batch._replace(advantages=(advantages - mean) / scale)
        total: Tensor = advantages.new_zeros(6)
        for _, part in parts(batch, self.micro_batch_size):
            share = len(part.actions) / len(batch.actions)
            loss, detail = self._loss(part, clip_range, scale)
            loss.backward(loss.new_full((), share))  # type: ignore[no-untyped-call]
            total.add_(detail, alpha=share)
        return total

    def _loss(self, batch: Any, clip_range: float, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of transitions (Schulman et al., 2017, equation 9), and its parts, for the records.

        Args:
            batch: whose advantages are normalised, if they are to be.
            clip_range: how far a ratio may move.
            scale: what they were divided by.

        Returns:
            `()` and `(6,)`.
        """
        values, log_prob, entropy, penalty = self._evaluated(batch)
        surrogate = Surrogate(
            batch.old_log_prob,
            batch.advantages,
            clip_range,
            1 / len(batch.advantages),
            self.ent_coef,
            self.vf_coef,
            batch.returns,
        )
        loss, details = surrogate(log_prob, entropy, values.flatten())
        if penalty is not None:
            loss = loss + penalty.mean() / scale  # in the same proportion to advantages, normalised or not
        return loss, torch.cat([details, loss.detach()[None]])

    def _record(self, details: Tensor, seen: int, clip_range: float) -> None:
        """Write what SB3's PPO writes to the logger; `seen` minibatches came before the last epoch."""
        means = details.mean(dim=0).tolist()
        buffer, record = self.rollout_buffer, self.logger.record
        for name, value in zip(("policy_gradient_loss", "value_loss", "entropy_loss"), means):
            record(f"train/{name}", value)
        record("train/approx_kl", details[seen:, 3].mean().item())
        record("train/clip_fraction", means[4])
        record("train/loss", details[-1, 5].item())
        counts = ~getattr(buffer, "left_out", np.zeros_like(buffer.values, np.bool_))
        record("train/explained_variance", explained_variance(buffer.values[counts], buffer.returns[counts]))
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        record("train/clip_range", clip_range)


def choose(seen: Probe, given: PPOSettings) -> Mapping[str, Choice]:
    """Return what the environment's length, scale and density of reward speak for."""
    if seen.control:
        return controls(seen, given)
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
        **step_size(given),
        "ent_coef": ent_coef,
        "n_steps": Choice(n_steps, f"eight times the {seen.width} tokens of an observation, within 32 to 256"),
        "batch_size": Choice(batch, f"at most {most}, and where it can divides the rollout's {rollout} transitions"),
        "reward_scale": reward_scale(seen),
    }


def controls(seen: Probe, given: PPOSettings) -> Mapping[str, Choice]:
    """Return what works on control tasks: short observations that tell the whole state, and long episodes."""
    why = "a control task"
    tuned = given.model_copy(update={"learning_rate": 3e-3})  # language models are, in fewer steps than ours learns
    rollout = (given.n_steps if "n_steps" in given.model_fields_set else 64) * seen.n_envs
    gamma = discount(seen)["gamma"] if seen.gamma is not None else Choice(0.995, f"{why}: some hundred steps count")
    sizes = {
        "policy.n_layers": Choice(1, f"{why}: an observation is a few tokens"),
        "policy.residual_scale": Choice(0.3, f"{why}: each token says as much as the newest"),
    }
    return {
        "gamma": gamma,
        "learning_rate": Choice(1e-3, why),
        **step_size(tuned),
        "learning_rate_schedule": Choice("linear", f"{why}: what it can at the end it should not lose again"),
        "ent_coef": Choice(0.0, f"{why}: its few actions are tried often enough"),
        "gae_lambda": Choice(0.95, why),
        "vf_coef": Choice(3.0, f"{why}: what a slow drift costs, values alone know"),
        "n_steps": Choice(64, f"{why}: what the policy did is soon learned from"),
        "n_epochs": Choice(8, f"{why}: steps are dear, and updates stay small"),
        "batch_size": Choice(
            max(1, min(512, rollout // 4)), f"a quarter of the rollout's {rollout} transitions, at most 512"
        ),
        **(sizes if isinstance(given.policy, TransformerSettings) else {}),
        "reward_scale": Choice(
            round(max(1 - gamma.value, 0.001), 6), f"{why}: what steps of 1 are worth in all becomes 1"
        ),
    }


def build(env: Any, settings: PPOSettings, **runtime: Any) -> Any:
    """Return Stable-Baselines3's PPO (Schulman et al., 2017) with a `TransformerExtractor`."""
    return controlled(GuardedPPO(**on_policy_arguments(env, settings), **runtime), settings)


make = Recipe("ppo", PPOSettings, build, choose)
