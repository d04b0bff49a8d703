"""Refusing what is no action, before anything changes. NumPy would let -1 through as the last token."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction

from textgym.arrays import Array, IntArray


def check_action(action: Any, size: int) -> int:
    """Return one action as an int.

    Args:
        action: an integer, NumPy's included, or an integer array of shape `()`.
        size: the number of actions.

    Raises:
        InvalidAction: anything else, or out of `[0, size)`.
    """
    whole = isinstance(action, (int, np.integer)) and not isinstance(action, bool)
    if not whole and isinstance(action, np.ndarray):
        whole = action.shape == () and action.dtype.kind in "iu"
    if not whole:
        raise InvalidAction(
            f"action {action!r} of type {type(action).__name__} is no token id. Give one integer from 0 to {size - 1}."
        )
    if not 0 <= action < size:
        raise InvalidAction(f"action {action!r} is out of range: there are {size} actions, 0 to {size - 1}.")
    return int(action)


@functools.cache
def _limit(size: int) -> Array:
    """Return a size as an array: comparing with a Python integer costs three times as much."""
    return np.array(size, np.uint64)


def check_actions(actions: Any, n: int, size: int) -> IntArray:
    """Return one action a row, `(n,)` int64.

    Args:
        actions: integers in anything that NumPy makes an array of.
        n: rows.
        size: the number of actions.

    Raises:
        InvalidAction: another shape, a type that is no integer, or a value out of `[0, size)`; the row is named.
    """
    try:
        given = np.asarray(actions)
    except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: a tensor that needs a gradient
        raise InvalidAction(f"actions {actions!r} are no array: {error}. Give {n} integers.") from error
    if given.shape != (n,):
        raise InvalidAction(f"actions of shape {given.shape} for {n} rows. Give one integer a row, shape ({n},).")
    if given.dtype.kind not in "iu":
        raise InvalidAction(
            f"actions of dtype {given.dtype}, {given[:4]!r}, are no token ids. Give integers from 0 to {size - 1}."
        )
    # uint64 beyond int64 wraps to a negative number, which the check refuses
    array = given if given.dtype == np.int64 else given.astype(np.int64)
    if np.count_nonzero(array.view(np.uint64) >= _limit(size)):  # seen unsigned, negative numbers are large
        row = int(np.flatnonzero((array < 0) | (array >= size))[0])
        raise InvalidAction(
            f"action {int(given[row])} of row {row} is out of range: there are {size} actions, 0 to {size - 1}."
        )
    return array
