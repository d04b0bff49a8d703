"""Scores of several reward models as one: their mean, their worst, or their mean less what they disagree by.

Coste, Anwar, Kirk & Krueger (2024), "Reward model ensembles help mitigate overoptimization", section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from textgym.arrays import FloatArray
from textgym.errors import InvalidReward, InvalidSetting, Names, is_finite

PENALTY = 1.0  # Coste et al. find 0.1 to 1 to serve


def mean(scores: FloatArray) -> FloatArray:
    """Return 1/k sum_i r_i: mean optimisation.

    Args:
        scores: `(k, n)`, a row a member.

    Returns:
        `(n,)`.
    """
    averaged: FloatArray = _checked(scores).mean(axis=0)
    return averaged


def worst(scores: FloatArray) -> FloatArray:
    """Return min_i r_i: worst-case optimisation.

    Args:
        scores: `(k, n)`, a row a member.

    Returns:
        `(n,)`.
    """
    lowest: FloatArray = _checked(scores).min(axis=0)
    return lowest


def penalised(scores: FloatArray, penalty: float = PENALTY) -> FloatArray:
    """Return 1/k sum_i r_i - penalty * 1/k sum_i (r_i - mean)^2: uncertainty-weighted optimisation.

    Args:
        scores: `(k, n)`, a row a member.
        penalty: what a unit of the members' variance costs; at least 0.

    Returns:
        `(n,)`.
    """
    checked_penalty(penalty)
    known = _checked(scores)
    less: FloatArray = known.mean(axis=0) - penalty * known.var(axis=0)
    return less


def checked_penalty(penalty: float) -> None:
    """Raise `InvalidSetting` where it is no number of at least 0."""
    if not is_finite(penalty) or penalty < 0:
        raise InvalidSetting(f"penalty={penalty!r} is no number of at least 0.")


COMBINATIONS: Names[Any] = Names("combination", mean=mean, worst=worst, penalised=penalised)


def combine(scores: FloatArray, how: str = "mean", penalty: float = PENALTY) -> FloatArray:
    """Return the members' scores as one, `(n,)`.

    Args:
        scores: `(k, n)`, a row a member; members are comparable where each is normalised on the same texts.
        how: of COMBINATIONS.
        penalty: of `penalised`.

    Raises:
        UnknownName: there is no such combination.
        InvalidSetting: the scores are no such array.
        InvalidReward: one is not finite.
    """
    chosen = COMBINATIONS[how]
    found: FloatArray = chosen(scores, penalty) if chosen is penalised else chosen(scores)
    return found


def _checked(scores: Any) -> FloatArray:
    try:
        known = np.asarray(scores, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidSetting(f"the members' scores are no array of numbers: {error}.") from error
    if known.ndim != 2 or not len(known):
        raise InvalidSetting(
            f"the members' scores have shape {known.shape}; give (members, texts), one member at least."
        )
    if not np.isfinite(known).all():
        member, text = map(int, np.argwhere(~np.isfinite(known))[0])
        raise InvalidReward(f"member {member} gave text {text} the score {known[member, text]}; it must be finite.")
    return known
