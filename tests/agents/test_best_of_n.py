"""Best-of-n: the estimator against all subsets, and the divergence against what a large finite sampler has."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from agents.best_of_n import best_of_n, best_of_n_kl
from textgym.errors import InvalidReward, InvalidSetting, InvalidSize


def over_subsets(scores: list[float], values: list[float], n: int) -> float:
    """The mean over all subsets of n; where several have the highest score, each counts alike."""
    worth = []
    for subset in itertools.combinations(range(len(scores)), n):
        most = max(scores[i] for i in subset)
        worth.append(np.mean([values[i] for i in subset if scores[i] == most]))
    return float(np.mean(worth))


@pytest.mark.parametrize("scores", [[0.3, -1.0, 2.0, 0.9, 0.5, 1.4], [1.0, 2.0, 2.0, 0.0, 1.0, 2.0], [1.0] * 6])
def test_the_estimate_is_the_mean_over_all_subsets(scores: list[float]) -> None:
    values = np.random.default_rng(0).normal(size=6).tolist()
    for n in range(1, 7):
        assert best_of_n(scores, values, n) == pytest.approx(over_subsets(scores, values, n), abs=1e-12)
    assert best_of_n(scores, values, 1) == pytest.approx(np.mean(values))
    assert best_of_n(scores, scores, 6) == max(scores)


def test_it_is_unbiased() -> None:
    # the largest of 4 uniform numbers has mean 4/5
    found = [best_of_n(x, x, 4) for x in np.random.default_rng(0).random((4000, 16))]
    assert np.mean(found) == pytest.approx(0.8, abs=4 * float(np.std(found)) / math.sqrt(4000))


def test_large_numbers_stay_finite() -> None:
    scores = np.random.default_rng(0).normal(size=5000)
    assert best_of_n(scores, scores, 5000) == scores.max()
    assert best_of_n(scores, scores, 2500) < scores.max()


def test_the_divergence_is_that_of_a_sampler_of_many_texts() -> None:
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(math.log(2) - 0.5)
    shares = np.linspace(0, 1, 100_001)
    for n in (2, 16):
        p = np.diff(shares**n)  # of the texts of a uniform sampler, worst first
        assert float(np.sum(p * np.log(p * 100_000 + 1e-300))) == pytest.approx(best_of_n_kl(n), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "fault"),
    [
        (([1.0], [1.0], 0), InvalidSize, "n=0"),
        (([1.0], [1.0], 2), InvalidSetting, "1 samples hold no best of n=2"),
        (([1.0, 2.0], [1.0], 1), InvalidSetting, r"shape \(2,\) and values \(1,\)"),
        (([1.0, math.nan], [1.0, 2.0], 1), InvalidReward, "is not finite"),
    ],
)
def test_what_cannot_be_is_refused(arguments: Any, error: type[Exception], fault: str) -> None:
    with pytest.raises(error, match=fault):
        best_of_n(*arguments)
