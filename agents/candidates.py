"""Candidates: what a language model would have written at first, and so the only tokens worth trying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .sampling import Sampling
from .sharing import copied


class Candidates(nn.Module):
    """The likeliest tokens of a frozen copy of a policy, after each text, and the end token.

    As in NLPO (Ramamurthy et al., 2023, arXiv:2210.01241, section 4.1), but that the copy never changes: which tokens
    can be written after a text is the same all through learning. It learns nothing, and costs a pass of its own while
    writing; an update reads what was drawn from.

    Args:
        extractor: what reads, a `PrefixExtractor`.
        head: from features to logits; its weights may be the extractor's embeddings.
        most: how many tokens stay.
        end: the end token, which always does; None for none.
    """

    def __init__(self, extractor: nn.Module, head: nn.Module, most: int, end: int | None) -> None:
        super().__init__()
        self.likeliest, self.end = Sampling(top_k=most), end
        self.take(extractor, head)

    def take(self, extractor: nn.Module, head: nn.Module) -> None:
        """Copy what learns of what reads and of the head, as it is now; weights that they share stay shared."""
        self.extractor, self.head = copied((extractor, head), extractor, head)
        self.requires_grad_(False)

    @torch.no_grad()
    def within(self, read: Callable[[Any], Tensor], masks: Tensor | None) -> Tensor:
        """Return the candidates among the actions that masks leave, `(N, size)` bool, at least one a row.

        Args:
            read: from an extractor to features `(N, d)`.
            masks: `(N, size)` bool; None for all actions.
        """
        logits: Tensor = self.head(read(self.extractor))
        stay = self.likeliest.candidates(logits, masks)
        assert stay is not None
        if self.end is not None:
            stay[:, self.end] = True if masks is None else masks[:, self.end]
        return stay
