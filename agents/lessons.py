"""Lessons: texts as a student learns from them, in minibatches, each with what the teacher says of its states."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .categorical import LOGITS, divergence
from .prefixes import Prefixes
from .teachers import Teacher
from .text_data import Corpus


def distillation_loss(policy: Any, prefixes: Prefixes, teacher: Tensor) -> Tensor:
    """Return the mean of KL(teacher || policy) over states, in nats; gradients flow through the policy.

    Args:
        policy: a `PrefixPolicy`.
        prefixes: N states.
        teacher: log-probabilities of all actions there, `(N, size)`.
    """
    return divergence(teacher, policy.read(prefixes)[1]).mean()


class Lessons:
    """Texts in minibatches, with what the teacher says of them: computed once where it fits into memory.

    Args:
        teacher: who.
        corpus: the texts.
        tokens: of a minibatch, about.
        device: of the student.
    """

    def __init__(self, teacher: Teacher, corpus: Corpus, tokens: int, device: torch.device) -> None:
        self.teacher, self.device = teacher, device
        ends = corpus.length.cumsum()
        parts = min(max(1, round(ends[-1] / tokens)), len(corpus))
        cuts = np.searchsorted(ends, np.arange(1, parts) * ends[-1] / parts)
        self.parts = [corpus.take(rows) for rows in np.split(np.arange(len(corpus)), cuts) if len(rows)]
        self.keeps = corpus.count * corpus.task.size <= LOGITS
        self._kept: dict[int, Tensor] = {}

    def __call__(self, number: int) -> tuple[Prefixes, Tensor]:
        """Return a minibatch's states, and the teacher's log-probabilities there, `(N, size)`."""
        prefixes = self.parts[number].batch(self.device)[0]
        said = self._kept.get(number)
        said = self.teacher.every(prefixes) if said is None else said
        if self.keeps:
            self._kept[number] = said
        return prefixes, said
