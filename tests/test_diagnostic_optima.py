"""The optima of the diagnostic tasks, against all texts played through the environment, and the tree of all texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from brute_force import brute_force

from textgym import load_task, solve
from textgym.frontier import paid_on_average

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("Noise", {"target": "aba"}),
    ("Noise", {"target": ["ab", "bca"], "alphabet": "abc", "noise": 0.3}),
    ("Scale", {"target": "aab", "alphabet": "abc", "factor": 1e-3}),
    ("Trap", {"target": "aba", "bait": 0.9}),
    ("Trap", {"target": ["ab", "bca"], "alphabet": "abc", "bait": 0.5}),
    ("Repeat", {"words": {"good": 0.5, "great": 1, "fine": 1.0, "the": 0}, "horizon": 4}),
    ("RandomWalks", {"nodes": 5, "edge_probability": 0.5, "graph_seed": 0, "max_length": 5}),
    ("RandomWalks", {"nodes": 5, "edge_probability": 0.5, "graph_seed": 0, "max_length": 5, "mask": True}),
    ("IncreasingNumbers", {"largest": 4, "horizon": 4}),
]


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize(("name", "kwargs"), SMALL, ids=[f"{name}-{i}" for i, (name, _) in enumerate(SMALL)])
def test_the_optimum_is_the_best_of_all_texts(name: str, kwargs: dict[str, Any], gamma: float) -> None:
    task = paid_on_average(load_task(f"TextGym/{name}-v0", **kwargs))
    prompts, probabilities = task.prompts.support()  # type: ignore[attr-defined]
    solution = solve(f"TextGym/{name}-v0", gamma, **kwargs)
    played = [brute_force(task, prompt, gamma) for prompt in prompts]
    assert solution.values[0] == pytest.approx([best for best, _ in played])
    assert solution.optimal_completions.tolist() == [many for _, many in played]
    assert solution.optimal_return == pytest.approx(sum(p * best for p, (best, _) in zip(probabilities, played)))
    tree = solve(replace(task, state_key=None), gamma)
    assert solution.values[0] == pytest.approx(tree.values[0])
    assert solution.states < tree.states


ALL = ("Noise", "Scale", "Trap", "Repeat", "RandomWalks", "IncreasingNumbers", "Dates")
STATES = {"RandomWalks": 1000, "Dates": 250, "IncreasingNumbers": 60}  # a few each, so that none takes a second


@pytest.mark.parametrize("name", ALL)
def test_defaults_are_solved_exactly_with_few_states(name: str) -> None:
    solution = solve(f"TextGym/{name}-v0")
    assert solution.optimal_return == pytest.approx(1000.0 if name == "Scale" else 1.0)
    assert solution.states <= STATES.get(name, 11)
