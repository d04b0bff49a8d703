"""The KL-regularised optimum: its own fixed point, its limits, and every other policy below it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from textgym import load_task, solve
from textgym.arrays import FloatArray, IntArray
from textgym.errors import InvalidSetting
from textgym.frontier import END

CASES: list[tuple[str, dict[str, Any]]] = [
    ("TextGen-v0", {"target": "aab", "alphabet": "abc"}),
    ("TextGen-v0", {"target": "ab", "alphabet": "ab", "eos": "$", "reward": "terminal"}),
    ("TextGym/Copy-v0", {"alphabet": "ab", "max_length": 2}),
    ("TextGym/Corners-v0", {"step": 1.0, "horizon": 4}),
]


def reference_of(case: tuple[str, dict[str, Any]]) -> Any:
    size = load_task(case[0], **case[1]).size

    def policy(observations: IntArray) -> FloatArray:
        codes = (observations * np.arange(1, observations.shape[1] + 1)).sum(axis=1)
        weights = 1.0 + np.cos(codes[:, None] + np.arange(size)) * 0.9
        scaled: FloatArray = weights / weights.sum(axis=1, keepdims=True)
        return scaled

    return policy


def ids(case: tuple[str, dict[str, Any]]) -> str:
    return case[0].rpartition("/")[2]


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_it_is_its_own_fixed_point(case: tuple[str, Any], named: bool, gamma: float) -> None:
    beta, reference = 0.3, reference_of(case) if named else None
    found = solve(case[0], gamma, reference=reference, kl_coefficient=beta, **case[1])
    for t, (level, policy, q, value, near) in enumerate(
        zip(found.levels, found.policy, found.action_values, found.values, found.reference)
    ):
        after = np.append(found.values[t + 1] if t + 1 < len(found.values) else [], 0.0)
        expected_q = np.where(level.allowed, level.rewards + gamma * after[np.maximum(level.following, END)], -np.inf)
        np.testing.assert_allclose(q, expected_q, atol=1e-9)
        weights = near * np.exp(expected_q / beta)
        np.testing.assert_allclose(policy, weights / weights.sum(axis=1, keepdims=True), atol=1e-9)
        np.testing.assert_allclose(value, beta * np.log(weights.sum(axis=1)), atol=1e-9)
    assert found.optimal_value == pytest.approx(found.expected_return - beta * found.kl, abs=1e-9)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_small_coefficient_comes_to_the_optimum_and_a_large_one_to_the_reference(case: tuple[str, Any]) -> None:
    best, reference = solve(case[0], **case[1]), reference_of(case)
    greedy, near = (solve(case[0], reference=reference, kl_coefficient=beta, **case[1]) for beta in (1e-4, 1e6))
    assert greedy.optimal_value == pytest.approx(best.optimal_return, abs=5e-3)
    assert greedy.expected_return == pytest.approx(best.optimal_return, abs=5e-3)
    assert near.kl == pytest.approx(0, abs=1e-9)
    for policy, other in zip(near.policy, near.reference):
        np.testing.assert_allclose(policy, other, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_merged_states_and_the_tree_agree_for_a_uniform_reference(case: tuple[str, Any]) -> None:
    task = load_task(case[0], **case[1])
    merged, tree = (solve(one, kl_coefficient=0.5) for one in (task, replace(task, state_key=None)))
    for name in ("optimal_value", "expected_return", "kl"):
        assert getattr(merged, name) == pytest.approx(getattr(tree, name), abs=1e-12)


def test_no_other_policy_is_worth_more() -> None:
    found, rng = solve("TextGen-v0", kl_coefficient=0.7), np.random.default_rng(0)
    for _ in range(20):
        other = [rng.dirichlet(np.ones(policy.shape[1]), size=len(policy)) for policy in found.policy]
        assert replaced(found, other) < found.optimal_value
    assert replaced(found, list(found.policy)) == pytest.approx(found.optimal_value)


def replaced(found: Any, policy: list[FloatArray]) -> float:
    """Return what another policy is worth under the same objective."""
    other = replace(found, policy=tuple(policy))
    return float(other.expected_return - found.kl_coefficient * other.kl)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"kl_coefficient": 0.0}, "kl_coefficient=0.0 must be a number above 0"),
        ({"kl_coefficient": float("nan")}, "kl_coefficient=nan must be a number above 0"),
        ({"reference": lambda rows: np.full((len(rows), 3), 1 / 3)}, "with kl_coefficient= alone"),
        ({"reference": lambda rows: rows, "kl_coefficient": 1.0}, "must give probabilities"),
        ({"reference": lambda rows: np.full((len(rows), 3), 0.5), "kl_coefficient": 1.0}, "sum to 1"),
    ],
)
def test_what_means_nothing_is_refused(kwargs: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidSetting, match=match):
        solve("TextGen-v0", **kwargs)
