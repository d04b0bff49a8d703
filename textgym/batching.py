"""What every batch of rows has: seeds, auto-reset modes, masks of rows, and infos as Gymnasium lays them out."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from textgym.arrays import BoolArray
from textgym.errors import InvalidSetting


def masked(key: str, values: Any, mask: BoolArray) -> dict[str, Any]:
    """Return an entry of a batched info, with the mask of the rows that have it."""
    return {key: values, f"_{key}": mask.copy()}


def autoreset_mode_of(mode: AutoresetMode | str) -> AutoresetMode:
    """Return an auto-reset mode, or raise `InvalidSetting` for one that does not exist."""
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        names = [m.value for m in AutoresetMode]
        raise InvalidSetting(f"autoreset_mode={mode!r} does not exist. Give one of {names}.") from error


def seeds_of(seed: int | Sequence[int | None] | None, n: int) -> list[int | None]:
    """Return one seed a row: `seed + i`, the i-th of a list, or None."""
    if seed is None or isinstance(seed, (int, np.integer)):
        return [None if seed is None else int(seed) + row for row in range(n)]
    if not hasattr(seed, "__len__"):
        raise TypeError(f"seed={seed!r} is no integer, list of integers, or None.")
    if len(seed) != n:
        raise ValueError(f"{len(seed)} seeds for {n} rows. Give one number, or one a row.")
    return [None if row is None else operator.index(row) for row in seed]


def reset_mask_of(options: dict[str, Any] | None, n: int) -> BoolArray | None:
    """Return the rows that a reset is asked for, `(n,)`; None for all."""
    if options is None or "reset_mask" not in options:
        return None
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask']={mask!r} is no array of bool. Give np.array([...], dtype=bool).")
    if mask.shape != (n,) or not mask.any():
        raise ValueError(f"options['reset_mask'] has shape {mask.shape}, {mask}; give ({n},), at least one True.")
    return mask
