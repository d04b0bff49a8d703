"""Sampling: temperature, top-k and top-p as part of a policy, of what it draws and of its log-probabilities alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from textgym.errors import InvalidSetting, is_finite, require_positive

from .categorical import log_probabilities, masked


@dataclass(frozen=True)
class Sampling:
    """How logits become a distribution: divided by the temperature, then cut to the likeliest tokens.

    The cut is made within the masks, at first to the `top_k` likeliest, then to the fewest likeliest that have at least
    the share `top_p` of what is left (Holtzman et al., 2020). What is cut away has probability 0, and what stays is
    normalised again. Which tokens stay is no matter of gradients.

    Args:
        temperature: above 0; 1 changes nothing.
        top_k: how many tokens stay, equally likely ones at the edge all of them; None for all.
        top_p: above 0, at most 1; 1 for all.

    Raises:
        InvalidSetting, InvalidSize: a value out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not is_finite(self.temperature) or self.temperature <= 0:
            raise InvalidSetting(
                f"temperature={self.temperature!r} is no number above 0. For the likeliest token, predict with "
                "deterministic=True."
            )
        if self.top_k is not None:
            require_positive(top_k=self.top_k)
        if not is_finite(self.top_p) or not 0 < self.top_p <= 1:
            raise InvalidSetting(
                f"top_p={self.top_p!r} is no share above 0. Give a number in (0, 1]; 1 for all tokens."
            )

    @property
    def cuts(self) -> bool:
        """Whether tokens that the masks leave may be cut away."""
        return self.top_k is not None or self.top_p < 1

    def log_probabilities(self, logits: Tensor, masks: Tensor | None = None) -> Tensor:
        """Return the log-probabilities of all actions `(N, size)` at the temperature, within masks and no cut."""
        return log_probabilities(self.tempered(logits), masks)

    def tempered(self, logits: Tensor) -> Tensor:
        """Return logits at the temperature."""
        return logits if self.temperature == 1 else logits / self.temperature

    @torch.no_grad()
    def candidates(self, logits: Tensor, masks: Tensor | None = None, taken: Tensor | None = None) -> Tensor | None:
        """Return the actions that stay, `(N, size)` bool, within the masks; the masks themselves where nothing is cut.

        Args:
            logits: `(N, size)`.
            masks: `(N, size)` bool; None for all.
            taken: `(N,)` actions that stay whatever their probability.
        """
        if not self.cuts:
            return masks
        log_probs = self.log_probabilities(logits, masks)
        stay = torch.ones_like(log_probs, dtype=torch.bool) if masks is None else masks.clone()
        if self.top_k is not None and self.top_k < log_probs.shape[1]:
            stay &= log_probs >= log_probs.topk(self.top_k, dim=1).values[:, -1:]
        if self.top_p < 1:
            left = log_probabilities(masked(log_probs, stay)).exp()
            falling, order = left.sort(dim=1, descending=True)
            kept = falling.cumsum(dim=1) - falling < self.top_p  # what comes before has not reached the share
            stay &= torch.zeros_like(stay).scatter(1, order, kept)
        return stay if taken is None else stay.scatter(1, taken[:, None], True)
