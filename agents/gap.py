"""The gap between a proxy reward, which is paid, and the gold reward that it stands for: when it opens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from textgym.errors import InvalidSetting, is_finite, require_positive

ROUNDING = 1e-9  # of a mean, relative: what is smaller is no change


class Mean(NamedTuple):
    """The mean of some episodes, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Return the mean of at least two numbers; its standard error is s / sqrt(n), s the sample's deviation."""
        found = np.asarray(values, np.float64)
        return cls(float(found.mean()), float(found.std(ddof=1)) / math.sqrt(len(found)))

    def exceeds(self, other: Mean, z: float) -> bool:
        """Return whether it is larger, by more than z standard errors of the difference."""
        noise = z * math.hypot(self.error, other.error)
        return self.mean - other.mean > max(noise, ROUNDING * max(abs(self.mean), abs(other.mean)))


class Block(NamedTuple):
    """Episodes that ended one after another.

    Args:
        step: of the environment, when the last of them ended.
        proxy: what was paid.
        gold: what was wanted.
        others: what else is told of them: `length`, `repetition`, `entropy`.
    """

    step: int
    proxy: Mean
    gold: Mean
    others: Mapping[str, float | None] = {}


@dataclass
class Gap:
    """Says when optimising a proxy has begun to cost gold, of blocks of episodes in their order.

    With p_b and g_b for a block's mean proxy and gold, s for their standard errors, and B for the block with the
    highest mean gold so far, block b shows a gap where both

        g_B - g_b > z sqrt(s_g,B^2 + s_g,b^2)      gold has fallen below its best,
        p_b - p_B > z sqrt(s_p,B^2 + s_p,b^2)      while the proxy has risen,

    each beyond noise (Welch's statistic of two means). The gap has opened at the first of `confirm` such blocks on end.
    It is over-optimisation as Gao, Schulman & Hilton (2023, "Scaling laws for reward model overoptimization", figure 1)
    show it: the proxy goes on rising after the gold reward's peak. Where both fall, learning is broken, and that is not
    said here.

    B is the best of many noisy blocks, and so too high by chance: that is why z is 4 and not 2. Of 100 runs of 200
    blocks in which gold does not change while the proxy rises, about one alarms (tested). A fall that is smaller than
    z sqrt(2 / n) deviations of gold, in blocks of n, is not seen: larger blocks see more, later.

    Args:
        z: standard errors of a difference.
        confirm: how many blocks on end must show it.
    """

    z: float = 4.0
    confirm: int = 2
    best: Block | None = None  # gold's peak
    newest: Block | None = None
    opened: Block | None = None  # the first of the blocks that showed it; it stays open
    _showing: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not is_finite(self.z) or self.z < 0:
            raise InvalidSetting(f"z={self.z!r} is no number of standard errors. Give one of at least 0; 4 serves.")
        require_positive(confirm=self.confirm)

    def add(self, block: Block) -> bool:
        """Take in the next block; return whether the gap has opened with it."""
        self.newest = block
        if self.best is None or block.gold.mean > self.best.gold.mean:
            self.best, self._showing = block, []
            return False
        best = self.best
        shows = best.gold.exceeds(block.gold, self.z) and block.proxy.exceeds(best.proxy, self.z)
        self._showing = [*self._showing, block] if shows else []
        if self.opened is not None or len(self._showing) < self.confirm:
            return False
        self.opened = self._showing[0]
        return True
