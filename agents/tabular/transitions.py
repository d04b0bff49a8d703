"""Transitions: what an update rule learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
