"""Losses of reward models, by name: of pairs, of rankings, of labelled texts. Each gives one loss a record."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from textgym.errors import Names

LEAST = -1e30  # the score of a place where no completion stands: finite, so that gradients are


def bradley_terry(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return -log sigmoid(r_chosen - r_rejected).

    The negative log-likelihood of the model of Bradley & Terry (1952), "Rank analysis of incomplete block designs", as
    reward models have it since Christiano et al. (2017), equation 1, and Ouyang et al. (2022), equation 1.

    Args:
        chosen: scores, `(n,)`.
        rejected: scores, `(n,)`.

    Returns:
        `(n,)`, in nats.
    """
    return -functional.logsigmoid(chosen - rejected)


def bradley_terry_margin(chosen: Tensor, rejected: Tensor, margin: Tensor | float) -> Tensor:
    """Return -log sigmoid(r_chosen - r_rejected - margin): Touvron et al. (2023), "Llama 2", equation 2.

    Args:
        chosen: scores, `(n,)`.
        rejected: scores, `(n,)`.
        margin: by how much the chosen score should be higher, `(n,)` or one for all; larger where the preference is
            clearer.

    Returns:
        `(n,)`, in nats.
    """
    return -functional.logsigmoid(chosen - rejected - margin)


def bradley_terry_smoothed(chosen: Tensor, rejected: Tensor, smoothing: float) -> Tensor:
    """Return -(1 - e) log sigmoid(d) - e log sigmoid(-d), d = r_chosen - r_rejected, e the smoothing.

    The cross-entropy where a label is wrong with probability e; it is lowest at d = log((1 - e) / e), where
    `bradley_terry` has no lowest point. Label smoothing (Szegedy et al., 2016, "Rethinking the Inception architecture",
    section 7) of preferences, as in Wang et al. (2024), "Secrets of RLHF in large language models, part II".

    Args:
        chosen: scores, `(n,)`.
        rejected: scores, `(n,)`.
        smoothing: e, from 0 to below 0.5.

    Returns:
        `(n,)`, in nats.
    """
    apart = chosen - rejected
    return -(1 - smoothing) * functional.logsigmoid(apart) - smoothing * functional.logsigmoid(-apart)


def plackett_luce(scores: Tensor, present: Tensor) -> Tensor:
    """Return -sum_i [r_i - log sum_{j >= i} exp(r_j)], the completions best first.

    The negative log-likelihood of a whole ranking (Luce, 1959; Plackett, 1975, "The analysis of permutations"): the
    best is chosen among all, the next among the rest, and so on. Of two it is `bradley_terry`.

    Args:
        scores: `(n, k)`, best first.
        present: `(n, k)` bool, where a completion stands; each row's first ones.

    Returns:
        `(n,)`, in nats.
    """
    kept = scores.masked_fill(~present, LEAST)
    rest = kept.flip(1).logcumsumexp(1).flip(1)  # (n, k) log sum_{j >= i} exp(r_j)
    return ((rest - kept) * present).sum(1)


def regression(scores: Tensor, labels: Tensor) -> Tensor:
    """Return (r - y)^2: least squares, the negative log-likelihood of a normal label up to scale and a constant.

    Args:
        scores: `(n,)`.
        labels: `(n,)`, any numbers.

    Returns:
        `(n,)`, in the labels' unit squared.
    """
    return (scores - labels).square()


def binary_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return -y log sigmoid(r) - (1 - y) log sigmoid(-r): logistic regression (Cox, 1958).

    As verifiers are trained (Cobbe et al., 2021, "Training verifiers to solve math word problems", section 4.2).

    Args:
        scores: `(n,)`, log-odds.
        labels: `(n,)` from 0, bad, to 1, good.

    Returns:
        `(n,)`, in nats.
    """
    return -labels * functional.logsigmoid(scores) - (1 - labels) * functional.logsigmoid(-scores)


def over_pairs(scores: Tensor, present: Tensor, of_pairs: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the mean of a pairwise loss over all pairs of each ranking, so that a ranking counts once.

    1 / C(k, 2) times the sum over pairs: Ouyang et al. (2022), "Training language models to follow instructions with
    human feedback", equation 1.

    Args:
        scores: `(n, k)`, best first.
        present: `(n, k)` bool, where a completion stands; each row's first ones, two at least.
        of_pairs: a loss `(m,)` of chosen and rejected scores, `(m,)` each.

    Returns:
        `(n,)`.
    """
    better, worse = torch.triu_indices(scores.shape[1], scores.shape[1], 1, device=scores.device)
    there = present[:, worse]  # (n, C(k, 2)): the better one stands before it
    losses = of_pairs(scores[:, better], scores[:, worse].masked_fill(~there, 0.0))
    summed: Tensor = losses.masked_fill(~there, 0.0).sum(1)
    return summed / there.sum(1)


class LossSettings(NamedTuple):
    """What some losses are told besides scores."""

    label_smoothing: float = 0.0


Records: TypeAlias = Callable[[Tensor, Tensor, Tensor, LossSettings], Tensor]
"""Scores `(n, k)`, where they stand `(n, k)`, margins or labels `(n,)`, settings: a loss of each record, `(n,)`."""


class Loss(NamedTuple):
    """A loss of records."""

    of: Records
    labelled: bool = False  # of labelled texts; else of preferences
    lowest: float = -math.inf  # of a label
    highest: float = math.inf


def _pairs(scores: Tensor, present: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    return over_pairs(scores, present, bradley_terry)


def _margin(scores: Tensor, present: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    return over_pairs(scores, present, lambda better, worse: bradley_terry_margin(better, worse, target[:, None]))


def _smoothed(scores: Tensor, present: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    smoothing = settings.label_smoothing
    return over_pairs(scores, present, lambda better, worse: bradley_terry_smoothed(better, worse, smoothing))


def _ranking(scores: Tensor, present: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    return plackett_luce(scores, present)


def _regression(scores: Tensor, present: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    return regression(scores[:, 0], target)


def _classes(scores: Tensor, present: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    return binary_cross_entropy(scores[:, 0], target)


LOSSES: Names[Loss] = Names(
    "loss",
    **{
        "bradley-terry": Loss(_pairs),
        "bradley-terry-margin": Loss(_margin),
        "bradley-terry-smoothed": Loss(_smoothed),
        "plackett-luce": Loss(_ranking),
        "regression": Loss(_regression, labelled=True),
        "binary-cross-entropy": Loss(_classes, labelled=True, lowest=0.0, highest=1.0),
    },
)
"""Pairwise losses take a ranking as the mean over its pairs."""
