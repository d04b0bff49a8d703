"""Aggregates of scores: by hand, against SciPy's definition, and their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.scoring import Estimate, by_capability, estimate, interquartile_mean, markdown


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([0.0, 0.4, 0.6, 9.0], 0.5),
        ([5.0], 5.0),
        ([1.0, 2.0], 1.5),  # half of each
        ([0.0, 1.0, 8.0], (0.25 * 0 + 1.0 * 1 + 0.25 * 8) / 1.5),  # thirds: the quartiles cut the outer ones
    ],
)
def test_the_interquartile_mean_by_hand(scores: list[float], mean: float) -> None:
    assert interquartile_mean(np.array(scores)) == pytest.approx(mean)


def test_the_interquartile_mean_is_the_trimmed_mean_where_quartiles_cut_nothing() -> None:
    rng = np.random.default_rng(0)
    for n in (4, 8, 100):
        scores = rng.normal(size=n)
        assert interquartile_mean(scores) == pytest.approx(np.sort(scores)[n // 4 : 3 * n // 4].mean())


def test_seeds_are_drawn_again_within_their_own_experiment() -> None:
    # each experiment's seeds agree, so that drawing them again changes nothing, however much experiments differ
    assert estimate([np.zeros(3), np.ones(3)]) == Estimate(0.5, 0.5, 0.5)


def test_the_interval_covers_the_mean_of_many_more_seeds() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(40):
        found = estimate([rng.normal(size=10) for _ in range(4)], repeats=400, seed=trial)
        assert found.low < found.middle < found.high
        covered += found.low < 0 < found.high
    assert covered >= 34  # 95 % are expected of 40


def record(agent: str, experiment: str, setting: int, seed: int, score: float | None) -> dict[str, Any]:
    return {"agent": agent, "experiment": experiment, "setting": setting, "seed": seed, "score": score}


RECORDS = [
    *[record("ppo", "word", 0, seed, 1.2) for seed in range(2)],
    *[record("ppo", "lock", 3, seed, score) for seed, score in enumerate([-0.5, 0.25])],
    *[record("mine:make", "word", 0, seed, score) for seed, score in enumerate([0.5, None])],
]


def test_scores_are_clipped_in_aggregates_alone_and_a_run_that_failed_counts_as_nothing() -> None:
    found = by_capability(RECORDS)
    assert found["ppo"]["basics"].middle == 1.0
    assert found["ppo"]["exploration"].middle == pytest.approx(0.125)
    assert found["mine:make"]["all"].middle == pytest.approx(0.25)
    assert "exploration" not in found["mine:make"]


def test_the_tables_show_raw_scores_ranges_and_failures() -> None:
    text = markdown(RECORDS)
    assert "| `ppo` | 1.00 | 0.12 (0.00 to 0.25) |" in text
    assert "| word | basics | 1.20 | 0.50, 1 failed |" in text
    assert "| lock (length=4) | exploration | -0.12 (-0.50 to 0.25) |  |" in text


def test_a_score_that_rounds_to_nothing_has_no_sign() -> None:
    text = markdown([record("ppo", "lock", 3, seed, -1e-4) for seed in range(2)])
    assert "-0.00" not in text
    assert "| lock (length=4) | exploration | 0.00 |" in text
