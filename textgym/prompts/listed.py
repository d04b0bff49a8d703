"""One of a given list of prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from textgym.arrays import BoolArray, FloatArray
from textgym.episodes import Prompt
from textgym.errors import InvalidSetting, require_natural, require_share

MOST_LISTED = 1_000_000  # prompts; each takes some 300 bytes and a microsecond or two


@dataclass(frozen=True, eq=False)
class ListedPrompts:
    """Draws from a list; a list of one needs no draw.

    Args:
        prompts: what is drawn from.
        probabilities: `(k,)`, of each; None for all alike.

    Raises:
        InvalidSetting: no prompts, or probabilities that are none.
    """

    prompts: tuple[Prompt, ...]
    probabilities: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        given = self.probabilities
        if not self.prompts:
            raise InvalidSetting("a list of prompts needs at least one; got none.")
        if given is None:
            return
        for one in given:
            require_share(probability=one)
        if len(given) != len(self.prompts) or abs(sum(given) - 1) > 1e-9:
            raise InvalidSetting(
                f"{len(given)} probabilities that sum to {sum(given):g} for {len(self.prompts)} prompts. Give one for "
                "each, none below 0, that sum to 1."
            )

    @cached_property
    def max_length(self) -> int:
        """The most tokens that a prompt has."""
        return max(len(prompt.tokens) for prompt in self.prompts)

    @cached_property
    def max_target(self) -> int:
        """The most tokens that a target has."""
        return max(len(prompt.target) for prompt in self.prompts)

    @property
    def constant(self) -> Prompt | None:
        """The one prompt there is; None where there are several."""
        return self.prompts[0] if len(self.prompts) == 1 else None

    @cached_property
    def _upto(self) -> FloatArray | None:
        """Cumulative probabilities, `(k,)`; None for all alike."""
        return None if self.probabilities is None else np.cumsum(self.probabilities)

    def __call__(self, rng: np.random.Generator) -> Prompt:
        """Return one of the prompts."""
        if self.constant is not None:
            return self.constant
        drawn = rng.random()  # a fifth of the cost of rng.integers
        if self._upto is None:
            return self.prompts[int(drawn * len(self.prompts))]
        return self.prompts[min(int(self._upto.searchsorted(drawn, side="right")), len(self.prompts) - 1)]

    def support(self) -> tuple[tuple[Prompt, ...], FloatArray]:
        """Return all prompts and their probabilities, `(k,)`."""
        alike = np.full(len(self.prompts), 1 / len(self.prompts))
        return self.prompts, alike if self.probabilities is None else np.array(self.probabilities)


def split(
    prompts: Sequence[Prompt], probabilities: FloatArray, share: float = 0.5, seed: int = 0
) -> tuple[ListedPrompts, ListedPrompts]:
    """Split prompts at random into those to learn on and those to be held out, for tests of generalisation.

    Prompts of each length are split apart, so that both parts hold short and long ones alike.

    Args:
        prompts: all of a generator's, as its `support()` gives them.
        probabilities: of each, `(k,)`; in both parts they keep their proportions.
        share: of the prompts of each length that is held out, rounded.
        seed: of the split.

    Raises:
        InvalidSetting: a part would have no prompt, or none of any probability; a share that is no number from 0 to 1,
            a seed that is no integer of at least 0.
    """
    require_share(share=share)
    require_natural(seed=seed)
    rng = np.random.default_rng(seed)
    lengths = np.array([len(prompt.tokens) for prompt in prompts])
    held = np.zeros(len(prompts), np.bool_)
    for length in np.unique(lengths):
        of_it = rng.permutation(np.flatnonzero(lengths == length))
        held[of_it[: round(share * len(of_it))]] = True
    if held.all() or not held.any():
        raise InvalidSetting(f"share={share!r} of {len(prompts)} prompts leaves nothing to learn on or nothing to ask.")

    return _part(prompts, probabilities, ~held), _part(prompts, probabilities, held)


def _part(prompts: Sequence[Prompt], probabilities: FloatArray, which: BoolArray) -> ListedPrompts:
    chosen = np.flatnonzero(which).tolist()
    kept = probabilities[chosen]
    if not kept.sum() > 0:
        raise InvalidSetting(f"all {len(chosen)} prompts of a part have probability 0. Give another share or seed.")
    return ListedPrompts(tuple(prompts[i] for i in chosen), tuple((kept / kept.sum()).tolist()))


def require_listable(many: int) -> None:
    """Raise `InvalidSetting` where a generator's `support()` would list more than a million prompts."""
    if many > MOST_LISTED:
        said = f"{many:,}" if many < 10**18 else f"about 10**{int(math.log10(many))}"
        raise InvalidSetting(
            f"{said} prompts are more than the {MOST_LISTED:,} that are listed. Give some as prompts=[...]; what "
            "is computed is then theirs."
        )
