"""The policy gradient, and what an estimate of it is on average: exactly, by enumeration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from textgym import Task
from textgym.arrays import FloatArray, IntArray
from textgym.errors import InvalidSetting
from textgym.following import Step, follow
from textgym.frontier import paid_on_average
from textgym.solving import LIMIT, support

from .categorical import divergence, log_probabilities
from .exact import Recorded, expected_return
from .settings import Estimate

Critic: TypeAlias = Callable[[IntArray], FloatArray]
"""Observations `(n, width)` to values `(n,)`."""


def exact_gradient(policy: Any, task: Task, gamma: float = 1.0, *, kl_coefficient: float = 0.0) -> Tensor:
    """Return grad J, `(parameters,)` float64, in the order of `policy.parameters()`; J less divergence from uniform."""
    return gradient(policy, expected_return(policy, task, gamma, kl_coefficient=kl_coefficient))


@dataclass
class _Depth:
    """What is known of all steps of one depth."""

    step: Step
    chosen: Tensor  # (m,) log-probabilities of the actions, with their graph
    flow: FloatArray  # (m,) how likely each is
    value: FloatArray  # (n,) the critic's, of the texts
    rewards: FloatArray  # (m,) what actions earn, less what divergence costs there
    penalty: Tensor  # scalar, what it costs in the loss, with its graph
    weight: FloatArray = field(default_factory=lambda: np.zeros(0))  # (m,) of the gradient, summed over windows


def expected_gradient(
    policy: Any,
    task: Task,
    steps: int,
    gae_lambda: float = 1.0,
    *,
    critic: Critic | None = None,
    gamma: float = 1.0,
    baseline: bool = True,
    kl: Estimate = "k1",
    kl_coefficient: float = 0.0,
) -> tuple[Tensor, float]:
    """Return what an estimate is on average, and how many episodes are expected to begin in a row, E.

    E[sum_t A_t grad log pi(a_t | s_t)] / E over all texts, with a fixed critic V and the generalised advantage
    A_t = sum_k (gamma lambda)^k delta_(t+k), delta = r + gamma V(s') - V(s) (Schulman et al., 2016, equation 16), as
    long as the rollout's window of `steps` lasts; by enumeration. A row begins an episode with the window and another
    one after each end, so that u_j = sum_l P(length l) u_(j-l) is the probability that one begins with step j. As in
    the agents, the factor gamma^t is left out.

    Divergence from uniform writing, as `agents.kl_control.KLControl` estimates it, is a part of rewards, or costs what
    is expected in the loss at each state: for `exact` grad KL(pi || uniform), for `k3` grad KL(uniform || pi).

    Args:
        policy: as `agents.exact.expected_return` takes it.
        task: whose texts can be enumerated.
        steps: of a row in a rollout.
        gae_lambda: how far an advantage looks ahead.
        critic: V; None for 0 everywhere.
        gamma: the discount.
        baseline: False for returns in place of advantages, A_t + V(s_t).
        kl: the estimate.
        kl_coefficient: what a nat costs.

    Returns:
        `(parameters,)` float64, in the order of `policy.parameters()`; and E.
    """
    levels = _followed(policy, paid_on_average(task), gamma, critic, kl, kl_coefficient)
    penalty = torch.zeros((), dtype=torch.float64)
    begins = _begins(levels, steps)
    for start in np.flatnonzero(begins):
        window = levels[: steps - int(start)]
        onward: FloatArray = np.zeros(0)
        for depth in range(len(window) - 1, -1, -1):
            known = window[depth]
            penalty = penalty + begins[start] * known.penalty.cpu()
            after = np.zeros(len(known.step.rows))
            if depth + 1 < len(levels):
                after[known.step.going] = gamma * levels[depth + 1].value
            advantage = known.rewards + after - known.value[known.step.rows]
            if depth + 1 < len(window):
                advantage[known.step.going] += gamma * gae_lambda * onward
            p = known.step.probabilities[known.step.rows, known.step.actions]
            onward = np.bincount(known.step.rows, p * advantage, len(known.value)).astype(np.float64)  # E[A | s]
            known.weight += begins[start] * (advantage if baseline else advantage + known.value[known.step.rows])
    surrogate = sum(
        (torch.as_tensor(known.flow * known.weight) @ known.chosen.cpu() for known in levels), torch.zeros(())
    )
    return gradient(policy, surrogate - penalty) / begins.sum(), float(begins.sum())


def _followed(
    policy: Any, task: Task, gamma: float, critic: Critic | None, kl: Estimate, kl_coefficient: float
) -> list[_Depth]:
    """Return all that may be written, depth by depth."""
    recorded, drawn = Recorded(policy), support(task, None)
    mass, levels = drawn[1], []
    for step in follow(task, recorded, gamma, drawn, 0.0, LIMIT):
        if len(step.gone):
            raise InvalidSetting("there are more texts than can be followed. Give a shorter horizon, fewer prompts.")
        flow = mass[step.rows] * step.probabilities[step.rows, step.actions]
        value = np.zeros(len(mass)) if critic is None else np.asarray(critic(step.texts.tokens), np.float64)
        logs, free = recorded.latest, torch.as_tensor(step.allowed, device=recorded.latest.device)
        chosen, even = logs[step.rows, step.actions], log_probabilities(torch.zeros_like(logs), free)
        rewards, penalty = step.rewards, torch.zeros((), dtype=torch.float64)
        if kl_coefficient and kl == "k1":
            ratio = (chosen - even[step.rows, step.actions]).detach().cpu().numpy()
            rewards = rewards - kl_coefficient * ratio
        elif kl_coefficient:
            apart = divergence(logs, even) if kl == "exact" else divergence(even, logs)
            penalty = kl_coefficient * (torch.as_tensor(mass, device=apart.device) @ apart)
        levels.append(_Depth(step, chosen, flow, value, rewards, penalty, np.zeros(len(flow))))
        mass = flow[step.going]
    return levels


def _begins(levels: Sequence[_Depth], steps: int) -> FloatArray:
    """Return how likely an episode begins with each step of a window, `(steps,)`."""
    lengths = [0.0, *(float(known.flow[known.step.ended].sum()) for known in levels)]
    begins = np.zeros(steps)
    begins[0] = 1.0
    for step in range(1, steps):
        begins[step] = sum(lengths[n] * begins[step - n] for n in range(1, min(step, len(levels)) + 1))
    return begins


def gradient(policy: Any, value: Tensor) -> Tensor:
    """Return a value's gradient, `(parameters,)` float64, 0 where it does not depend on one."""
    parameters = list(policy.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    parts = [torch.zeros_like(p) if grad is None else grad for p, grad in zip(parameters, found)]
    return torch.cat([part.flatten().double() for part in parts])


def critic_of(policy: Any) -> Critic:
    """Return the critic of an actor-critic policy of SB3."""

    def value(observations: IntArray) -> FloatArray:
        device = next(policy.parameters()).device
        found: FloatArray = policy.predict_values(torch.as_tensor(observations, device=device)).detach().cpu().numpy()
        return found[:, 0].astype(np.float64)

    return value
