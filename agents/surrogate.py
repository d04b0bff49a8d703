"""The clipped surrogate loss of PPO and of groups, its gradient in closed form."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Surrogate(NamedTuple):
    """What a minibatch's loss is made of: constants, `(N,)` each, and what parts of it weigh."""

    old_log_prob: Tensor
    advantages: Tensor  # A
    clip_range: float  # e
    weight: Tensor | float  # w of each transition's surrogate
    ent_coef: float
    vf_coef: float = 0.0
    returns: Tensor | None = None  # what values should be; None for no value loss

    def __call__(self, log_prob: Tensor, entropy: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return a minibatch's loss and what is recorded of it.

        With rho_t = pi(a_t) / pi_old(a_t), the loss is (Schulman et al., 2017, equations 7 and 9)

            - sum_t w_t min(rho_t A_t, clip(rho_t, 1 - e, 1 + e) A_t) - ent_coef mean(H) + vf_coef mean((V - R)^2).

        Its gradients are known: by log pi(a_t), it is -w_t rho_t A_t where the least is not the clipped one. Some
        thirty small operations are what autograd would make of it, and with few rows they are what it costs.

        Args:
            log_prob: `(N,)` of the actions that were taken.
            entropy: `(N,)`.
            values: `(N,)`.

        Returns:
            The loss, `()`, and without gradients, `(5,)`: the policy's loss, the value loss, the negative mean entropy,
            the divergence from the policy before the update and the share of ratios that were clipped.
        """
        found: tuple[Tensor, Tensor] = _Clipped.apply(log_prob, entropy, values, self)  # type: ignore[no-untyped-call]
        return found


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_prob: Tensor, entropy: Tensor, values: Tensor, of: Surrogate) -> tuple[Tensor, Tensor]:
        log_ratio = log_prob - of.old_log_prob
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - of.clip_range, 1 + of.clip_range)
        gain = ratio * of.advantages
        least = torch.min(gain, clipped * of.advantages)
        slope = (gain * (gain <= least)).mul_(-of.weight)  # by log pi
        error = torch.zeros_like(values) if of.returns is None else values - of.returns
        policy = (least * -of.weight).sum()
        # the divergence is k3 of Schulman (2020), "Approximating KL divergence"
        terms = [error * error, -entropy, ratio - 1 - log_ratio, (clipped != ratio).to(ratio.dtype)]
        means = torch.stack(terms).mean(dim=1)
        loss = policy.add(means[0], alpha=of.vf_coef).add_(means[1], alpha=of.ent_coef)
        ctx.save_for_backward(slope, error)
        ctx.of = of
        details = torch.cat([policy[None], means])
        ctx.mark_non_differentiable(details)
        return loss, details

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slope, error = ctx.saved_tensors
        of, gradient, many = ctx.of, gradients[0], len(slope)
        by_entropy = (gradient * (-of.ent_coef / many)).expand(many) if of.ent_coef else None
        by_value = None if of.returns is None else error * (gradient * (2 * of.vf_coef / many))
        return slope * gradient, by_entropy, by_value, None
