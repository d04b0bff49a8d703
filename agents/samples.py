"""What an agent writes when it samples, before and after it learned: the same prompts, the same chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from textgym import Task
from textgym.rendering import ansi

from .evaluation import write
from .sb3_state import get_global_chance, set_global_chance

EPISODES, SHOWN, SEED = 256, 5, 0


@dataclass(frozen=True)
class Samples:
    """What sampled episodes were worth.

    Args:
        mean_return: undiscounted.
        deviation: of the returns.
        metrics: the mean of each of the task's.
        texts: the first ones, prompt → completion.
    """

    mean_return: float
    deviation: float
    metrics: dict[str, float]
    texts: list[str]

    def lines(self, before: Samples | None = None) -> list[str]:
        """Return what a person reads: what it is worth, by how much more than before, and texts."""
        earned = f"{self.mean_return:.2f}{_change(self.mean_return, before and before.mean_return)}"
        if before is None:
            earned += f", deviation {self.deviation:.2f}"
        elif before.deviation:
            rise = (self.mean_return - before.mean_return) / before.deviation
            earned += f", {rise:+.2f} deviations"
        parts = [f"{name} {z:.2f}{_change(z, before and before.metrics.get(name))}" for name, z in self.metrics.items()]
        return [", ".join([earned, *parts]), *[f"  {text}" for text in self.texts]]


def _change(value: float, before: float | None) -> str:
    return "" if before is None else f" ({value - before:+.2f})"


def sampled(agent: Any, task: Task) -> Samples:
    """Let an agent write by sampling, seeded; chance outside goes on as if nothing had been written."""
    import torch

    chance = get_global_chance()
    try:
        torch.manual_seed(SEED)
        rows, returns = write(agent, task, EPISODES, deterministic=False, seed=SEED)
    finally:
        set_global_chance(chance)
    means = {name: float(np.nanmean(values)) for name, values in task.measure(rows, accept_missing=True).items()}
    texts = [ansi(rows, row) for row in range(SHOWN)]
    return Samples(float(returns.mean()), float(returns.std()), means, texts)
