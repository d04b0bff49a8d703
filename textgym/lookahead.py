"""How far ahead a task asks to look before uniform writing shows what is best: the effective horizon."""

from __future__ import annotations

import math

import numpy as np

from textgym.arrays import BoolArray, FloatArray
from textgym.frontier import Level
from textgym.policies import within
from textgym.solving import TIES, Solution


def look_ahead(solution: Solution) -> tuple[int, float]:
    """Return the least lookahead that makes greedy writing optimal, and a bound on the effective horizon.

    Q^1 is the action value of uniform writing, and Q^{i+1}(s, a) = r + gamma max_a' Q^i(s', a'). A task is
    k-QVI-solvable where every policy that is greedy on Q^k is optimal, however ties are broken (Laidlaw, Russell &
    Dragan, 2023, "Bridging RL Theory and Practice with the Effective Horizon", section 5). The effective horizon H is
    the least k + log_A(m) with which an agent finds an optimal text at least half the time that, for each of T tokens,
    tries every continuation of k tokens, ends each m times uniformly, and goes on with the best on average: T^2 A^H
    steps in all. For rewards of at least 0, their theorem 5.4 says

        H <= k + max_s log_A(Q^k(s) V*(s) / gap^k(s)^2) + log_A(6 log(2 T A^k)),

    where s runs over the states that optimal writing reaches, Q^k(s) is the largest action value there, and gap^k(s)
    how far it stands above the largest of an action that is not optimal. That holds by Bernstein's inequality for the
    difference of two returns between 0 and V*, their variances Q^k V* at most: m >= 4 Q^k V* / gap^2 log(2 T A^k) is
    enough for all T A^k comparisons together, and 6 in place of 4 pays for rounding m up.

    The argument needs returns of at least 0, not rewards: where the least that a state can earn is negative, its
    returns are counted from there, which changes no gap. Looking T tokens ahead leaves nothing to chance, so that H is
    at most T. All prompts share one k, and the hardest counts.

    Args:
        solution: of a task whose rewards do not depend on chance; the bound means nothing for others.

    Returns:
        The least k, from 1 to T, and the bound, from 1 to T, where T is the most tokens that can be written.
    """
    depth, size = len(solution.levels), solution.levels[0].rewards.shape[1]
    q, worst = _of_uniform_writing(solution), _least(solution)
    reached = _reached(solution.levels, solution.policy)
    least, bound, k = depth, float(depth), 1
    while k < bound:
        slack = _slack(solution, q)
        if least == depth and _greedy_is_optimal(solution, q, slack):
            least = k
        needed = max(_needed(solution, *level) for level in zip(range(depth), q, slack, worst, reached))
        if needed == -math.inf:  # all that can be done is optimal
            return 1, 1.0
        logarithm = math.log(6 * (math.log(2 * depth) + k * math.log(size)))
        bound = min(bound, k + (needed + logarithm) / math.log(size))
        q, k = _one_token_further(solution, q), k + 1
    return least, bound


def _of_uniform_writing(solution: Solution) -> list[FloatArray]:
    """Return Q^1 of each level, `(N, size)`; -inf where the mask bars an action."""
    found, after = [], np.zeros(0)
    for level in solution.levels[::-1]:
        q = level.backed(solution.gamma, after)
        after = (within(None, level.episodes.tokens, level.allowed) * q).sum(axis=1)
        found.append(np.where(level.allowed, q, -np.inf))
    return found[::-1]


def _least(solution: Solution) -> list[FloatArray]:
    """Return the least return that each state can earn, 0 at most, `(N,)` of each level."""
    found, after = [], np.zeros(0)
    for level in solution.levels[::-1]:
        q = level.backed(solution.gamma, after)
        after = np.where(level.allowed, q, np.inf).min(axis=1)
        found.append(np.minimum(after, 0.0))
    return found[::-1]


def _one_token_further(solution: Solution, q: list[FloatArray]) -> list[FloatArray]:
    """Return Q^{i+1} of each level from Q^i."""
    after = [*(one.max(axis=1) for one in q[1:]), np.zeros(0)]
    backed = (level.backed(solution.gamma, v) for level, v in zip(solution.levels, after))
    return [np.where(level.allowed, one, -np.inf) for level, one in zip(solution.levels, backed)]


def _slack(solution: Solution, q: list[FloatArray]) -> list[FloatArray]:
    """Return by how much equal action values may differ from rounding, `(N, 1)` of each level.

    Chance that is paid late has values as small as A^-T, which are exact to as many digits where nothing negative is
    added; elsewhere sums may cancel.
    """
    if all((level.rewards >= 0).all() for level in solution.levels):
        return [TIES * one.max(axis=1, keepdims=True) for one in q]
    scale = max(1.0, *(float(np.abs(one[level.allowed]).max()) for level, one in zip(solution.levels, q)))
    return [np.full((len(one), 1), TIES * scale) for one in q]


def _reached(levels: tuple[Level, ...], chosen: tuple[BoolArray, ...]) -> list[BoolArray]:
    """Return which states the chosen actions lead to from the prompts, `(N,)` of each level."""
    reached = [np.ones(len(levels[0].prompt), np.bool_)]
    for level, mine, after in zip(levels, chosen, levels[1:]):
        going = mine & reached[-1][:, None] & (level.following >= 0)
        reached.append(np.zeros(len(after.prompt), np.bool_))
        reached[-1][level.following[going]] = True
    return reached


def _greedy_is_optimal(solution: Solution, q: list[FloatArray], slack: list[FloatArray]) -> bool:
    """Whether every action that greedy writing may choose, in states that it may reach, is optimal."""
    greedy = tuple(one >= one.max(axis=1, keepdims=True) - room for one, room in zip(q, slack))
    reached = _reached(solution.levels, greedy)
    wrong = (mine & ~best & at[:, None] for mine, best, at in zip(greedy, solution.policy, reached))
    return not any(one.any() for one in wrong)


def _needed(
    solution: Solution, depth: int, q: FloatArray, slack: FloatArray, worst: FloatArray, reached: BoolArray
) -> float:
    """Return the largest log(Q^k V* / (gap^k)^2) of a level's states that optimal writing reaches.

    Infinite where an action that is not optimal looks at least as good; -inf where every action is optimal.
    """
    other = np.where(solution.policy[depth], -np.inf, q).max(axis=1)
    at = np.flatnonzero(reached & (other > -np.inf))
    if not len(at):
        return -math.inf
    top, gap = q[at].max(axis=1), q[at].max(axis=1) - other[at]
    if (gap <= slack[at, 0]).any():
        return math.inf
    logs = np.log(top - worst[at]) + np.log(solution.values[depth][at] - worst[at]) - 2 * np.log(gap)
    return float(logs.max())
