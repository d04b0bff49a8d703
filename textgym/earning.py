"""Whether writing the target earns the most that can be earned: by the computed optimum where it can be."""

from __future__ import annotations

import numpy as np

from textgym.agreement import LawBroken
from textgym.errors import InvalidSetting
from textgym.frontier import paid_on_average
from textgym.merging import Seeded
from textgym.rollouts import random_return, rollout, write_target
from textgym.solving import solve

PROMPTS, PAIRS = 40, 1_000_000  # of which optima are computed; (state, action) pairs that this may take


def target_earns_most(case: Seeded) -> None:
    """Writing the target earns the optimum of its prompt; where no optimum is known, at least what chance earns."""
    if not case.task.prompts.max_target:
        return
    task = paid_on_average(case.task)
    prompts = task.draw([np.random.default_rng(case.seed)] * PROMPTS)
    try:
        best = solve(task, prompts=prompts, limit=PAIRS).values[0]
    except InvalidSetting:  # too many states, or targets that the prompts do not show
        return _target_earns_more_than_chance(case)
    returns, _ = rollout(task, write_target, PROMPTS, case.seed)
    if (wrong := np.flatnonzero(returns < best - 1e-6 * np.maximum(1, np.abs(best)))).size:
        row = int(wrong[0])
        target = task.vocabulary.decode(prompts[row].target)
        raise LawBroken(
            f"target_earns_most: writing the target {target!r} earns {returns[row]:.4g}, the best completion of its "
            f"prompt {best[row]:.4g}. Either the prompts' target is not a best completion, or the reward does not "
            "want it."
        )


def _target_earns_more_than_chance(case: Seeded) -> None:
    returns, _ = rollout(case.task, write_target, 200, case.seed)
    mean, error = random_return(case.task, seed=case.seed)
    if returns.mean() < mean - 3 * error - 1e-9:
        raise LawBroken(
            f"target_earns_most: writing the target earns {returns.mean():.4g}, random writing {mean:.4g} ± "
            f"{error:.2g}. Either the prompts' target is not a best completion, or the reward does not want it."
        )
