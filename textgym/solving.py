"""solve: the best possible return of a task, exactly, by backward induction over all states that it can reach."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.episodes import Prompt
from textgym.errors import InvalidSetting, require_positive, require_share
from textgym.frontier import Level, levels
from textgym.policies import Policy
from textgym.registration import build_task, load_task
from textgym.regularised import RegularisedSolution, regularise
from textgym.task import Task

LIMIT = 20_000_000
TIES = 1e-9  # values that differ by less, relative to the largest, are tied


@dataclass(frozen=True)
class Solution:
    """The optimum of a task.

    States are numbered within their level, the number of tokens written: level 0 holds the prompts. States that a
    task's `state_key` merges are one.

    Args:
        levels: all states that can be reached.
        action_values: Q*(s, a) of each level, `(N, size)`; -inf where the mask bars an action.
        gamma: the discount.
        probabilities: of the prompts, `(k,)`.
    """

    levels: tuple[Level, ...]
    action_values: tuple[FloatArray, ...]
    gamma: float
    probabilities: FloatArray

    @cached_property
    def values(self) -> tuple[FloatArray, ...]:
        """V*(s) of each level, `(N,)`."""
        return tuple(q.max(axis=1) for q in self.action_values)

    @cached_property
    def policy(self) -> tuple[BoolArray, ...]:
        """Which actions are optimal, all ties kept, `(N, size)` of each level."""
        scale = max([1.0, *(float(np.abs(v).max()) for v in self.values)])
        return tuple(q >= v[:, None] - TIES * scale for q, v in zip(self.action_values, self.values))

    @property
    def optimal_return(self) -> float:
        """The expected discounted return of the best policy, over the prompts."""
        return float(self.probabilities @ self.values[0])

    @property
    def states(self) -> int:
        """How many states there are, after merging."""
        return sum(len(level.prompt) for level in self.levels)

    @cached_property
    def optimal_completions(self) -> IntArray:
        """How many token sequences earn the optimum of each prompt, `(k,)`, Python integers of any size."""
        after = np.zeros(0, object)
        for depth in range(len(self.levels) - 1, -1, -1):
            level = self.levels[depth]
            best = level.allowed if depth and self.gamma == 0 else self.policy[depth]  # what comes later pays nothing
            after = np.where(best, level.onward(after, ended=1), 0).sum(axis=1).astype(object)
        return after


@overload
def solve(
    task: Task | Callable[..., Task] | str,
    gamma: float = 1.0,
    *,
    prompts: Sequence[Prompt] | None = None,
    reference: None = None,
    kl_coefficient: None = None,
    limit: int = LIMIT,
    **task_kwargs: Any,
) -> Solution: ...


@overload
def solve(
    task: Task | Callable[..., Task] | str,
    gamma: float = 1.0,
    *,
    prompts: Sequence[Prompt] | None = None,
    reference: Policy | None = None,
    kl_coefficient: float,
    limit: int = LIMIT,
    **task_kwargs: Any,
) -> RegularisedSolution: ...


def solve(
    task: Task | Callable[..., Task] | str,
    gamma: float = 1.0,
    *,
    prompts: Sequence[Prompt] | None = None,
    reference: Policy | None = None,
    kl_coefficient: float | None = None,
    limit: int = LIMIT,
    **task_kwargs: Any,
) -> Solution | RegularisedSolution:
    """Return the optimum of a task over all policies that obey its mask.

    V*(s) = max_a E[r + gamma V*(s')], from the last level to the first; a token's effect is certain, so that each
    state is computed once (Sutton & Barto, 2018, equation 3.19). The expectation is over prompts, and over chance
    where the task declares `mean_reward`.

    Args:
        task: a registered id, a Task or its factory.
        gamma: the discount.
        prompts: what to expect over, each equally likely; None for all that the generator can draw, with their
            probabilities, as its `support()` gives them.
        reference: with `kl_coefficient`, the policy to stay near to; None for uniform writing.
        kl_coefficient: beta; the regularised optimum is returned, a `RegularisedSolution`. States are merged for a
            uniform reference, and for one that says by an attribute `depends_on_key = True` that it does not tell
            merged states apart; for others the tree of all texts is enumerated.
        limit: the most (state, action) pairs that are enumerated; each takes 28 bytes.
        task_kwargs: arguments of the factory.

    Raises:
        InvalidSetting: there are more; the prompts cannot be listed; gamma is no number from 0 to 1; prompts
            that look alike have different targets, so that what is best cannot be known from what is seen.
        InvalidPrompt: one of `prompts` does not fit the task.
        InvalidSize: a limit that is no positive integer.

    Example:
        >>> solve("TextGen-v0").optimal_return
        3.0
    """
    require_share(gamma=gamma)
    require_positive(limit=limit)
    task = resolved(task, **task_kwargs)
    drawn, probabilities = support(task, prompts)
    merge = kl_coefficient is None or reference is None or getattr(reference, "depends_on_key", False)
    found = levels(task, drawn, limit, merge)
    if kl_coefficient is not None:
        return regularise(found, gamma, probabilities, reference, kl_coefficient)
    if reference is not None:
        raise InvalidSetting("reference= means something with kl_coefficient= alone: how much to stay near to it.")
    values, after = [], np.zeros(0)
    for level in found[::-1]:
        q = np.where(level.allowed, level.backed(gamma, after), -np.inf)
        values.append(q)
        after = q.max(axis=1)
    return Solution(tuple(found), tuple(values[::-1]), gamma, probabilities)


def resolved(task: Task | Callable[..., Task] | str, **task_kwargs: Any) -> Task:
    """Return the task that is meant by an id, a factory, or itself."""
    return load_task(task, **task_kwargs) if isinstance(task, str) else build_task(task, **task_kwargs)


def support(task: Task, prompts: Sequence[Prompt] | None) -> tuple[Sequence[Prompt], FloatArray]:
    """Return prompts and their probabilities, `(k,)`."""
    if prompts is not None:
        drawn: Sequence[Prompt] = _fitting(task, prompts)
        probabilities = np.full(len(drawn), 1 / len(drawn))
    elif hasattr(task.prompts, "support"):
        drawn, probabilities = task.prompts.support()
    else:
        raise InvalidSetting(
            f"{type(task.prompts).__name__} cannot list its prompts: it has no support(). Give some as prompts=[...]; "
            "the optimum is then theirs."
        )
    targets: dict[bytes, bytes] = {}
    for prompt in drawn:
        seen, target = np.asarray(prompt.tokens, np.int32).tobytes(), np.asarray(prompt.target, np.int32).tobytes()
        if targets.setdefault(seen, target) != target:
            raise InvalidSetting(
                f"the prompt {np.asarray(prompt.tokens).tolist()} comes with several targets: what is best cannot be "
                "known from what is seen. Show the target in the prompt, or give the prompts of one target."
            )
    return drawn, probabilities


def _fitting(task: Task, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts that were given, or say what is wrong with them."""
    listed = isinstance(prompts, Sequence) and not isinstance(prompts, Prompt)
    if not listed or not all(isinstance(prompt, Prompt) for prompt in prompts):
        raise InvalidSetting(
            f"prompts={reprlib.repr(prompts)} is no list of prompts. Give [Prompt(tokens, target), ...], such as some "
            "of those that the generator's support() lists."
        )
    if not prompts:
        raise InvalidSetting("prompts=[] is no prompt at all. Give some, or leave it out for all.")
    task.blank(len(prompts)).begin(..., prompts)
    return list(prompts)
