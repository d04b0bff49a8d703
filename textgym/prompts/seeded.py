"""Another generator's prompts, each with a seed for what chance does after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Prompt
from textgym.prompts.listed import ListedPrompts
from textgym.prompts.strings import RandomStrings


@dataclass(frozen=True, eq=False)
class SeededPrompts:
    """Draws a prompt of another generator, then its `Prompt.seed`, any 64 bits equally likely."""

    prompts: ListedPrompts | RandomStrings

    @property
    def max_length(self) -> int:
        """The most tokens that a prompt has."""
        return self.prompts.max_length

    @property
    def max_target(self) -> int:
        """The most tokens that a target has."""
        return self.prompts.max_target

    def __call__(self, rng: np.random.Generator) -> Prompt:
        """Return a prompt with a seed."""
        return self.prompts(rng)._replace(seed=int(rng.integers(2**64, dtype=np.uint64)))

    def support(self) -> tuple[Sequence[Prompt], FloatArray]:
        """Return all prompts and their probabilities, `(k,)`; seeds are left to `Task.mean_reward`."""
        return self.prompts.support()
