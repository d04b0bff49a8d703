"""evaluate: what a policy is worth, exactly, by following every text that it may write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.episodes import Prompt
from textgym.errors import require_positive, require_share
from textgym.following import follow
from textgym.frontier import paid_on_average
from textgym.policies import Policy, divergence, entropy, within
from textgym.solving import LIMIT, resolved, support
from textgym.task import Task


@dataclass(frozen=True)
class Evaluation:
    """What a policy is worth, with bounds that are equal where all that it may write was followed.

    Args:
        lower: the least that the expected discounted return can be.
        upper: the most.
        success_lower: the least that the probability of success can be; NaN where the task knows no success.
        success_upper: the most.
        entropy: of a whole text in nats, over what was followed, discounted like rewards.
        kl: the divergence from the reference likewise; NaN without one.
        metrics: the expectation of each of the task's metrics, over what was followed.
        followed: the probability of the texts that were followed to their ends.
        occupancy: observations `(n, width)` and their probabilities `(n,)`, for each number of tokens written.
    """

    lower: float
    upper: float
    success_lower: float
    success_upper: float
    entropy: float
    kl: float
    metrics: dict[str, float]
    followed: float
    occupancy: tuple[tuple[IntArray, FloatArray], ...]

    @property
    def expected_return(self) -> float:
        """The middle between the bounds: the expected return itself where they are equal."""
        return (self.lower + self.upper) / 2

    @property
    def success_probability(self) -> float:
        """The middle between its bounds."""
        return (self.success_lower + self.success_upper) / 2


def evaluate(
    task: Task | Callable[..., Task] | str,
    policy: Policy | None,
    gamma: float = 1.0,
    *,
    reference: Policy | None = None,
    prompts: Sequence[Prompt] | None = None,
    tolerance: float = 0.0,
    limit: int = LIMIT,
    **task_kwargs: Any,
) -> Evaluation:
    """Return what a policy is worth, over all prompts and all texts, without sampling.

    Texts are followed token by token. Where there are too many, or unlikely ones may be left, the likeliest go on; what
    is left counts from the worst to the best that can still come of it, which `Task.state_key` makes known.

    Args:
        task: a registered id, a Task or its factory.
        policy: observations `(n, width)` to probabilities `(n, size)`; None for uniform writing. Within the mask its
            probabilities are scaled to 1.
        gamma: the discount.
        reference: another policy, for `kl`.
        prompts: what to expect over, each equally likely; None for all that the generator can draw.
        tolerance: the probability of texts that may be left.
        limit: the most texts times actions that are followed at once.
        task_kwargs: arguments of the factory.

    Raises:
        InvalidSetting: the prompts cannot be listed; a policy gave no probabilities; gamma or tolerance is no number
            from 0 to 1.
        InvalidPrompt, InvalidSize: as for `solve`.
    """
    require_share(gamma=gamma, tolerance=tolerance)
    require_positive(limit=limit)
    task = paid_on_average(resolved(task, **task_kwargs))
    drawn, mass = support(task, prompts)
    bounds, spread, kl, left = np.zeros(2), 0.0, 0.0, 0.0
    metrics, occupancy = dict.fromkeys(task.metrics, 0.0), []
    for step in follow(task, policy, gamma, (drawn, mass), tolerance, limit):
        discount, gone, mass = gamma**step.depth, mass[step.gone], mass[step.kept]
        left += float(gone.sum())
        if len(gone):
            bounds += discount * np.array([gone @ step.worst, gone @ step.best])
        if not len(mass):
            break
        occupancy.append((step.texts.tokens.copy(), mass))
        p = step.probabilities
        spread += discount * float(mass @ entropy(p))
        if reference is not None:
            away = divergence(p, within(reference, step.texts.tokens, step.allowed))  # may be infinite
            counts = discount * mass > 0
            kl += discount * float(mass[counts] @ away[counts])
        flow = mass[step.rows] * p[step.rows, step.actions]
        bounds += discount * (flow @ step.rewards)
        if len(step.ended):
            for name, values in task.measure(step.after.take(step.ended)).items():
                metrics[name] += float(flow[step.ended] @ values)
        mass = flow[step.going]
    success = metrics.get("success", float("nan"))
    return Evaluation(
        lower=float(bounds[0]),
        upper=float(bounds[1]),
        success_lower=success,
        success_upper=success + left,
        entropy=spread,
        kl=kl if reference is not None else float("nan"),
        metrics=metrics,
        followed=1.0 - left,
        occupancy=tuple(occupancy),
    )
