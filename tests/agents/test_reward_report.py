"""Figures of reward models and scores of ensembles, against worked examples and plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agents.preferences import Labelled, Preference
from agents.reward_report import (
    calibration_error,
    correlation,
    differences,
    distribution,
    figures,
    pair_accuracy,
    sigmoid,
)
from textgym.errors import InvalidReward, InvalidSetting, UnknownName
from textgym.rewards.combining import COMBINATIONS, combine, mean, penalised, worst


def test_pair_accuracy_counts_ties_half() -> None:
    assert pair_accuracy(np.array([1.0, 2.0, -1.0, 0.0])) == 2.5 / 4
    assert pair_accuracy(np.array([])) is None


def test_calibration_error_of_a_worked_example() -> None:
    # bins 0.5 to 0.6 and 0.9 to 1: two at 0.55, one right; 0.95 right; and 0.05, which foretells the other with 0.95
    probability, happened = np.array([0.55, 0.55, 0.95, 0.05]), np.array([1.0, 0.0, 1.0, 1.0])
    assert calibration_error(probability, happened) == pytest.approx((2 * 0.05 + 2 * 0.45) / 4)
    assert calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
    assert calibration_error(np.array([]), np.array([])) is None
    with pytest.raises(InvalidSetting, match="2 probabilities of 1 outcomes"):
        calibration_error(np.ones(2), np.ones(1))


def test_calibration_error_vanishes_where_probabilities_are_shares() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    happened = (rng.random(len(p)) < p).astype(np.float64)
    sure, other = calibration_error(p, happened), calibration_error(p**3, happened)
    assert sure is not None
    assert other is not None
    assert sure < 0.005 < 0.1 < other


def test_differences_are_of_all_pairs_whose_order_is_known() -> None:
    rankings = [Preference("", ("a", "b", "c")), Preference("", ("d", "e"))]
    found = differences(rankings, [np.array([5.0, 3.0, 4.0]), np.array([1.0, 2.0])])
    assert found.tolist() == [2.0, 1.0, -1.0, -1.0]
    labels = [Labelled("", text, label) for text, label in (("a", 2.0), ("b", 0.0), ("c", 2.0), ("d", 1.0))]
    scores = [np.array([value]) for value in (1.0, 2.0, 4.0, 3.0)]
    expected = [1 - 2, 1 - 3, 4 - 2, 4 - 3, 3 - 2]
    assert sorted(differences(labels, scores).tolist()) == sorted(map(float, expected))


def test_figures_of_preferences_and_of_labels() -> None:
    pairs = [Preference("", ("aa", "b")), Preference("", ("cc", "d"))]
    found = figures(pairs, np.array([2.0, 0.0, 1.0, 0.0]), np.array([2.0, 1.0, 2.0, 1.0]), True)
    p = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))]
    assert found["calibration_error"] == pytest.approx(sum(1 - x for x in p) / 2)  # bins of their own, both right
    assert (found["pair_accuracy"], found["pairs"], "label_accuracy" in found) == (1.0, 2, False)
    assert found["length_correlation"] == pytest.approx(np.corrcoef([2, 0, 1, 0], [2, 1, 2, 1])[0, 1])
    labels = [Labelled("", "a", 1.0), Labelled("", "b", 0.0), Labelled("", "c", 0.0)]
    found = figures(labels, np.array([1.0, 2.0, -3.0]), np.ones(3), True)
    assert (found["label_accuracy"], found["pair_accuracy"], found["length_correlation"]) == (2 / 3, 0.5, None)
    assert figures(labels, np.array([1.0, 2.0, -3.0]), np.ones(3), False)["calibration_error"] is None


def test_small_figures() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert correlation(np.ones(3), np.arange(3.0)) is None
    assert distribution(np.arange(5.0)) == {
        "mean": 2.0,
        "deviation": pytest.approx(math.sqrt(2)),
        "quantile_0": 0.0,
        "quantile_0.05": pytest.approx(0.2),
        "quantile_0.25": 1.0,
        "quantile_0.5": 2.0,
        "quantile_0.75": 3.0,
        "quantile_0.95": pytest.approx(3.8),
        "quantile_1": 4.0,
    }


def test_ensembles_are_their_formulas() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 7))
    for i, column in enumerate(scores.T.tolist()):
        average = sum(column) / 4
        variance = sum((x - average) ** 2 for x in column) / 4
        assert mean(scores)[i] == pytest.approx(average)
        assert worst(scores)[i] == min(column)
        assert penalised(scores, 0.3)[i] == pytest.approx(average - 0.3 * variance)
    assert combine(scores, "penalised", 0.3).tolist() == penalised(scores, 0.3).tolist()
    for how in COMBINATIONS:  # one member is itself
        assert combine(scores[:1], how).tolist() == scores[0].tolist()
        assert combine(scores[:, :0], how).shape == (0,)


def test_scores_that_make_no_ensemble_are_refused() -> None:
    wrong: list[tuple[Any, str]] = [
        (np.zeros(3), r"have shape \(3,\); give \(members, texts\)"),
        (np.zeros((0, 3)), r"have shape \(0, 3\)"),
        ([[1, 2], [3]], "no array of numbers"),
        ("ab", "no array of numbers"),
    ]
    for scores, message in wrong:
        with pytest.raises(InvalidSetting, match=message):
            combine(scores)
    with pytest.raises(InvalidReward, match="member 1 gave text 0 the score nan"):
        combine(np.array([[0.0, 1.0], [np.nan, 1.0]]), "worst")
    with pytest.raises(UnknownName, match="no combination is called 'max'"):
        combine(np.zeros((1, 1)), "max")
    for penalty in (-1.0, float("nan"), True, "1"):
        with pytest.raises(InvalidSetting, match=r"penalty=.* is no number of at least 0"):
            penalised(np.zeros((1, 1)), penalty)  # type: ignore[arg-type]
