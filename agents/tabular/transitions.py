"""Transitions: what an update rule learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Transitions:
    """One step of all rows."""

    states: Array  # (n,) rows of the table
    allowed: Array  # (n, size) bool, the actions worth taking there
    actions: Array  # (n,)
    rewards: Array  # (n,) float64
    after: Array  # (n,) rows of the table; of a truncated episode, its last state
    masks: Array  # (n, size) bool, the actions worth taking after
    terminated: Array  # (n,) bool
    dones: Array  # (n,) bool: terminated or truncated
    unscored: Array | None = None  # (n,) bool, whose episode ended without a score; None for nobody's

    @property
    def counted(self) -> Array:
        """`(n,)` bool: whose rewards are known."""
        return np.ones(len(self.states), np.bool_) if self.unscored is None else ~self.unscored


def followed_by(observations: Array, masks: Array, dones: Array, infos: Any) -> tuple[Array, Array, Array]:
    """Return what comes next, with a truncated episode's last observation, its masks, and who has terminated.

    Args:
        observations: `(n, width)`, of the next step; where an episode ended, of the next one's first.
        masks: `(n, size)` bool, likewise.
        dones: `(n,)` bool.
        infos: one a row, as SB3 has them.
    """
    cut = [row for row in np.flatnonzero(dones) if infos[row].get("TimeLimit.truncated")]
    if not cut:
        return observations, masks, dones
    after, masks, terminated = observations.copy(), masks.copy(), dones.copy()
    after[cut] = [infos[row]["terminal_observation"] for row in cut]
    masks[cut], terminated[cut] = True, False
    return after, masks, terminated
