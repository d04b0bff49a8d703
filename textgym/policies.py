"""What a policy is to the exact methods: probabilities of actions, within a task's mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidSetting

Policy: TypeAlias = Callable[..., FloatArray]
"""Observations `(n, width)` int32 in, probabilities of the actions `(n, size)` out.

One that has to know the mask says so by an attribute `takes_masks = True`; it is given the mask, `(n, size)` bool, too.
"""


def within(policy: Policy | None, observations: IntArray, allowed: BoolArray) -> FloatArray:
    """Return a policy's probabilities, `(n, size)` float64, scaled to 1 within the mask.

    Args:
        policy: None for uniform writing.
        observations: `(n, width)`.
        allowed: `(n, size)`, what the mask leaves.

    Raises:
        InvalidSetting: the policy gave no probabilities; it does nothing that is allowed.
    """
    if policy is None:
        given = np.ones(allowed.shape)
    else:
        given = _answer(policy, observations, allowed)
        if given.shape != allowed.shape or not (given >= 0).all() or not np.isclose(given.sum(axis=1), 1).all():
            raise InvalidSetting(
                f"the policy gave {given.dtype} of shape {given.shape} for {len(observations)} observations; it must "
                f"give probabilities, {allowed.shape}, none below 0, that sum to 1 in each row."
            )
    kept = np.where(allowed, given, 0.0)
    total = kept.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        row = int(np.flatnonzero(total[:, 0] <= 0)[0])
        raise InvalidSetting(
            f"the policy does nothing that the mask allows where it sees {observations[row].tolist()}."
        )
    scaled: FloatArray = kept / total
    return scaled


def _answer(policy: Policy, observations: IntArray, allowed: BoolArray) -> FloatArray:
    """Return what a policy says, as float64 of any shape."""
    if not callable(policy):
        raise InvalidSetting(
            f"{policy!r} is no policy. Give a function from observations, (n, width), to probabilities, (n, size)."
        )
    masks = (allowed.copy(),) if getattr(policy, "takes_masks", False) else ()
    said = policy(observations.copy(), *masks)
    try:
        return np.asarray(said).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError, RuntimeError) as error:  # objects, ragged rows, a tensor that needs a gradient
        raise InvalidSetting(f"the policy gave {type(said).__name__}, no array of probabilities: {error}") from error


def entropy(p: FloatArray) -> FloatArray:
    """Return the entropy of each row in nats, `(n,)`."""
    summed: FloatArray = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    return summed


def divergence(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return KL(p || q) of each row in nats, `(n,)`; infinite where p does what q never does."""
    with np.errstate(divide="ignore"):
        apart = np.log(np.where(p > 0, p, 1.0)) - np.log(np.where(p > 0, q, 1.0))  # p / q may be beyond every float
    summed: FloatArray = (p * apart).sum(axis=1)
    return summed
