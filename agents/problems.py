"""From an experiment to what is learned, what is asked, and the exact figures between which an agent is scored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from textgym import Task, difficulty, load_task, solve
from textgym import evaluate as evaluate_policy
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidSetting
from textgym.evaluating import Evaluation
from textgym.frontier import paid_on_average
from textgym.policies import divergence, within
from textgym.prompts import split
from textgym.solving import support

from .evaluation import evaluate as sample
from .masked import uniform
from .probabilities import AgentPolicy
from .suite import EXPERIMENTS

TEXTS = 1024  # where there are no more, all are followed
TOLERANCE = 1e-3  # where there are more, the probability of those that may be left, at most TEXTS followed at once
WIDE = 0.02  # bounds farther apart than this share of the way from random to optimal say less than samples do
EPISODES = 1000  # that are sampled then, or of an agent that does not say how likely its actions are


@dataclass(frozen=True)
class Problem:
    """What an agent learns and is asked.

    Args:
        learned: the task that it learns on.
        asked: the task that it is scored on: the same, or of prompts that were held out.
        random: the objective of uniform writing.
        optimal: the greatest that the objective can be.
        random_return: the expected return of uniform writing on the task that is learned.
        optimal_return: the greatest, for regret.
        kl_coefficient: beta, as the experiment has it.
    """

    learned: Task
    asked: Task
    random: float
    optimal: float
    random_return: float
    optimal_return: float
    kl_coefficient: float

    def score(self, objective: float) -> float:
        """Return 0 for what uniform writing reaches, 1 for the optimum; below 0 what is worse than uniform writing.

        It is above 1 for no policy, but the mean of samples may be, by chance.
        """
        return (objective - self.random) / (self.optimal - self.random)


def problem(experiment: str, settings: Mapping[str, Any]) -> Problem:
    """Return the problem of an experiment's setting; it is solved once.

    Raises:
        UnknownName: no such experiment.
        InvalidSetting: uniform writing is as good as the optimum there, so that nothing can be scored.
    """
    return _problem(experiment, tuple(sorted(settings.items())))


@lru_cache(maxsize=256)
def _problem(experiment: str, settings: tuple[tuple[str, Any], ...]) -> Problem:
    asked_for = EXPERIMENTS[experiment]
    whole = load_task(asked_for.id, **dict(settings))
    learned = asked = whole
    if asked_for.held_out:
        prompts, probabilities = support(whole, None)
        learned_on, held_out = split(prompts, probabilities, asked_for.held_out)
        learned, asked = replace(whole, prompts=learned_on), replace(whole, prompts=held_out)
    beta = asked_for.kl_coefficient
    figures = difficulty(asked)
    optimal = solve(asked, kl_coefficient=beta).optimal_value if beta else figures.optimal_return
    if not optimal > figures.random_return:
        raise InvalidSetting(f"{experiment} with {dict(settings)}: uniform writing is the optimum; nothing to score.")
    while_learning = figures if asked is learned else difficulty(learned)
    ends = while_learning.random_return, while_learning.optimal_return
    return Problem(learned, asked, figures.random_return, optimal, *ends, beta)


class _Uniform:
    """Every token that the mask leaves alike, whatever was written."""

    takes_masks = True

    def __call__(self, observations: IntArray, action_masks: BoolArray) -> FloatArray:
        return uniform(action_masks)


UNIFORM = _Uniform()


@dataclass(frozen=True)
class Worth:
    """What an agent reaches: the objective, between bounds that are equal where it is exact."""

    lower: float
    upper: float
    how: str  # exact, bounded, or sampled: then the bounds are two standard errors from the mean
    success: float | None
    metrics: dict[str, float]

    @property
    def middle(self) -> float:
        """The middle between the bounds."""
        return (self.lower + self.upper) / 2


def worth(agent: Any, problem: Problem, deterministic: bool) -> Worth:
    """Return what an agent reaches on what is asked: exactly where it says how likely its actions are.

    Of a policy that samples among more texts than can be followed it is bounds, or the mean of samples; of an agent
    whose `predict` is no function of the text within the mask, the mean of samples.
    """
    try:
        policy = AgentPolicy(agent, deterministic)
    except InvalidSetting:
        return _sampled(agent, problem, deterministic)
    asked = problem.asked
    prompts = len(support(asked, None)[0])
    few = deterministic or math.log(prompts) + asked.horizon * math.log(asked.size) <= math.log(TEXTS)
    try:
        found = evaluate_policy(
            asked,
            policy,
            reference=UNIFORM if problem.kl_coefficient else None,
            tolerance=0.0 if few else TOLERANCE,
            limit=(prompts + TEXTS) * asked.size,
        )
    except InvalidSetting:
        if policy.says_all:
            raise
        return _sampled(agent, problem, deterministic)  # it remembers, or does what the mask leaves out
    success = None if np.isnan(found.success_probability) else found.success_probability
    if found.upper - found.lower > WIDE * (problem.optimal - problem.random):
        return _drawn(policy, problem)
    how = "exact" if found.lower == found.upper else "bounded"
    lower, upper = (_objective(bound, found, problem) for bound in (found.lower, found.upper))
    return Worth(lower, upper, how, success, found.metrics)


def _objective(expected_return: float, found: Evaluation, problem: Problem) -> float:
    return expected_return - problem.kl_coefficient * found.kl if problem.kl_coefficient else expected_return


def _sampled(agent: Any, problem: Problem, deterministic: bool) -> Worth:
    """Return what episodes of an agent earn; its divergence from the reference cannot be known so."""
    if problem.kl_coefficient:
        raise InvalidSetting(
            f"{type(agent).__name__} does not say how likely its actions are, and KL control is scored by that. Give "
            "it a method action_probabilities(observations, action_masks, deterministic) -> (n, size)."
        )
    found = sample(agent, paid_on_average(problem.asked), EPISODES, deterministic)
    error = 2 * found.standard_error
    return Worth(found.mean_return - error, found.mean_return + error, "sampled", found.success_rate, {})


def _drawn(policy: AgentPolicy, problem: Problem) -> Worth:
    """Return the objective over texts that are drawn from a policy, each step's divergence exact."""
    task, rng = paid_on_average(problem.asked), np.random.default_rng(0)
    texts = task.blank(EPISODES)
    texts.begin(..., task.draw([rng] * EPISODES))
    objective = np.zeros(EPISODES)
    while (rows := np.flatnonzero(~texts.finished)).size:
        part = texts.take(rows)
        allowed = task.action_mask(part)
        p = within(policy, part.tokens, allowed)
        upto = p.cumsum(axis=1)
        actions = (upto <= upto[:, -1:] * rng.random((len(rows), 1))).sum(axis=1)
        objective[rows] -= problem.kl_coefficient * divergence(p, uniform(allowed))
        objective[rows] += task.step(part, actions)
        texts.put(rows, part)
    metrics = {name: float(values.mean()) for name, values in task.measure(texts).items()}
    error = 2 * float(objective.std(ddof=1)) / EPISODES**0.5
    middle = float(objective.mean())
    return Worth(middle - error, middle + error, "sampled", metrics.get("success"), metrics)
