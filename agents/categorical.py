"""Distributions over tokens: log-probabilities, draws and entropies from one log-softmax, within masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LOGITS = 2**25  # numbers of distributions that are looked at together: 128 MiB for each tensor of them


def at_once(most: int, size: int) -> int:
    """Return how many distributions over `size` actions are looked at together: at most so many, at least one."""
    return max(1, min(most, LOGITS // size))


def log_probabilities(logits: Tensor, masks: Tensor | None = None) -> Tensor:
    """Return the log-probabilities of all actions, `(N, size)`.

    Args:
        logits: `(N, size)`.
        masks: `(N, size)` bool, True where an action may be taken, at least one a row; None for all. What is masked
            has probability 0 and no gradient.
    """
    return torch.log_softmax(masked(logits, masks), dim=-1)


def masked(values: Tensor, masks: Tensor | None) -> Tensor:
    """Return values `(N, size)`, the least finite number where a mask is False, so that 0 times it is 0."""
    return values if masks is None else values.masked_fill(~masks, torch.finfo(values.dtype).min)


def draw(log_probabilities: Tensor, deterministic: bool = False) -> Tensor:
    """Return one action a row, `(N,)`: the likeliest, or one drawn with one random number by inverse transform."""
    if deterministic:
        return log_probabilities.argmax(dim=-1)
    # in double precision: a GPU adds in parallel, and where an action is impossible single precision might still rise
    total = log_probabilities.exp().cumsum(dim=-1, dtype=torch.float64)  # (N, size), rising to 1
    below = total[:, -1:] * (1 - 2**-52)  # however a product with it is rounded, the last possible action lies above
    return torch.searchsorted(total, torch.rand_like(below) * below, right=True)[:, 0]


def entropy(log_probabilities: Tensor) -> Tensor:
    """Return the entropy of each row in nats, `(N,)`."""
    finite = log_probabilities.clamp(min=torch.finfo(log_probabilities.dtype).min)  # 0 times it is 0
    return -(log_probabilities.exp() * finite).sum(dim=-1)


class _Chosen(torch.autograd.Function):
    """The log-probabilities of chosen actions, and entropies, from logits; one tensor of all actions is kept.

    With log p of all actions and the entropy H = -sum_a p_a log p_a, the gradients by the logit of a are
    1[a = chosen] - p_a and -p_a (log p_a + H).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        logs = torch.log_softmax(logits, dim=1)
        spread = logs.exp().mul_(logs).sum(dim=1).neg_()
        ctx.save_for_backward(logs, chosen, spread)
        return logs.gather(1, chosen[:, None])[:, 0], spread

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logs, chosen, spread = ctx.saved_tensors
        of_chosen, of_spread = (gradient[:, None] for gradient in gradients)  # (N, 1)
        found = p = logs.exp()
        if of_spread.any():  # else nobody asked for entropies
            found = p.mul(logs).mul_(-of_spread)  # 0 first, times what is least
            found.addcmul_(p, of_chosen + of_spread * spread[:, None], value=-1)
        else:
            found.mul_(-of_chosen)
        return found.scatter_add_(1, chosen[:, None], of_chosen), None


def chosen_and_entropy(logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of chosen actions and the entropies in nats, `(N,)` each.

    It is what `log_probabilities` and `entropy` say, with fewer numbers of all actions there at once: large
    vocabularies are what it is for.

    Args:
        logits: `(N, size)`, the least finite number where an action cannot be taken.
        chosen: `(N,)` int64, actions that can.
    """
    found: tuple[Tensor, Tensor] = _Chosen.apply(logits, chosen)  # type: ignore[no-untyped-call]
    return found


def divergence(log_probabilities: Tensor, reference: Tensor) -> Tensor:
    """Return KL(p || q) of each row in nats, `(N,)`, of log-probabilities `(N, size)` each; 0 times anything is 0."""
    p = log_probabilities.exp()
    ratio = (log_probabilities - reference).masked_fill(p == 0, 0.0)
    return (p * ratio).sum(dim=-1)


def packed(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return masks `(..., size)` as bits, `(..., ceil(size / 8))`."""
    return np.packbits(masks, axis=-1)


def unpacked(bits: npt.NDArray[np.uint8], size: int, device: torch.device) -> Tensor:
    """Return masks `(..., size)` from what `packed` returned."""
    return torch.as_tensor(np.unpackbits(bits, axis=-1, count=size).view(np.bool_), device=device)
