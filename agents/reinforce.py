"""REINFORCE with the causal transformer: the policy gradient from whole returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from stable_baselines3 import A2C
from torch import Tensor
from torch.nn import functional

from .accumulating import parts
from .collecting import Collecting
from .deep import OWN, discount, on_policy_arguments, step_size
from .flat_adam import clipped_step
from .guard import Guarded
from .kl_control import controlled
from .missing import counts_nothing
from .probe import Probe
from .recipe import Recipe
from .scaled import reward_scale
from .settings import Choice, ControlledSettings, Count, NotNegative, Positive


class ReinforceSettings(ControlledSettings):
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
        if counts_nothing(self.rollout_buffer):
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        (rollout,) = self.rollout_buffer.get(batch_size=None)
        step_along(self, rollout, rollout.advantages if self.baseline else rollout.returns)


def step_along(agent: Any, rollout: Any, weight: Tensor, scale: Tensor | float = 1.0) -> None:
    """Make one step along the gradient of a rollout's log-probabilities, weighted by constants.

    Args:
        agent: an on-policy algorithm of SB3's.
        rollout: all transitions.
        weight: `(N,)` returns or advantages.
        scale: what they were divided by; a divergence in the loss is, too.
    """
    agent.policy.optimizer.zero_grad()
    total = torch.zeros(3)
    for chosen, part in parts(rollout, agent.micro_batch_size):
        values, log_prob, entropy, penalty = agent._evaluated(part)
        policy_loss = -(weight[chosen] * log_prob).mean()
        value_loss = functional.mse_loss(values.flatten(), part.returns)
        loss = policy_loss + agent.vf_coef * value_loss - agent.ent_coef * entropy.mean()
        if penalty is not None:
            loss = loss + penalty.mean() / scale
        share = len(part.actions) / len(rollout.actions)
        (share * loss).backward()
        total += share * torch.stack([-entropy.mean(), policy_loss, value_loss]).detach().cpu()
    clipped_step(agent.policy.optimizer, agent.max_grad_norm)
    agent._n_updates += 1
    for name, value in zip(("entropy_loss", "policy_loss", "value_loss"), total.tolist()):
        agent.logger.record(f"train/{name}", value)


def choose(seen: Probe, given: ReinforceSettings) -> Mapping[str, Choice]:
    """Return what the environment's length and scale of reward speak for."""
    length = seen.longest or seen.width
    return {
        "n_steps": Choice(2 * length, f"two episodes of {length} tokens a row"),
        "reward_scale": reward_scale(seen),
        **discount(seen),
        **step_size(given),
    }


def build(env: Any, settings: ReinforceSettings, **runtime: Any) -> Any:
    """Return REINFORCE with a `TransformerExtractor`."""
    return controlled(Reinforce(**on_policy_arguments(env, settings), **runtime), settings)


make = Recipe("reinforce", ReinforceSettings, build, choose)
