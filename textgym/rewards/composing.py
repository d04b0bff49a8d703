"""Rewards made of rewards: weighted sums of named parts, each clipped where it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgym.arrays import Array
from textgym.episodes import Episodes
from textgym.errors import InvalidReward, InvalidSetting, is_payable
from textgym.task import Reward


@dataclass(frozen=True)
class Part:
    """One part of a sum.

    Args:
        reward: what it is.
        weight: what it is multiplied by; negative for a penalty.
        clip: the least and the most that it counts as, before the weight; None for all. 0.0, which most parts pay until
            the end, must be within.
    """

    reward: Reward
    weight: float = 1.0
    clip: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not callable(self.reward):
            raise InvalidSetting(f"{self.reward!r} is no reward. Give a function of Episodes.")
        if not is_payable(self.weight):
            raise InvalidSetting(f"weight={self.weight!r} is no finite number.")
        object.__setattr__(self, "clip", checked_clip(self.clip))


@dataclass(frozen=True)
class WeightedSum:
    """The sum of named parts' weighted values, clipped as a whole where that is wanted.

    Where one part's score could not be had, the sum's could not. `metrics` are the parts as they are, unweighted and
    unclipped, for a task's `metrics`.

    Args:
        parts: by name.
        clip: the least and the most that a step pays; None for all.

    Example:
        >>> from textgym.rewards import exact_match, Length
        >>> reward = WeightedSum({"right": Part(exact_match), "long": Part(Length(most=8), weight=-0.1)})
        >>> sorted(reward.metrics)
        ['long', 'right']
    """

    parts: Mapping[str, Part]
    clip: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.parts, Mapping) or not self.parts:
            raise InvalidSetting(f"parts={self.parts!r} is no sum. Give at least one part: {{'name': Part(reward)}}.")
        for name, part in self.parts.items():
            if not isinstance(name, str) or not name or not isinstance(part, Part):
                raise InvalidSetting(f"{name!r}: {part!r} is no named part. Give {{'name': Part(reward, weight)}}.")
        object.__setattr__(self, "clip", checked_clip(self.clip))

    def __call__(self, episodes: Episodes) -> Array:
        """Return `(n,)` float64, masked where a part's score could not be had."""
        total, lacking = np.zeros(len(episodes)), np.zeros(len(episodes), np.bool_)
        for name, part in self.parts.items():
            given = np.ma.asanyarray(part.reward(episodes))
            if given.shape != total.shape or given.dtype.kind not in "biuf":
                raise InvalidReward(
                    f"part {name!r} gave {given.dtype} of shape {given.shape} for {len(total)} rows; it must give one "
                    f"number a row, shape {total.shape}."
                )
            lacking |= np.ma.getmaskarray(given)
            values = given.data if part.clip is None else np.clip(given.data, *part.clip)
            total = total + part.weight * values
        if self.clip is not None:
            total = np.clip(total, *self.clip)
        # NaN stays under the mask: who overlooks the mask meets no number
        return np.ma.MaskedArray(np.where(lacking, np.nan, total), lacking) if lacking.any() else total

    @property
    def metrics(self) -> dict[str, Reward]:
        """What each part pays with the last token, by its name, unweighted and unclipped."""
        return {name: part.reward for name, part in self.parts.items()}

    @property
    def fingerprints(self) -> tuple[dict[str, str | None], ...]:
        """Which learned weights score, as `ModelReward` says it."""
        return tuple(one for part in self.parts.values() for one in getattr(part.reward, "fingerprints", ()))

    @property
    def counts(self) -> dict[str, int]:
        """How often what happened to the parts' scores, as `Scored` counts it, added up."""
        total: Counter[str] = Counter()
        for part in self.parts.values():
            total.update(getattr(part.reward, "counts", {}))
        return dict(total)


def checked_clip(clip: Any) -> tuple[float, float] | None:
    """Return bounds, or raise `InvalidSetting` where they are none or leave out 0."""
    if clip is None:
        return None
    if not isinstance(clip, (tuple, list)) or len(clip) != 2 or not all(map(is_payable, clip)):
        raise InvalidSetting(f"clip={clip!r} is no pair of bounds. Give (low, high), or None.")
    low, high = clip
    if not low <= 0 <= high or low == high:
        raise InvalidSetting(
            f"clip={clip!r} leaves out 0, which is what a step before the end pays, so that every step would be paid. "
            "Give low <= 0 <= high, low below high."
        )
    return float(low), float(high)
