"""Following the texts that a policy may write, token by token, the likeliest where there are too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.episodes import Episodes, Prompt
from textgym.errors import InvalidSetting
from textgym.frontier import levels
from textgym.policies import Policy, within
from textgym.task import Task

ROUNDING = 1e-12  # of sums of probabilities: with a tolerance of all of them, all are within it
SOLVED = 4_000_000  # (state, action) pairs: what bounds may cost, half a second


@dataclass(frozen=True)
class Step:
    """All that a policy may write after texts of one length, and what comes of it."""

    depth: int  # tokens written before
    kept: IntArray  # (n,) which of those that went on in the step before are followed; at first, of the prompts
    gone: IntArray  # (g,) which are not
    worst: FloatArray  # (g,) the least return that may still come of each that is not; -inf where nobody knows
    best: FloatArray  # (g,) the greatest
    texts: Episodes  # n rows, followed
    allowed: BoolArray  # (n, size) what the mask leaves
    probabilities: FloatArray  # (n, size) the policy's
    rows: IntArray  # (m,) which text a token was added to
    actions: IntArray  # (m,) the token, of any probability above 0
    rewards: FloatArray  # (m,) what it earned
    after: Episodes  # m rows: the text with it
    going: IntArray  # (k,) which of the m go on

    @property
    def ended(self) -> IntArray:
        """Which of the m have ended."""
        return np.flatnonzero(self.after.finished)


def follow(
    task: Task,
    policy: Policy | None,
    gamma: float,
    drawn_from: tuple[Sequence[Prompt], FloatArray],
    tolerance: float,
    limit: int,
) -> Iterator[Step]:
    """Yield one step for each number of tokens.

    Args:
        task: the rules; where chance has a part in its rewards, as `paid_on_average` returns it.
        policy: None for uniform writing.
        gamma: the discount of what may come of texts that are not followed.
        drawn_from: the prompts and their probabilities, `(k,)`.
        tolerance: the probability of texts that may be left.
        limit: the most texts times actions that are followed at once.
    """
    drawn, mass = drawn_from
    texts, origin = task.blank(len(drawn)), np.arange(len(drawn))
    texts.begin(..., drawn)
    bounds, left = _Bounds(task, drawn, gamma, max(limit, SOLVED)), 0.0
    for depth in range(task.horizon):
        kept = _kept(mass, tolerance * (depth + 1) / task.horizon - left, max(1, limit // task.size))
        gone = np.setdiff1d(np.arange(len(mass)), kept)
        left += float(mass[gone].sum())
        worst, best = bounds.of(depth, texts.take(gone), origin[gone])
        nothing = mass[gone] * gamma**depth == 0
        worst[nothing] = best[nothing] = 0.0  # nobody's infinity, times 0, would be no number
        if len(gone):
            texts, origin, mass = texts.take(kept), origin[kept], mass[kept]
        allowed = task.action_mask(texts)
        p = within(policy, texts.tokens, allowed) if len(mass) else np.zeros(allowed.shape)
        rows, actions = np.nonzero(p)
        after = texts.take(rows)
        rewards = task.step(after, actions) if len(rows) else np.zeros(0)
        going = np.flatnonzero(~after.finished)
        yield Step(depth, kept, gone, worst, best, texts, allowed, p, rows, actions, rewards, after, going)
        if not len(going):
            return
        mass = (mass[rows] * p[rows, actions])[going]
        texts, origin = after.take(going), origin[rows[going]]


def _kept(mass: FloatArray, tolerance: float, room: int) -> IntArray:
    """Return which texts go on: all but the least likely, whose sum stays within a tolerance, and at most so many."""
    if tolerance <= 0 and len(mass) <= room:
        return np.arange(len(mass))
    order = np.argsort(mass, kind="stable")
    most = tolerance + ROUNDING if tolerance > 0 else tolerance
    dropped = int(np.searchsorted(np.cumsum(mass[order]), most, side="right"))
    return np.sort(order[max(dropped, len(mass) - room) :])


class _Bounds:
    """What may still come of a text, from its state's key: found when it is first asked for."""

    def __init__(self, task: Task, prompts: Sequence[Prompt], gamma: float, limit: int) -> None:
        self.task, self.prompts, self.gamma, self.limit = task, prompts, gamma, limit
        self._values: list[tuple[IntArray, FloatArray, FloatArray]] | None = None

    def of(self, depth: int, texts: Episodes, origin: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the least and the greatest return that can still come, `(n,)` each; infinite where nobody knows."""
        unknown = np.full(len(origin), np.inf)
        if self.task.state_key is None or not len(origin):
            return -unknown, unknown
        if self._values is None:
            try:
                self._values = self._solved()
            except InvalidSetting:  # too many states: nothing is known of what is left
                self._values = []
        if not self._values:
            return -unknown, unknown
        keys, worst, best = self._values[depth]
        own = np.stack([origin, self.task.state_key(texts)], axis=1)
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
            worst = np.where(level.allowed, level.backed(self.gamma, worst), np.inf).min(axis=1)
            best = np.where(level.allowed, level.backed(self.gamma, best), -np.inf).max(axis=1)
            values.append((np.stack([level.prompt, self.task.state_key(level.episodes)], axis=1), worst, best))
        return values[::-1]
