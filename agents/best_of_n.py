"""Best-of-n: what the best of n samples by one score is worth by another, and how far that leaves the sampler."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from textgym.arrays import FloatArray
from textgym.errors import InvalidReward, InvalidSetting, require_positive


def best_of_n(scores: Any, values: Any, n: int) -> float:
    """Return the expected value of that one of n samples which has the highest score, from N samples, N >= n.

    sum_i C(N - i, n - 1) / C(N, n) v_i, with v_1, ..., v_N in the order of falling scores: the mean over all subsets of
    n, without drawing any, and so unbiased (Nakano et al., 2021, "WebGPT", appendix I). Among equal scores each is the
    best as often as the others.

    Args:
        scores: by which the best is chosen, `(N,)`.
        values: what is wanted of it, `(N,)`; the scores themselves, or a gold reward.
        n: how many are sampled.

    Raises:
        InvalidSetting: there are fewer than n samples, or not one value for each score.
        InvalidReward: a number is not finite.

    Example:
        >>> best_of_n([1.0, 3.0, 2.0], [10.0, 30.0, 20.0], 2)  # 30 of two pairs out of three, 20 of the third
        26.666666666666668
    """
    require_positive(n=n)
    chosen, wanted = np.asarray(scores, np.float64), np.asarray(values, np.float64)
    if chosen.ndim != 1 or chosen.shape != wanted.shape:
        raise InvalidSetting(f"scores have shape {chosen.shape} and values {wanted.shape}. Give one value a score.")
    if len(chosen) < n:
        raise InvalidSetting(f"{len(chosen)} samples hold no best of n={n}. Give at least {n}.")
    if not (np.isfinite(chosen).all() and np.isfinite(wanted).all()):
        raise InvalidReward("a score or a value is not finite: leave out the samples whose score could not be had.")
    _, tie, many = np.unique(-chosen, return_inverse=True, return_counts=True)
    shared = np.bincount(tie, wanted) / many  # the mean value of each score, highest first
    return float(np.dot(_chances(len(chosen), n), shared[np.sort(tie)]))


def _chances(total: int, n: int) -> FloatArray:
    """Return how likely the i-th best of N samples is the best of n of them, `(N,)`: C(N - i, n - 1) / C(N, n)."""
    place = np.arange(1, total)  # w_1 = n / N; w_{i+1} / w_i = (N - i - n + 1) / (N - i)
    onward = np.clip((total - place - n + 1) / (total - place), 0.0, None)
    chances: FloatArray = n / total * np.concatenate([[1.0], np.cumprod(onward)])
    return chances


def best_of_n_kl(n: int) -> float:
    """Return log n - (n - 1) / n, the divergence of the best of n from the sampler, in nats of a whole text.

    It is exact where no two texts score alike and each is rare (Stiennon et al., 2020, appendix G.3), and else more
    than there is (Beirami et al., 2024, "Theoretical guarantees on the best-of-n alignment policy").
    """
    require_positive(n=n)
    return math.log(n) - (n - 1) / n
