"""What the exact methods are given and cannot mean: each a typed error that says what to give instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from textgym import Prompt, difficulty, evaluate, load_task, solve
from textgym.arrays import FloatArray, IntArray
from textgym.errors import InvalidPrompt, InvalidSetting, InvalidSize


def solved(**arguments: Any) -> object:
    return solve("TextGen-v0", **arguments)


def regularised(**arguments: Any) -> object:
    return solve("TextGen-v0", **({"kl_coefficient": 1.0} | arguments))


def evaluated(**arguments: Any) -> object:
    return evaluate("TextGen-v0", **({"policy": None} | arguments))


def measured(**arguments: Any) -> object:
    return difficulty("TextGen-v0", **arguments)


METHODS = [solved, regularised, evaluated, measured]
SHARES = [True, None, "0.5", math.nan, -0.1, 1.1, 1j, [1], np.ones(2)]
EMPTY = np.zeros(0, np.int32)


@pytest.mark.parametrize("gamma", SHARES, ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_a_discount_is_a_number_from_0_to_1(method: Callable[..., object], gamma: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"gamma=.* is no number from 0 to 1"):
        method(gamma=gamma)


@pytest.mark.parametrize("tolerance", SHARES, ids=repr)
def test_a_tolerance_is_a_number_from_0_to_1(tolerance: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"tolerance=.* is no number from 0 to 1"):
        evaluated(tolerance=tolerance)


@pytest.mark.parametrize("limit", [0, -1, True, None, "20", 2.5, math.nan, math.inf], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_a_limit_is_a_positive_integer(method: Callable[..., object], limit: Any) -> None:
    with pytest.raises(InvalidSize, match=r"limit=.* is not a size"):
        method(limit=limit)


@pytest.mark.parametrize("beta", [0, -1, True, "1", math.nan, math.inf, 10**400, [1]], ids=str)
def test_a_coefficient_is_a_number_above_0(beta: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"kl_coefficient=.* must be a number above 0"):
        regularised(kl_coefficient=beta)


@pytest.mark.parametrize("prompts", ["ab", 5, [1], [None], np.arange(2), {}, Prompt(EMPTY, EMPTY)], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_prompts_are_a_list_of_prompts(method: Callable[..., object], prompts: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"prompts=.* is no list of prompts. Give \[Prompt\(tokens, target\)"):
        method(prompts=prompts)


@pytest.mark.parametrize(
    ("tokens", "target", "match"),
    [
        (EMPTY, np.array([0, 1, 3]), "target holds .3.; its ids must be integers from 0 to 2"),
        (EMPTY, np.array([0, -1]), "target holds"),
        (EMPTY, np.array([0.5]), "target holds float64"),
        (EMPTY, np.array([0, 1, 2, 0]), "target has 4 tokens"),
        (np.array([0]), np.array([0]), "prompt has 1 tokens"),
        ("", "ab", "target must be one row of ids"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", METHODS)
def test_prompts_fit_the_task(method: Callable[..., object], tokens: Any, target: Any, match: str) -> None:
    with pytest.raises(InvalidPrompt, match=match):
        method(prompts=[Prompt(tokens, target)])


def uniform(rows: IntArray) -> FloatArray:
    return np.full((len(rows), 3), 1 / 3)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (lambda rows: None, "NoneType, no array"),
        (lambda rows: "abc", "str, no array"),
        (lambda rows: [[1], [1, 2]], "list, no array"),
        (lambda rows: uniform(rows) + 0j, "ndarray, no array"),
        (lambda rows: uniform(rows)[0], "must give probabilities"),
        (lambda rows: uniform(rows) * math.nan, "must give probabilities"),
        (lambda rows: uniform(rows) * 0, "must give probabilities"),
        ("a policy", "'a policy' is no policy. Give a function"),
    ],
)
def test_what_is_no_policy_is_refused(answer: Any, match: str) -> None:
    uses: list[tuple[Callable[..., object], str]] = [
        (evaluated, "policy"),
        (evaluated, "reference"),
        (regularised, "reference"),
    ]
    for method, name in uses:
        with pytest.raises(InvalidSetting, match=match):
            method(**{name: answer})


def test_a_policy_may_answer_in_single_precision_integers_or_lists() -> None:
    answers: list[Any] = [lambda rows: uniform(rows).astype(np.float32), lambda rows: uniform(rows).tolist()]
    for answer in answers:
        assert evaluate("TextGen-v0", answer).lower == pytest.approx(-1.0, abs=1e-6)
    first = evaluate("TextGen-v0", lambda rows: np.tile(np.array([1, 0, 0]), (len(rows), 1)))
    assert first.lower == first.upper == -1.0


def only_first(rows: IntArray) -> FloatArray:
    return np.tile([1.0, 0.0, 0.0], (len(rows), 1))


def at_first_free(rows: IntArray) -> FloatArray:
    """Uniform for the first token; always the first one afterwards."""
    return np.where(rows[:, :1] == 3, uniform(rows), only_first(rows))


def test_a_divergence_that_is_infinite_counts_only_where_it_counts() -> None:
    assert evaluate("TextGen-v0", None, reference=only_first).kl == math.inf
    assert evaluate("TextGen-v0", None, reference=at_first_free).kl == math.inf
    assert evaluate("TextGen-v0", None, 0.0, reference=at_first_free).kl == pytest.approx(0.0)


def test_a_reference_of_hardly_any_probability_is_finitely_far() -> None:
    def hardly(rows: IntArray) -> FloatArray:
        return np.tile([1.0, 1e-320, 1e-320], (len(rows), 1))

    away = -math.log(3) - (math.log(1.0) + 2 * math.log(1e-320)) / 3
    assert evaluate("TextGen-v0", None, reference=hardly).kl == pytest.approx(3 * away)


def test_what_nobody_knows_counts_nothing_where_its_weight_is_nothing() -> None:
    task = replace(load_task("TextGym/Copy-v0", alphabet="ab", max_length=2), state_key=None)
    at_once = evaluate(task, None, 0.0, limit=1)  # no state but one prompt is followed, so that nothing is known
    assert (at_once.lower, at_once.upper) == (-math.inf, math.inf)
    one = replace(load_task("TextGen-v0"), state_key=None)
    first_known = evaluate(one, None, 0.0, limit=3)  # of one text: the first token's reward is all of the return
    assert first_known.lower == first_known.upper == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    ("task", "match"),
    [(None, "None is no Task, no factory"), (3, "3 is no Task, no factory"), (lambda: 3, "made 3, which is no Task")],
)
def test_what_is_no_task_is_refused(task: Any, match: str) -> None:
    for method in (solve, difficulty, lambda given: evaluate(given, None)):
        with pytest.raises(InvalidSetting, match=match):
            method(task)
