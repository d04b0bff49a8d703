"""The optimum by playing every completion through an environment."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from textgym import Prompt, Task, load_task
from textgym.env import TextGenEnv
from textgym.prompts import ListedPrompts
from textgym.solving import Solution, solve

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("TextGen-v0", {}),
    ("TextGen-v0", {"reward": "terminal", "eos": "$"}),
    ("TextGen-v0", {"target": "aab", "alphabet": "abc", "reward": "shaped", "stop_on_error": True}),
    ("TextGen-v0", {"target": ["ab", "bca"], "alphabet": "abc"}),
    ("TextGen-v0", {"target": "ab", "alphabet": "ab", "eos": "$", "horizon": 5}),
    ("TextGym/Copy-v0", {"alphabet": "ab", "max_length": 2}),
    ("TextGym/Reverse-v0", {"alphabet": "ab", "max_length": 2, "reward": "token"}),
    ("TextGym/Corners-v0", {"step": 1.0, "horizon": 4}),
]


def ids(case: tuple[str, dict[str, Any]]) -> str:
    """Return what a case is called: its id, and the values of its arguments."""
    return f"{case[0].rpartition('/')[2]}-{'-'.join(map(str, case[1].values()))}"


def brute_force(task: Task, prompt: Prompt, gamma: float) -> tuple[float, int]:
    """Return the best discounted return of all completions of one prompt, and how many earn it, each of them played."""
    env = TextGenEnv(replace(task, prompts=ListedPrompts((prompt,))))
    returns = {}
    for actions in itertools.product(range(task.size), repeat=task.horizon):
        env.reset(seed=0)
        total, ended, played = 0.0, False, 0
        while not ended:
            if not env.action_masks()[actions[played]]:
                break
            _, reward, ended, _, _ = env.step(actions[played])
            total += gamma**played * reward
            played += 1
        if ended:
            returns[actions[:played]] = total
    best = max(returns.values())
    return best, sum(math.isclose(total, best, abs_tol=1e-9) for total in returns.values())


def assert_solved_as_played(id: str, gamma: float, **arguments: Any) -> Solution:
    """Assert that `solve` finds the values and the number of best completions that playing finds; return them."""
    task = load_task(id, **arguments)
    prompts, probabilities = task.prompts.support()  # type: ignore[attr-defined]
    solution: Solution = solve(id, gamma, **arguments)
    played = [brute_force(task, prompt, gamma) for prompt in prompts]
    np.testing.assert_allclose(solution.values[0], [best for best, _ in played], atol=1e-9)
    assert solution.optimal_completions.tolist() == [many for _, many in played]
    assert solution.optimal_return == pytest.approx(
        sum(p * best for p, (best, _) in zip(probabilities, played)), abs=1e-9
    )
    return solution
