"""What a reward model is worth on texts that it never learned from: figures, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from textgym.arrays import FloatArray
from textgym.errors import InvalidSetting, require_positive

from .preferences import Labelled, Preference

MOST = 2000  # texts whose labels are compared, each with each
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def pair_accuracy(apart: FloatArray) -> float | None:
    """Return the share of pairs ranked rightly, equal scores counting half; None of no pair.

    Args:
        apart: the better text's score less the worse one's, `(n,)`.
    """
    return float(((apart > 0) + 0.5 * (apart == 0)).mean()) if len(apart) else None


def calibration_error(probability: FloatArray, happened: FloatArray, bins: int = 10) -> float | None:
    """Return the expected calibration error: sum_b n_b / n |mean happened - mean probability|, in bins of equal width.

    Naeini, Cooper & Hauskrecht (2015); Guo et al. (2017), "On calibration of modern neural networks", equation 3. What
    is foretold is the likelier of the two outcomes, so that probabilities are from 0.5 to 1.

    Args:
        probability: that it happens, `(n,)`.
        happened: whether it did, `(n,)`, 0 or 1; or what share of it.
        bins: how many, between 0.5 and 1.

    Returns:
        From 0 to 1; None of nothing.
    """
    require_positive(bins=bins)
    if len(probability) != len(happened):
        raise InvalidSetting(f"{len(probability)} probabilities of {len(happened)} outcomes. Give one for each.")
    if not len(probability):
        return None
    likely = probability >= 0.5
    foretold, right = np.where(likely, probability, 1 - probability), np.where(likely, happened, 1 - happened)
    which = np.minimum(((foretold - 0.5) * 2 * bins).astype(int), bins - 1)  # (n,)
    gaps = np.abs(np.bincount(which, right - foretold, minlength=bins))
    return float(gaps.sum() / len(probability))


def correlation(one: FloatArray, other: FloatArray) -> float | None:
    """Return Pearson's correlation, from -1 to 1; None where a side does not vary."""
    if len(one) < 2 or one.std() < 1e-12 or other.std() < 1e-12:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def distribution(scores: FloatArray) -> dict[str, float]:
    """Return mean, standard deviation and quantiles of scores."""
    quantiles = {f"quantile_{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(scores, QUANTILES))}
    return {"mean": float(scores.mean()), "deviation": float(scores.std()), **quantiles}


def differences(records: Sequence[Preference] | Sequence[Labelled], scores: Sequence[FloatArray]) -> FloatArray:
    """Return, of every pair whose order is known, the better text's score less the worse one's.

    Of a ranking all pairs; of labelled texts, all pairs with two labels among the first 2,000 texts.

    Args:
        records: of one kind.
        scores: of each record's texts.
    """
    labels = np.array([record.label for record in records[:MOST] if isinstance(record, Labelled)])
    if len(labels):
        flat = np.concatenate(scores[:MOST])
        return np.concatenate([flat[i] - flat[labels < label] for i, label in enumerate(labels)])
    return np.concatenate([_above(one) for one in scores])


def _above(scores: FloatArray) -> FloatArray:
    better, worse = np.triu_indices(len(scores), 1)
    found: FloatArray = scores[better] - scores[worse]
    return found


def sigmoid(values: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(values / 2))


def figures(
    records: Sequence[Preference] | Sequence[Labelled],
    outputs: FloatArray,
    lengths: FloatArray,
    probabilistic: bool,
) -> dict[str, Any]:
    """Return what outputs are worth on held-out records.

    Args:
        records: of one kind.
        outputs: of their texts one after another, `(N,)`, not normalised: they are what probabilities are read of.
        lengths: of the texts in tokens, `(N,)`.
        probabilistic: whether the sigmoid of a pair's difference, or of a labelled text's output, is a probability.

    Returns:
        `pair_accuracy`, `pairs`, `calibration_error`, `length_correlation`; `label_accuracy` where labels are 0 and 1.
    """
    ends = np.cumsum([len(record.texts) for record in records])
    apart = differences(records, np.split(outputs, ends[:-1]))
    found: dict[str, Any] = {"pair_accuracy": pair_accuracy(apart), "pairs": len(apart)}
    labels = np.array([record.label for record in records if isinstance(record, Labelled)])
    calibrated = (outputs, labels) if len(labels) else (apart, np.ones(len(apart)))
    found["calibration_error"] = calibration_error(sigmoid(calibrated[0]), calibrated[1]) if probabilistic else None
    found["length_correlation"] = correlation(outputs, lengths)
    if len(labels) and probabilistic and {*labels.tolist()} <= {0.0, 1.0}:
        found["label_accuracy"] = float(((outputs > 0) == (labels > 0.5)).mean())
    return found
