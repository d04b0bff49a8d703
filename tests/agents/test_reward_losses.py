"""Losses of reward models, against worked examples, plain Python, and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.reward_losses import (
    LOSSES,
    LossSettings,
    binary_cross_entropy,
    bradley_terry,
    bradley_terry_margin,
    bradley_terry_smoothed,
    plackett_luce,
    regression,
)
from textgym.errors import UnknownName

LOG3 = math.log(3)  # sigmoid(log 3) = 3/4
SCORES = torch.tensor([[0.3, -0.7, 1.1, 0.2], [2.0, 1.0, 0.0, 0.0], [-0.4, 0.9, 0.0, 0.0]], dtype=torch.float64)
PRESENT = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
TARGET = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64)
SMOOTHING = 0.2


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (bradley_terry(t(LOG3), t(0.0)), math.log(4 / 3)),
        (bradley_terry(t(0.0), t(LOG3)), math.log(4)),
        (bradley_terry_margin(t(2.0), t(2.0 - LOG3), 2 * LOG3), math.log(4)),
        (bradley_terry_smoothed(t(LOG3), t(0.0), 0.25), 0.75 * math.log(4 / 3) + 0.25 * math.log(4)),
        # 3/(3 + 2 + 1) of all, then 2/(2 + 1) of the rest
        (plackett_luce(t(LOG3, math.log(2), 0.0)[None], torch.ones(1, 3, dtype=torch.bool)), math.log(6 / 3 * 3 / 2)),
        (regression(t(1.5), t(-0.5)), 4.0),
        (binary_cross_entropy(t(LOG3), t(1.0)), math.log(4 / 3)),
        (binary_cross_entropy(t(LOG3), t(0.0)), math.log(4)),
        (binary_cross_entropy(t(LOG3), t(0.5)), (math.log(4 / 3) + math.log(4)) / 2),
    ],
)
def test_a_worked_example(found: Tensor, expected: float) -> None:
    assert found.item() == pytest.approx(expected, rel=1e-12)


def by_hand(name: str, scores: list[float], target: float) -> float:
    """A record's loss, by plain Python and the formula."""

    def log_sigmoid(x: float) -> float:
        return -math.log(1 + math.exp(-x))

    pairs = [(a, b) for i, a in enumerate(scores) for b in scores[i + 1 :]]
    if name == "bradley-terry":
        return -sum(log_sigmoid(a - b) for a, b in pairs) / len(pairs)
    if name == "bradley-terry-margin":
        return -sum(log_sigmoid(a - b - target) for a, b in pairs) / len(pairs)
    if name == "bradley-terry-smoothed":
        smoothed = [(1 - SMOOTHING) * log_sigmoid(a - b) + SMOOTHING * log_sigmoid(b - a) for a, b in pairs]
        return -sum(smoothed) / len(pairs)
    if name == "plackett-luce":
        return -sum(a - math.log(sum(map(math.exp, scores[i:]))) for i, a in enumerate(scores))
    if name == "regression":
        return (scores[0] - target) ** 2
    p = 1 / (1 + math.exp(-scores[0]))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def loss_of(name: str) -> Callable[[Tensor], Tensor]:
    return lambda scores: LOSSES[name].of(scores, PRESENT, TARGET, LossSettings(SMOOTHING))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_its_formula_row_by_row(name: str) -> None:
    expected = [by_hand(name, row[there].tolist(), y) for row, there, y in zip(SCORES, PRESENT, TARGET.tolist())]
    np.testing.assert_allclose(loss_of(name)(SCORES), expected, rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences_and_none_reaches_an_empty_place(name: str) -> None:
    scores = SCORES.clone().requires_grad_()
    loss_of(name)(scores).sum().backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    step, expected = 1e-6, torch.zeros_like(SCORES)
    for place in np.ndindex(*SCORES.shape):
        ends = []
        for sign in (1, -1):
            moved = SCORES.clone()
            moved[place] += sign * step
            ends.append(loss_of(name)(moved).sum().item())
        expected[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(scores.grad, expected, atol=1e-8)
    empty = ~PRESENT if not LOSSES[name].labelled else torch.ones_like(PRESENT).index_fill(1, torch.tensor([0]), False)
    assert not scores.grad[empty].any()


def test_of_two_plackett_luce_is_bradley_terry_and_smoothing_0_nothing() -> None:
    chosen, rejected = torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = torch.stack([chosen, rejected], 1)
    expected = bradley_terry(chosen, rejected)
    torch.testing.assert_close(plackett_luce(both, torch.ones_like(both, dtype=torch.bool)), expected)
    torch.testing.assert_close(bradley_terry_smoothed(chosen, rejected, 0.0), expected)
    torch.testing.assert_close(bradley_terry_margin(chosen, rejected, 0.0), expected)


def test_smoothing_is_lowest_where_the_label_is_as_sure_as_it_says() -> None:
    apart = torch.linspace(-5, 5, 10_001, dtype=torch.float64)
    best = apart[bradley_terry_smoothed(apart, torch.zeros_like(apart), 0.2).argmin()].item()
    assert best == pytest.approx(math.log(0.8 / 0.2), abs=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_large_scores_stay_finite(name: str) -> None:
    scores = (SCORES * 1e4).requires_grad_()
    loss = loss_of(name)(scores)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert loss.isfinite().all()
    assert scores.grad.isfinite().all()


def test_a_mistyped_loss_is_suggested() -> None:
    with pytest.raises(UnknownName, match=r"no loss is called 'bradley'\. Did you mean 'bradley-terry'"):
        LOSSES["bradley"]
