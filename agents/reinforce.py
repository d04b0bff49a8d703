"""REINFORCE with the causal transformer: the policy gradient from whole returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field
from stable_baselines3 import A2C
from torch.nn import functional

from .collecting import Collecting
from .deep import OWN, discount, on_policy_arguments, step_size
from .guard import Guarded
from .probe import Probe
from .recipe import Recipe
from .scaled import reward_scale
from .settings import Choice, Count, DeepSettings, NotNegative, Positive


class ReinforceSettings(DeepSettings):
    """REINFORCE's settings."""

    learning_rate: Positive = Field(3e-3, description="the step size of Adam")
    n_steps: Count = Field(8, description="the steps of each row in a rollout")
    baseline: bool = Field(True, description="whether a learned value is subtracted from returns")
    ent_coef: NotNegative = Field(0.01, description="the entropy coefficient: what keeps the policy trying things")
    vf_coef: NotNegative = Field(0.5, description="the weight of the baseline's loss")


class Reinforce(Guarded, Collecting):
    """REINFORCE with baseline (Williams, 1992; Sutton & Barto, 2018, equation 13.11), as an SB3 algorithm.

    theta += alpha (G_t - b(s_t)) grad ln pi(a_t | s_t), one step of Adam for each rollout, averaged over its steps. The
    factor gamma^t of the book's algorithm is left out, as is usual; where gamma is 1 it is 1. The return G_t of an
    episode that the rollout cuts is continued by the baseline's value; choose `n_steps` that episodes divide to have
    none.

    Args:
        baseline: subtract the learned value; without it the return itself is the weight.
        kwargs: `OnPolicyAlgorithm`'s arguments, as PPO and A2C have them.
    """

    policy_aliases = A2C.policy_aliases

    def __init__(self, policy: Any, env: Any, *, baseline: bool = True, **kwargs: Any) -> None:
        defaults = ReinforceSettings().model_dump(exclude={*OWN, "baseline"})
        returns = {"gae_lambda": 1.0, "use_sde": False, "sde_sample_freq": -1}  # lambda 1: returns, not estimates
        super().__init__(policy, env, **{**defaults, **returns, **kwargs})
        self.baseline = baseline

    def train(self) -> None:
        """Make one step along the gradient of the rollout's log-probabilities, weighted by returns."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        (rollout,) = self.rollout_buffer.get(batch_size=None)
        discrete = isinstance(self.action_space, spaces.Discrete)
        actions = rollout.actions.long().flatten() if discrete else rollout.actions
        values, log_prob, entropy = self.policy.evaluate_actions(rollout.observations, actions)
        assert entropy is not None
        weight = rollout.advantages if self.baseline else rollout.returns  # (N,), both constants
        policy_loss = -(weight * log_prob).mean()
        value_loss = functional.mse_loss(values.flatten(), rollout.returns)
        loss = policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy.mean()
        self.policy.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()
        self._n_updates += 1
        self.logger.record("train/entropy_loss", -entropy.mean().item())
        self.logger.record("train/policy_loss", policy_loss.item())
        self.logger.record("train/value_loss", value_loss.item())


def choose(seen: Probe, given: ReinforceSettings) -> Mapping[str, Choice]:
    """Return what the environment's length and scale of reward speak for."""
    length = seen.longest or seen.width
    return {
        "n_steps": Choice(2 * length, f"two episodes of {length} tokens a row"),
        "reward_scale": reward_scale(seen),
        **discount(seen),
        **step_size(given),
    }


def build(env: Any, settings: ReinforceSettings, **runtime: Any) -> Reinforce:
    """Return REINFORCE with a `TransformerExtractor`."""
    return Reinforce(**on_policy_arguments(env, settings), **runtime)


make = Recipe("reinforce", ReinforceSettings, build, choose)
