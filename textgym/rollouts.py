"""Writing whole episodes without an environment: what the target earns, what chance earns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.episodes import Episodes
from textgym.task import Task

DRAWN = 2**22  # numbers that are drawn at once: 32 MiB

Writer: TypeAlias = Callable[[Task, Episodes, np.random.Generator], IntArray]
"""Chooses the next token of every row, `(n,)`, all of them unfinished."""


def write_target(task: Task, episodes: Episodes, rng: np.random.Generator) -> IntArray:
    """Choose the target's next token; the end token, or token 0, past its end."""
    place = episodes.length
    inside = place < episodes.target_length
    token = episodes.target[np.arange(len(episodes)), np.where(inside, place, 0)]
    chosen: IntArray = np.where(inside, token, task.vocabulary.eos_id or 0)
    return chosen


def write_random(task: Task, episodes: Episodes, rng: np.random.Generator) -> IntArray:
    """Choose uniformly among the actions that the task's mask leaves."""
    if task.mask is None:
        return rng.integers(task.size, size=len(episodes))
    mask = task.action_mask(episodes)  # (n, size)
    parts = np.array_split(mask, max(1, -(-mask.size // DRAWN)))
    return np.concatenate([np.where(part, rng.random(part.shape), -1.0).argmax(axis=1) for part in parts])


def likely_actions(task: Task, episodes: Episodes, rng: np.random.Generator) -> IntArray:
    """Return actions that follow the target two times out of three, so that some episodes succeed."""
    actions = rng.integers(task.size, size=len(episodes))
    if task.prompts.max_target:
        follow = (rng.random(len(episodes)) < 2 / 3) & ~episodes.finished
        actions = np.where(follow, write_target(task, episodes, rng), actions)
    return actions


def rollout(task: Task, writer: Writer, n: int, seed: int = 0) -> tuple[FloatArray, Episodes]:
    """Write n episodes to their ends.

    Args:
        task: the rules.
        writer: chooses tokens.
        n: episodes.
        seed: of the prompts and of the writer.

    Returns:
        Undiscounted returns, `(n,)`, and the finished episodes.
    """
    rng = np.random.default_rng(seed)
    episodes = task.blank(n)
    episodes.begin(..., task.draw([rng] * n))
    returns = np.zeros(n)
    while (rows := np.flatnonzero(~episodes.finished)).size:
        part = episodes.take(rows)
        returns[rows] += task.step(part, writer(task, part, rng))
        episodes.put(rows, part)
    return returns, episodes


def target_return(task: Task, n: int = 100, seed: int = 0) -> float | None:
    """Return the mean return of writing the target; None where the task has none."""
    return float(rollout(task, write_target, n, seed)[0].mean()) if task.prompts.max_target else None


def random_return(task: Task, n: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the mean return of uniformly random writing, and its standard error over n episodes."""
    returns, _ = rollout(task, write_random, n, seed)
    return float(returns.mean()), float(returns.std(ddof=1) / np.sqrt(n))
