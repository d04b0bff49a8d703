"""What an agent is worth: whole episodes, each counted once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from textgym import Episodes, Task
from textgym.arrays import IntArray
from textgym.errors import require_positive
from textgym.rendering import ansi
from textgym.rollouts import rollout

from .table import Agent


@dataclass(frozen=True)
class Evaluation:
    """The result of writing some episodes."""

    mean_return: float  # undiscounted
    success_rate: float | None  # None where the task has no success
    episodes: int
    samples: list[str]  # prompt → completion, of the first episodes

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def evaluate(
    agent: Agent, task: Task, episodes: int = 100, deterministic: bool = True, seed: int = 0, samples: int = 5
) -> Evaluation:
    """Let an agent write episodes side by side, and count each once.

    Args:
        agent: anything with `predict`.
        task: the rules.
        episodes: how many.
        deterministic: greedy actions; else sampled ones.
        seed: of the prompts. Sampled actions draw from the agent's own chance.
        samples: how many texts to return.

    Raises:
        InvalidSize: `episodes` is no positive integer.
    """
    require_positive(episodes=episodes)

    def write(task: Task, rows: Episodes, rng: np.random.Generator) -> IntArray:
        actions: IntArray = agent.predict(rows.tokens, deterministic=deterministic)[0]
        return actions

    returns, done = rollout(task, write, episodes, seed)
    success = task.measure(done).get("success")
    return Evaluation(
        mean_return=float(returns.mean()),
        success_rate=None if success is None else float(success.mean()),
        episodes=episodes,
        samples=[ansi(done, row) for row in range(min(samples, episodes))],
    )
