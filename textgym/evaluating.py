"""evaluate: what a policy is worth, exactly, by following every text that it may write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.episodes import Episodes, Prompt
from textgym.errors import InvalidSetting
from textgym.frontier import END, levels, paid_on_average
from textgym.policies import Policy, divergence, entropy, within
from textgym.solving import LIMIT, check_discount, resolved, support
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
        followed: the probability of the texts that were followed to their ends.
        occupancy: observations `(n, width)` and their probabilities `(n,)`, for each number of tokens written.
    """

    lower: float
    upper: float
    success_lower: float
    success_upper: float
    entropy: float
    kl: float
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
        InvalidSetting: the prompts cannot be listed; a policy gave no probabilities; gamma or tolerance is no share.
    """
    check_discount(gamma)
    if not 0 <= tolerance <= 1:
        raise InvalidSetting(f"tolerance={tolerance!r} is no probability.")
    task = paid_on_average(resolved(task, **task_kwargs))
    return _followed(task, policy, gamma, reference, support(task, prompts), tolerance, limit)


def _followed(
    task: Task,
    policy: Policy | None,
    gamma: float,
    reference: Policy | None,
    drawn_from: tuple[Sequence[Prompt], FloatArray],
    tolerance: float,
    limit: int,
) -> Evaluation:
    """Follow all texts, one token at a time."""
    drawn, mass = drawn_from
    origin: IntArray = np.arange(len(drawn))
    episodes = task.blank(len(drawn))
    episodes.begin(..., drawn)
    sums = np.zeros(4)  # return, success, entropy, divergence
    left, occupancy = _Left(task, drawn, gamma, limit), []
    for depth in range(task.horizon):
        kept = left.kept(mass, tolerance * (depth + 1) / task.horizon)
        if len(kept) < len(mass):
            left.leave(depth, episodes, origin, mass, kept)
            episodes, origin, mass = episodes.take(kept), origin[kept], mass[kept]
        if not len(mass):
            break
        occupancy.append((episodes.tokens.copy(), mass))
        allowed = task.action_mask(episodes)
        p = within(policy, episodes.tokens, allowed)
        sums[2] += gamma**depth * (mass @ entropy(p))
        if reference is not None:
            sums[3] += gamma**depth * (mass @ divergence(p, within(reference, episodes.tokens, allowed)))
        rows, actions = np.nonzero(p)
        flow, part = mass[rows] * p[rows, actions], episodes.take(rows)
        sums[0] += gamma**depth * (flow @ task.step(part, actions))
        ended, going = np.flatnonzero(part.finished), np.flatnonzero(~part.finished)
        if len(ended) and "success" in task.metrics:
            sums[1] += flow[ended] @ task.measure(part.take(ended))["success"]
        episodes, origin, mass = part.take(going), origin[rows[going]], flow[going]
    known = "success" in task.metrics
    return Evaluation(
        lower=float(sums[0] + left.worst),
        upper=float(sums[0] + left.best),
        success_lower=float(sums[1]) if known else float("nan"),
        success_upper=float(sums[1] + left.mass) if known else float("nan"),
        entropy=float(sums[2]),
        kl=float(sums[3]) if reference is not None else float("nan"),
        followed=1.0 - left.mass,
        occupancy=tuple(occupancy),
    )


class _Left:
    """The texts that are not followed: their probability, and what may still come of them."""

    def __init__(self, task: Task, prompts: Sequence[Prompt], gamma: float, limit: int) -> None:
        self.task, self.prompts, self.gamma, self.limit = task, prompts, gamma, limit
        self.mass = self.worst = self.best = 0.0
        self._values: list[tuple[IntArray, FloatArray, FloatArray]] | None = None

    def kept(self, mass: FloatArray, tolerance: float) -> IntArray:
        """Return which texts go on: all but the least likely, whose sum with what was left stays within a tolerance."""
        room = max(1, self.limit // self.task.size)
        if tolerance <= self.mass and len(mass) <= room:
            return np.arange(len(mass))
        order = np.argsort(mass, kind="stable")
        dropped = int(np.searchsorted(np.cumsum(mass[order]), tolerance - self.mass, side="right"))
        return np.sort(order[max(dropped, len(mass) - room) :])

    def leave(self, depth: int, episodes: Episodes, origin: IntArray, mass: FloatArray, kept: IntArray) -> None:
        """Count texts that do not go on, from the worst to the best that can come of them."""
        gone = np.setdiff1d(np.arange(len(mass)), kept)
        worst, best = self._bounds(depth, episodes.take(gone), origin[gone])
        self.mass += float(mass[gone].sum())
        self.worst += float(self.gamma**depth * (mass[gone] @ worst))
        self.best += float(self.gamma**depth * (mass[gone] @ best))

    def _bounds(self, depth: int, episodes: Episodes, origin: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the least and the greatest return that can still come, `(n,)` each; infinite where nobody knows."""
        unknown = np.full(len(origin), np.inf)
        if self.task.state_key is None:
            return -unknown, unknown
        if self._values is None:
            try:
                self._values = self._solved()
            except InvalidSetting:  # too many states: nothing is known of what is left
                self._values = []
        if not self._values:
            return -unknown, unknown
        keys, worst, best = self._values[depth]
        own = np.stack([origin, self.task.state_key(episodes)], axis=1)
        _, inverse = np.unique(np.concatenate([keys, own]), axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        place = np.zeros(inverse.max() + 1, np.int64)
        place[inverse[: len(keys)]] = np.arange(len(keys))
        at = place[inverse[len(keys) :]]
        return worst[at], best[at]

    def _solved(self) -> list[tuple[IntArray, FloatArray, FloatArray]]:
        found, values = levels(self.task, self.prompts, self.limit), []
        worst, best = np.zeros(0), np.zeros(0)
        for level in found[::-1]:
            assert self.task.state_key is not None
            onward = np.maximum(level.following, END)
            least = level.rewards + self.gamma * np.append(worst, 0.0)[onward]
            most = level.rewards + self.gamma * np.append(best, 0.0)[onward]
            worst = np.where(level.allowed, least, np.inf).min(axis=1)
            best = np.where(level.allowed, most, -np.inf).max(axis=1)
            values.append((np.stack([level.prompt, self.task.state_key(level.episodes)], axis=1), worst, best))
        return values[::-1]
