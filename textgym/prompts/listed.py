"""One of a given list of prompts, each equally likely."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Prompt
from textgym.errors import InvalidSetting

MOST_LISTED = 1_000_000  # prompts; each takes some 300 bytes and a microsecond or two


@dataclass(frozen=True, eq=False)
class ListedPrompts:
    """Draws uniformly from a list; a list of one needs no draw."""

    prompts: tuple[Prompt, ...]

    @property
    def max_length(self) -> int:
        """The most tokens that a prompt has."""
        return max(len(prompt.tokens) for prompt in self.prompts)

    @property
    def max_target(self) -> int:
        """The most tokens that a target has."""
        return max(len(prompt.target) for prompt in self.prompts)

    @property
    def constant(self) -> Prompt | None:
        """The one prompt there is; None where there are several."""
        return self.prompts[0] if len(self.prompts) == 1 else None

    def __call__(self, rng: np.random.Generator) -> Prompt:
        """Return one of the prompts."""
        if self.constant is not None:
            return self.constant
        return self.prompts[int(rng.random() * len(self.prompts))]  # a fifth of the cost of rng.integers

    def support(self) -> tuple[tuple[Prompt, ...], FloatArray]:
        """Return all prompts and their probabilities, `(k,)`."""
        return self.prompts, np.full(len(self.prompts), 1 / len(self.prompts))


def require_listable(many: int) -> None:
    """Raise `InvalidSetting` where a generator's `support()` would list more than a million prompts."""
    if many > MOST_LISTED:
        said = f"{many:,}" if many < 10**18 else f"about 10**{int(math.log10(many))}"
        raise InvalidSetting(
            f"{said} prompts are more than the {MOST_LISTED:,} that are listed. Give some as prompts=[...]; what "
            "is computed is then theirs."
        )
