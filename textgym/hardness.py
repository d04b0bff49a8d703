"""difficulty: how hard a task is for one who knows nothing, as numbers that are computed and not sampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Prompt
from textgym.errors import InvalidSetting
from textgym.lookahead import look_ahead
from textgym.policies import within
from textgym.solving import Solution, resolved, solve, support
from textgym.task import Task

QUICK = 2_000_000  # (state, action) pairs: about a second
MOST_PROMPTS, DRAWN_PROMPTS = 10_000, 256


@dataclass(frozen=True)
class Difficulty:
    """How hard a task is. "Uniform writing" chooses each token uniformly among those that the mask leaves.

    Args:
        random_success: the probability that uniform writing succeeds, prompts drawn as the task draws them.
        has_metric: success is the task's metric `success`; else the task has none, and success is an optimal
            completion, one that earns V* of its prompt up to the solver's tolerance of ties.
        random_return: the expected discounted return of uniform writing.
        optimal_return: that of the best policy.
        lookahead: the least k with which greedy writing on Q^k is optimal; see `textgym.lookahead`.
        effective_horizon: a bound on the effective horizon H: uniform exploration finds an optimal text in T^2 A^H
            steps, T the most tokens that can be written, A the actions; see `textgym.lookahead`. From 1 to T; NaN
            where chance has a part in the reward (`Task.mean_reward`).
        sparsity: the share of the steps of uniform writing, in expectation, whose reward is 0.
        optimal_completions: how many token sequences earn the optimum: of the prompt with the fewest, and of the one
            with the most.
        exact: every prompt was counted; else there were too many, and 256 drawn with seed 0 stand for them.
    """

    random_success: float
    has_metric: bool
    random_return: float
    optimal_return: float
    lookahead: int
    effective_horizon: float
    sparsity: float
    optimal_completions: tuple[int, int]
    exact: bool

    @property
    def random_episodes(self) -> float:
        """The expected number of episodes of uniform writing, the first success included, a prompt drawn for each.

        1 / random_success; infinite where that is 0.
        """
        return 1 / self.random_success if self.random_success else math.inf


def difficulty(
    task: Task | Callable[..., Task] | str,
    gamma: float = 1.0,
    *,
    prompts: Sequence[Prompt] | None = None,
    limit: int = QUICK,
    **task_kwargs: Any,
) -> Difficulty:
    """Return how hard a task is, computed over all states that it can reach.

    Where the task declares `mean_reward`, that is what is paid.

    Args:
        task: a registered id, a Task or its factory.
        gamma: the discount of returns.
        prompts: what to expect over, each equally likely; None for all that the generator can draw, with their
            probabilities. Where it cannot list them, or they are more than 10,000 or than the limit allows, 256 drawn
            with seed 0 stand for them; `Difficulty.exact` says so.
        limit: the most (state, action) pairs that are enumerated.
        task_kwargs: arguments of the factory.

    Raises:
        InvalidSetting: there are more, of the drawn prompts too; gamma is no number from 0 to 1; prompts that look
            alike have different targets.
        InvalidPrompt, InvalidSize: as for `solve`.

    Example:
        >>> difficulty("TextGen-v0", target="ab", alphabet="abcd").random_episodes
        16.0
    """
    task = resolved(task, **task_kwargs)
    solution, exact = _solved(task, gamma, prompts, limit)
    has_metric = "success" in task.metrics
    success, earned, sparsity = _uniform_writing(solution)
    lookahead, horizon = look_ahead(solution)
    completions = solution.optimal_completions
    return Difficulty(
        random_success=success if has_metric else _uniform_optimum(solution),
        has_metric=has_metric,
        random_return=earned,
        optimal_return=solution.optimal_return,
        lookahead=lookahead,
        effective_horizon=horizon if task.mean_reward is None else math.nan,
        sparsity=sparsity,
        optimal_completions=(int(completions.min()), int(completions.max())),
        exact=exact,
    )


def _solved(task: Task, gamma: float, prompts: Sequence[Prompt] | None, limit: int) -> tuple[Solution, bool]:
    """Return a task's solution, and whether it is one of all prompts."""
    if prompts is not None:
        return solve(task, gamma, prompts=prompts, limit=limit), True
    if hasattr(task.prompts, "support") and getattr(task.prompts, "count", 0) <= MOST_PROMPTS:
        many = len(support(task, None)[0])
        if many <= MOST_PROMPTS:
            try:
                return solve(task, gamma, limit=limit), True
            except InvalidSetting:  # more pairs than the limit; all else was refused by support()
                if many <= DRAWN_PROMPTS:
                    raise
    drawn = task.draw([np.random.default_rng(0)] * DRAWN_PROMPTS)  # one generator, drawn from 256 times
    return solve(task, gamma, prompts=drawn, limit=limit), False


def _uniform_writing(solution: Solution) -> tuple[float, float, float]:
    """Return the success by the metric, the return and the share of unpaid steps of uniform writing."""
    mass: FloatArray = solution.probabilities
    success = earned = unpaid = steps = 0.0
    for depth, level in enumerate(solution.levels):
        flow = mass[:, None] * within(None, level.episodes.tokens, level.allowed)  # (N, size)
        success += float((flow * level.success).sum())
        earned += float(solution.gamma**depth * (flow * level.rewards).sum())
        unpaid += float(flow[level.rewards == 0].sum())
        steps += float(mass.sum())
        mass = level.passed_on(flow)
    return success, earned, unpaid / steps


def _uniform_optimum(solution: Solution) -> float:
    """Return the probability that uniform writing earns the optimum of its prompt."""
    after = np.zeros(0)
    for depth in range(len(solution.levels) - 1, -1, -1):
        level = solution.levels[depth]
        later_is_nothing = depth > 0 and solution.gamma == 0
        best = level.allowed if later_is_nothing else solution.policy[depth]
        going = level.onward(after, ended=1.0)
        after = (within(None, level.episodes.tokens, level.allowed) * np.where(best, going, 0.0)).sum(axis=1)
    return float(solution.probabilities @ after)
