"""What a policy is worth: against the optimum, against sampled texts, and between honest bounds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from brute_force import ids

from textgym import Task, evaluate, load_task, solve
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting
from textgym.rollouts import random_return
from textgym.solving import Solution

CASES: list[tuple[str, dict[str, Any]]] = [
    ("TextGen-v0", {"target": "aab", "alphabet": "abc"}),
    ("TextGen-v0", {"target": "ab", "alphabet": "ab", "eos": "$", "reward": "terminal"}),
    ("TextGen-v0", {"target": ["ab", "bca"], "alphabet": "abc"}),
    ("TextGym/Copy-v0", {"alphabet": "ab", "max_length": 2}),
    ("TextGym/Corners-v0", {"step": 1.0, "horizon": 4}),
]


class Leaning:
    """Probabilities that depend on all that is written, never 0."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, observations: IntArray) -> FloatArray:
        codes = (observations * np.arange(1, observations.shape[1] + 1)).sum(axis=1)
        weights = 1.0 + 0.9 * np.cos(codes[:, None] + np.arange(self.size))
        scaled: FloatArray = weights / weights.sum(axis=1, keepdims=True)
        return scaled


class Best:
    """The first of the optimal actions, looked up by what is seen."""

    def __init__(self, solution: Solution) -> None:
        self.table = {
            tokens.tobytes(): best.argmax()
            for level, policy in zip(solution.levels, solution.policy)
            for tokens, best in zip(level.episodes.tokens, policy)
        }
        self.size = solution.policy[0].shape[1]

    def __call__(self, observations: IntArray) -> FloatArray:
        actions = [self.table[row.tobytes()] for row in observations]
        one: FloatArray = np.eye(self.size)[actions]
        return one


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_optimal_policy_is_worth_the_optimum(case: tuple[str, Any], gamma: float) -> None:
    tree = replace(load_task(case[0], **case[1]), state_key=None)
    solution = solve(tree, gamma)
    found = evaluate(tree, Best(solution), gamma)
    assert found.lower == found.upper == pytest.approx(solution.optimal_return, abs=1e-12)
    assert found.entropy == 0.0
    assert found.success_probability == pytest.approx(1.0)
    assert math.isnan(found.kl)


def sampled(task: Task, policy: Any, n: int) -> tuple[FloatArray, FloatArray]:
    """Return the returns and successes of n texts drawn from a policy."""
    rng = np.random.default_rng(0)
    episodes = task.blank(n)
    episodes.begin(..., task.draw([rng] * n))
    returns = np.zeros(n)
    while (rows := np.flatnonzero(~episodes.finished)).size:
        part = episodes.take(rows)
        p = policy(part.tokens)
        actions = (p.cumsum(axis=1) < rng.random((len(rows), 1)) * p.sum(axis=1, keepdims=True)).sum(axis=1)
        returns[rows] += task.step(part, actions)
        episodes.put(rows, part)
    return returns, task.measure(episodes)["success"]


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_it_is_the_mean_of_what_is_sampled(case: tuple[str, Any]) -> None:
    task = load_task(case[0], **case[1])
    policy = Leaning(task.size)
    returns, successes = sampled(task, policy, 4000)
    found = evaluate(task, policy)
    assert abs(found.expected_return - returns.mean()) < 3.5 * returns.std() / math.sqrt(len(returns)) + 1e-12
    spread = math.sqrt(found.success_probability * (1 - found.success_probability) / len(returns))
    assert abs(found.success_probability - successes.mean()) < 3.5 * spread + 1e-12
    assert found.followed == 1.0
    for _, mass in found.occupancy:
        assert mass.sum() <= 1 + 1e-12


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_uniform_writing_earns_what_random_episodes_earn(case: tuple[str, Any]) -> None:
    task = load_task(case[0], **case[1])
    mean, error = random_return(task, 4000)
    assert abs(evaluate(task, None).expected_return - mean) < 3.5 * error + 1e-12


def test_entropy_and_divergence_add_up_over_a_text() -> None:
    found = evaluate("TextGen-v0", None, reference=Leaning(3))
    assert found.entropy == pytest.approx(3 * math.log(3))  # three tokens of three, each equally likely
    assert evaluate("TextGen-v0", Leaning(3), reference=Leaning(3)).kl == pytest.approx(0)
    assert found.kl > 0
    assert evaluate("TextGen-v0", None, 0.5).entropy == pytest.approx((1 + 0.5 + 0.25) * math.log(3))


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_regularised_optimum_is_worth_what_it_says(case: tuple[str, Any]) -> None:
    task = replace(load_task(case[0], **case[1]), state_key=None)
    found = solve(task, kl_coefficient=0.4)
    table = {
        tokens.tobytes(): row
        for level, policy in zip(found.levels, found.policy)
        for tokens, row in zip(level.episodes.tokens, policy)
    }
    worth = evaluate(task, lambda rows: np.array([table[row.tobytes()] for row in rows]), reference=uniform(task.size))
    assert worth.expected_return == pytest.approx(found.expected_return, abs=1e-9)
    assert worth.kl == pytest.approx(found.kl, abs=1e-9)


def uniform(size: int) -> Any:
    return lambda rows: np.full((len(rows), size), 1 / size)


@pytest.mark.parametrize("case", CASES, ids=ids)
@pytest.mark.parametrize("tolerance", [0.01, 0.3, 1.0])
def test_bounds_hold_the_truth_and_close_with_the_tolerance(case: tuple[str, Any], tolerance: float) -> None:
    task = load_task(case[0], **case[1])
    whole, part = (evaluate(task, Leaning(task.size), tolerance=share) for share in (0.0, tolerance))
    assert part.lower - 1e-12 <= whole.expected_return <= part.upper + 1e-12
    assert part.success_lower - 1e-12 <= whole.success_probability <= part.success_upper + 1e-12
    assert 1 - part.followed <= tolerance + 1e-12
    best = solve(task)
    assert part.upper <= best.optimal_return + 1e-9
    if part.followed == 1.0:
        assert part.lower == pytest.approx(part.upper)


def test_too_many_texts_leave_the_likeliest_and_honest_bounds() -> None:
    task = load_task("TextGen-v0", target="abcde" * 4, alphabet="abcde")
    found = evaluate(task, None, limit=500)
    assert found.followed < 1
    assert found.lower <= -12.0 <= found.upper  # 20 tokens, each right one time in five: 20 * (0.2 - 0.8)
    blind = evaluate(replace(task, state_key=None), None, limit=500)
    assert (blind.lower, blind.upper) == (-math.inf, math.inf)


def never_twice(episodes: Episodes) -> BoolArray:
    allowed = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    if episodes.longest:
        allowed[np.arange(len(episodes)), episodes.newest] = False
    return allowed


def test_what_the_mask_bars_has_no_probability() -> None:
    task = replace(load_task("TextGen-v0", target="aab", alphabet="abc"), mask=never_twice, state_key=None)
    found = evaluate(task, None)
    assert found.entropy == pytest.approx(math.log(3) + 2 * math.log(2))
    assert found.success_probability == 0.0


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"policy": lambda rows: rows}, "must give probabilities"),
        ({"policy": lambda rows: np.full((len(rows), 3), -1.0)}, "none below 0"),
        ({"policy": None, "tolerance": 2.0}, "tolerance=2.0 is no number from 0 to 1"),
        ({"policy": None, "gamma": -1}, "gamma=-1 is no number from 0 to 1"),
    ],
)
def test_what_means_nothing_is_refused(kwargs: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidSetting, match=match):
        evaluate("TextGen-v0", **kwargs)
