"""What an agent is worth: whole episodes, each counted once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from textgym import Episodes, Task
from textgym.actions import check_actions
from textgym.arrays import FloatArray, IntArray
from textgym.errors import MissingReward, require_positive
from textgym.rendering import ansi, escape
from textgym.vocabulary import WORDS

from .table import Agent


@dataclass(frozen=True)
class Evaluation:
    """The result of writing some episodes, of which those are counted whose score could be had."""

    mean_return: float  # undiscounted
    standard_error: float  # of the mean; 0 for one episode
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
        gymnasium.error.InvalidAction: the agent predicts what is no action.
    """
    return summarise(task, *write(agent, task, episodes, deterministic, seed), samples)


def write(
    agent: Agent, task: Task, episodes: int = 100, deterministic: bool = True, seed: int = 0
) -> tuple[Episodes, FloatArray]:
    """Let an agent write episodes side by side; return them, and their returns, `(episodes,)`. As `evaluate` has it.

    Episodes whose score could not be had are left out.
    """
    require_positive(episodes=episodes)
    rng = np.random.default_rng(seed)
    rows = task.blank(episodes)
    rows.begin(..., task.draw([rng] * episodes))
    returns = finish(agent, task, rows, deterministic)
    known = np.flatnonzero(~np.isnan(returns))
    if not len(known):
        raise MissingReward(f"none of {episodes} episodes has a score that could be had: there is nothing to report.")
    return (rows, returns) if len(known) == episodes else (rows.take(known), returns[known])


def summarise(task: Task, rows: Episodes, returns: FloatArray, samples: int = 5) -> Evaluation:
    """Return what finished episodes were worth, with the first of them as samples."""
    success, episodes = task.measure(rows, accept_missing=True).get("success"), len(rows)
    return Evaluation(
        mean_return=float(returns.mean()),
        standard_error=float(returns.std(ddof=1) / np.sqrt(episodes)) if episodes > 1 else 0.0,
        success_rate=None if success is None or np.isnan(success).any() else float(success.mean()),
        episodes=episodes,
        samples=[ansi(rows, row) for row in range(min(samples, episodes))],
    )


def write_one(agent: Agent, task: Task, rng: np.random.Generator) -> tuple[str, list[tuple[str, float]]]:
    """Let an agent write one episode greedily.

    Returns:
        The prompt as text, and each token written, as a person may read it, with its reward; NaN where it could not be
        had.
    """
    rows = task.blank(1)
    rows.begin(..., task.draw([rng]))
    steps: list[tuple[str, float]] = []
    between = " " if task.vocabulary.codec is WORDS else ""

    def note(actions: IntArray, rewards: FloatArray) -> None:
        shown = escape(task.vocabulary.show(int(actions[0])))
        steps.append((between + shown if steps else shown, float(rewards[0])))

    finish(agent, task, rows, True, note)
    return ansi(rows, 0).partition(" → ")[0] if rows.max_prompt else "", steps


def finish(
    agent: Agent,
    task: Task,
    rows: Episodes,
    deterministic: bool,
    note: Callable[[IntArray, FloatArray], None] = lambda actions, rewards: None,
) -> FloatArray:
    """Write all rows to their ends, tell `note` of each step, and return their returns, `(n,)`; NaN for no score."""
    returns, state, start = np.zeros(len(rows)), None, np.ones(len(rows), np.bool_)
    masked = task.mask is not None and "action_masks" in inspect.signature(agent.predict).parameters
    # An agent may remember its rows by their place in the batch, so an ended one keeps it, seen as it was before its
    # last token; only when half of them have ended do the others move up.
    shown, seen, masks = np.arange(len(rows)), rows.tokens.copy(), np.ones((len(rows), task.size), np.bool_)
    while (going := np.flatnonzero(~rows.finished)).size:
        if 2 * len(going) <= len(shown):
            shown = going
        part = rows.take(going)
        seen[going] = part.tokens
        if masked:
            masks[going] = task.action_mask(part)
        within = {"action_masks": masks[shown]} if masked else {}
        actions, state = agent.predict(seen[shown], state, start[: len(shown)], deterministic, **within)
        if state is not None and len(rows) > 1:
            return _finish_one_by_one(agent, task, rows, deterministic)
        checked = check_actions(actions, len(shown), task.size)[np.isin(shown, going)]
        missing = np.zeros(len(part), np.bool_)
        rewards = task.step(part, checked, missing=missing)
        rewards[missing] = np.nan
        note(checked, rewards)
        returns[going] += rewards
        rows.put(going, part)
        start[:] = False
    return returns


def _finish_one_by_one(agent: Agent, task: Task, rows: Episodes, deterministic: bool) -> FloatArray:
    """Do the same for a recurrent agent, whose state belongs to its rows, so that none may drop out of the batch."""
    returns = np.zeros(len(rows))
    for row in range(len(rows)):
        one = rows.take(np.array([row]))
        returns[row] = finish(agent, task, one, deterministic)[0]
        rows.put(np.array([row]), one)
    return returns
