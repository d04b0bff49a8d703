"""Control tasks: what an agent is worth on them, by the environment's own rewards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from textgym.actions import check_actions
from textgym.control import Control, ControlRows, Options
from textgym.errors import require_natural, require_positive

from .evaluation import Evaluation
from .table import Agent


def evaluate_control(
    agent: Agent,
    control: Control,
    options: Options,
    episodes: int = 100,
    deterministic: bool = True,
    seed: int = 0,
    samples: int = 5,
) -> Evaluation:
    """Let an agent act in episodes side by side, without guidance, and count each once.

    Args:
        agent: anything with `predict`.
        control: the rules.
        options: what is observed; who guides is left out, so that returns are the environment's own.
        episodes: how many; the i-th begins as an environment seeded `seed + i`.
        deterministic: greedy actions; else sampled ones.
        seed: of the first states.
        samples: how many last states to return, as text.

    Raises:
        InvalidSize: `episodes` is no positive integer.
        gymnasium.error.InvalidAction: the agent predicts what is no action.
    """
    require_positive(episodes=episodes)
    require_natural(seed=seed)
    rows = ControlRows(control, replace(options, guidance="none", model=None), episodes)
    rngs = [np.random.Generator(np.random.PCG64(seed + row)) for row in range(episodes)]  # as Gymnasium seeds one
    rows.begin(np.arange(episodes), rngs)
    state, start = None, np.ones(episodes, np.bool_)
    while (going := np.flatnonzero(~rows.finished)).size:
        actions, state = agent.predict(rows.observations(), state, start, deterministic)
        checked = check_actions(actions, episodes, control.actions)
        rows.step(going, checked[going], [rngs[row] for row in going.tolist()])
        start = np.zeros(episodes, np.bool_)
    found, returns = rows.measure(np.arange(episodes)), rows.returns
    return Evaluation(
        mean_return=float(returns.mean()),
        standard_error=float(returns.std(ddof=1) / np.sqrt(episodes)) if episodes > 1 else 0.0,
        success_rate=float(found["success"].mean()),
        episodes=episodes,
        samples=[rows.text(row) for row in range(min(samples, episodes))],
    )
