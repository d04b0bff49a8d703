"""Auditing estimators of the policy gradient: what agents estimate, and what they should on average, exactly.

An estimate is minus the gradient of the loss with which an agent makes its first step after a rollout, intercepted
before its optimiser: the rollout, the buffer and the loss are the agent's own. Its loss is a mean over K n transitions,
K steps of each of n rows, where grad J is a sum over an episode's steps; so it is multiplied by K / E, where E is the
expected number of episodes that begin in a row's K steps. Where K is a multiple of a length that all episodes share,
no episode is cut, and E = K / length. Elsewhere the last episode of a row may be cut, and goes on with the critic's
value: what is expected then is not grad J, but it is as well known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from textgym import Task

from .expected_gradient import critic_of, exact_gradient, expected_gradient
from .flat_adam import FlatAdam
from .making import make_vec_env
from .settings import Estimate
from .table import make

Spoil: TypeAlias = Callable[[RolloutBuffer], None]
"""What makes an estimator wrong on purpose: it changes a full buffer."""

UNTOUCHED: dict[str, Any] = {"ent_coef": 0.0, "vf_coef": 0.0, "max_grad_norm": 1e9, "reward_scale": 1.0, "gamma": 1.0}
"""Settings with which the loss is the policy's alone, its gradient unclipped."""


@dataclass(frozen=True)
class Estimator:
    """An agent's estimate of the gradient.

    Args:
        agent: as `agents.make` takes it: `reinforce`, `a2c` or `ppo`.
        gae_lambda: of the generalised advantage.
        baseline: whether the critic's value is subtracted from returns; False for `reinforce` alone.
        spoil: what makes it wrong.
        kl: how divergence from uniform writing is estimated.
        kl_coefficient: what a nat of it costs.
    """

    agent: str
    gae_lambda: float = 1.0
    baseline: bool = True
    spoil: Spoil | None = None
    kl: Estimate = "k1"
    kl_coefficient: float = 0.0

    def build(self, task: Task, n: int, steps: int, seed: int, policy: dict[str, Any]) -> Any:
        """Return the agent, on n rows of which each makes `steps` steps between updates."""
        own: dict[str, dict[str, Any]] = {
            "reinforce": {"baseline": self.baseline},
            "a2c": {"gae_lambda": self.gae_lambda, "normalize_advantage": False},
            "ppo": {
                "gae_lambda": self.gae_lambda,
                "normalize_advantage": False,
                "batch_size": n * steps,
                "n_epochs": 1,
            },
        }
        near = {"kl_coefficient": self.kl_coefficient, "kl": self.kl, "reference": "uniform"}
        settings = {**UNTOUCHED, **own[self.agent], **near, "policy": policy}
        return make(self.agent, make_vec_env(task, n, seed=seed), seed=seed, device="cpu", n_steps=steps, **settings)

    def exact(self, policy: Any, task: Task) -> Tensor:
        """Return the gradient that is to be estimated, `(parameters,)`: of the return less what divergence costs."""
        return exact_gradient(policy, task, kl_coefficient=self.kl_coefficient)

    def expected(self, policy: Any, task: Task, steps: int) -> tuple[Tensor, float]:
        """Return what `expected_gradient` does, with this estimator's settings and the policy's own critic."""
        own: dict[str, Any] = {"critic": critic_of(policy), "baseline": self.baseline}
        near: dict[str, Any] = {"kl": self.kl, "kl_coefficient": self.kl_coefficient}
        return expected_gradient(policy, task, steps, self.gae_lambda, **own, **near)


def shifted(buffer: RolloutBuffer) -> None:
    """Give each step the weight of the step after it: what it earned itself is lost."""
    for weights in (buffer.returns, buffer.advantages):
        weights[:-1] = weights[1:]
        weights[-1] = 0.0


def action_dependent(buffer: RolloutBuffer) -> None:
    """Subtract a baseline that knows the action: its number."""
    for weights in (buffer.returns, buffer.advantages):
        weights -= buffer.actions[:, :, 0]


class _Spoiling(BaseCallback):
    def __init__(self, spoil: Spoil) -> None:
        super().__init__()
        self.spoil = spoil

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.spoil(self.model.rollout_buffer)  # type: ignore[attr-defined]


def estimates(agent: Any, repeats: int, episodes: float, spoil: Spoil | None = None) -> Tensor:
    """Return independent estimates of the gradient, `(repeats, parameters)` float64, all at the agent's parameters.

    Args:
        agent: as `Estimator.build` makes it; its parameters are restored after each.
        repeats: how many.
        episodes: how many are expected to begin in a row; of no use where rollouts are groups of whole completions.
        spoil: what makes the estimator wrong.
    """
    policy, found, grouped = agent.policy, [], hasattr(agent, "group_size")  # a mean over whole completions already
    kept = {name: tensor.clone() for name, tensor in policy.state_dict().items()}

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        assert isinstance(optimizer, FlatAdam)
        optimizer.gather()
        assert optimizer.flat.grad is not None
        found.append(-optimizer.flat.grad.double() * (1.0 if grouped else agent.n_steps / episodes))

    hook = policy.optimizer.register_step_pre_hook(note)
    try:
        for _ in range(repeats):
            total = 1 if grouped else agent.n_steps * agent.n_envs  # one rollout
            agent.learn(total, callback=None if spoil is None else _Spoiling(spoil))
            policy.load_state_dict(kept)
    finally:
        hook.remove()
    return torch.stack(found)


def z_limit(comparisons: int, repeats: int, level: float = 0.01) -> float:
    """Return what |z| exceeds with probability `level` in any of some comparisons, were all as expected.

    Each is a mean over a standard error of `repeats` estimates: Student's distribution (its quantile by Abramowitz &
    Stegun, 1964, equation 26.7.5), and Bonferroni's bound for several.
    """
    z, degrees = NormalDist().inv_cdf(1 - level / (2 * comparisons)), repeats - 1
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


@dataclass(frozen=True)
class Verdict:
    """How estimates compare with the exact gradient and with what is expected of them."""

    bias: float  # of the mean along the exact gradient, in its norms
    error: float  # the standard error of that
    expected: float  # the bias that is expected
    z: float  # the largest difference from what is expected over some directions, in standard errors
    deviation: float  # the root of the variance's trace, in norms of the exact gradient
    cosine: float  # the mean cosine with the exact gradient


DIRECTIONS = 4  # along which estimates are compared with what is expected: the exact gradient, and others of chance


def judge(found: Tensor, exact: Tensor, expected: Tensor, seed: int = 0) -> Verdict:
    """Compare estimates `(repeats, parameters)` with grad J and with what is expected of them, `(parameters,)` each."""
    norm, n = exact.norm(), len(found)
    others = torch.randn(DIRECTIONS - 1, len(exact), generator=torch.Generator().manual_seed(seed), dtype=exact.dtype)
    directions = torch.cat([exact[None] / norm, others / others.norm(dim=1, keepdim=True)])
    along = (found - expected) @ directions.T  # (repeats, DIRECTIONS)
    errors = along.std(dim=0) / n**0.5
    z = along.mean(dim=0).abs() / errors
    return Verdict(
        bias=float(found.mean(dim=0) @ exact / norm**2 - 1),
        error=float(errors[0] / norm),
        expected=float(expected @ exact / norm**2 - 1),
        z=float(z.max()),
        deviation=float(found.var(dim=0).sum().sqrt() / norm),
        cosine=float(torch.cosine_similarity(found, exact[None], dim=1).mean()),
    )
