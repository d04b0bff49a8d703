"""Levels: all states that a task can reach, one level for each number of tokens written, found through `Task.step`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from textgym.arrays import Array, BoolArray, FloatArray, IntArray
from textgym.episodes import Episodes, Prompt
from textgym.errors import InvalidSetting
from textgym.task import Task

END, BARRED = -1, -2  # in place of a state: the episode has ended; the mask bars the action
CHUNK = 1 << 17  # (state, action) pairs that are expanded at once: what fits a processor's cache


@dataclass(frozen=True)
class Level:
    """States in which the same number of tokens has been written, none of them finished."""

    episodes: Episodes  # N rows, one for each state
    prompt: IntArray  # (N,) int64, which of the prompts it follows
    rewards: FloatArray  # (N, size) of each action; 0 where it is barred
    following: IntArray  # (N, size) int32, the state of the next level, or END, or BARRED
    success: FloatArray  # (N, size) the metric `success` of texts that an action ends; 0 elsewhere

    @property
    def allowed(self) -> BoolArray:
        """`(N, size)` bool: the actions that the mask leaves."""
        allowed: BoolArray = self.following != BARRED
        return allowed

    def onward(self, after: Array, ended: float = 0.0) -> Array:
        """Return what follows each action, `(N, size)`.

        Args:
            after: of each state of the next level, `(M,)`.
            ended: of what has ended, and where an action is barred.
        """
        return np.append(after, ended)[np.maximum(self.following, END)]  # END is the last

    def backed(self, gamma: float, after: FloatArray) -> FloatArray:
        """Return r + gamma v(s') of each action, `(N, size)`, from the values of the next level, `(M,)`."""
        backed: FloatArray = self.rewards + gamma * self.onward(after)
        return backed

    def passed_on(self, flow: FloatArray) -> FloatArray:
        """Return how likely each state of the next level is, `(M,)`, from how likely each action is, `(N, size)`."""
        going = self.following > END
        many = int(self.following.max(initial=END)) + 1
        return np.bincount(self.following[going], flow[going], many).astype(np.float64)


def levels(task: Task, prompts: Sequence[Prompt], limit: int, merge: bool = True) -> list[Level]:
    """Return all states that can be reached from the prompts, level by level; the first level's are the prompts.

    States of one prompt and one level whose `Task.state_key` is the same are merged, where the task declares one.

    Args:
        task: the rules. Where it declares `mean_reward`, that is what is paid.
        prompts: of the episodes.
        limit: the most (state, action) pairs that are enumerated.
        merge: whether states are merged.

    Raises:
        InvalidSetting: there are more.
    """
    task = paid_on_average(task)
    if not merge:
        task = replace(task, state_key=None)
    episodes = task.blank(len(prompts))
    episodes.begin(..., prompts)
    found: list[Level] = []
    origin: IntArray = np.arange(len(prompts))
    total = len(prompts)
    while len(episodes):
        _check(task, total, limit, len(found), len(prompts))
        level, episodes, next_origin = _expanded(task, episodes, origin, limit // task.size - total)
        found.append(level)
        origin, total = next_origin, total + len(episodes)
    return found


def paid_on_average(task: Task) -> Task:
    """Return the task that pays what this one pays on average, where chance has a part in it."""
    return task if task.mean_reward is None else replace(task, reward=task.mean_reward)


def _expanded(task: Task, episodes: Episodes, origin: IntArray, room: int) -> tuple[Level, Episodes, IntArray]:
    """Return a level, and the states that follow it with the prompts that they follow."""
    n, size = len(episodes), task.size
    rewards, following, success = np.zeros((n, size)), np.full((n, size), BARRED, np.int32), np.zeros((n, size))
    metrics = replace(task, metrics={name: one for name, one in task.metrics.items() if name == "success"})
    parts, origins, keys, places = [], [], [], []
    many = 0
    for pairs in _chunks(task, episodes):
        rows, actions = np.divmod(pairs, size)
        part = episodes.take(rows)
        rewards.reshape(-1)[pairs] = task.step(part, actions)
        following.reshape(-1)[pairs] = END
        if metrics.metrics and part.finished.any():
            ended = np.flatnonzero(part.finished)
            success.reshape(-1)[pairs[ended]] = metrics.measure(part.take(ended))["success"]
        going = np.flatnonzero(~part.finished)
        if not len(going):
            continue
        if len(going) < len(pairs):
            part, pairs, rows = part.take(going), pairs[going], rows[going]
        own = origin[rows]
        if task.state_key is not None:
            key = _joint(own, np.asarray(task.state_key(part)))
            kept, inverse = _distinct(key)
            parts.append(part.take(kept))
            origins.append(own[kept])
            keys.append((own[kept], np.asarray(task.state_key(parts[-1]))))
            places.append((pairs, inverse + many))
            many += len(kept)
        else:
            parts.append(part)
            origins.append(own)
            places.append((pairs, many + np.arange(len(pairs))))
            many += len(pairs)
            if many > room:
                break  # the caller says so
    if not parts:
        return Level(episodes, origin, rewards, following, success), task.blank(0), np.zeros(0, np.int64)
    after, after_origin = _joined(parts), np.concatenate(origins)
    names: IntArray = np.arange(many)
    if keys and len(parts) > 1:
        key = _joint(*(np.concatenate(column) for column in zip(*keys)))
        kept, names = _distinct(key)
        after, after_origin = after.take(kept), after_origin[kept]
    for pairs, place in places:
        following.reshape(-1)[pairs] = names[place]
    return Level(episodes, origin, rewards, following, success), after, after_origin


def _chunks(task: Task, episodes: Episodes) -> Iterator[IntArray]:
    """Yield all (state, action) pairs that the mask allows, numbered `state * size + action`, some at a time."""
    size = task.size
    step = max(1, CHUNK // size)
    for first in range(0, len(episodes), step):
        rows = np.arange(first, min(first + step, len(episodes)))
        pairs = np.arange(first * size, (rows[-1] + 1) * size)
        yield pairs if task.mask is None else pairs[task.action_mask(episodes.take(rows)).ravel()]


def _joint(origin: IntArray, key: Array) -> IntArray:
    """Return one number for each pair of a prompt and a key, `(n,)` int64."""
    if not len(origin) or not (origin != origin[0]).any():
        return key.astype(np.int64)
    low = int(key.min())
    span = int(key.max()) - low + 1
    if span < 2**62 // (int(origin.max()) + 1):
        joint: IntArray = origin * span + (key - low)
        return joint
    return origin * len(key) + np.unique(key, return_inverse=True)[1]


def _distinct(keys: IntArray) -> tuple[IntArray, IntArray]:
    """Return where each distinct key is found, `(u,)`, and which of them each key is, `(n,)`."""
    low = int(keys.min())
    span = int(keys.max()) - low + 1
    if span > 4 * len(keys) + 1024:
        _, where, inverse = np.unique(keys, return_index=True, return_inverse=True)
        return where, inverse
    shifted = keys - low  # a table of all keys between costs a tenth of sorting
    table = np.full(span, -1, np.int64)
    table[shifted[::-1]] = np.arange(len(keys) - 1, -1, -1)  # the first of each remains
    where = table[table >= 0]
    table[table >= 0] = np.arange(len(where))
    return where, table[shifted]


def _joined(parts: Sequence[Episodes]) -> Episodes:
    """Return the rows of several Episodes of one shape, one after the other."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    columns = zip(*((p.tokens, p.target, p.length, p.finished, p.seed) for p in parts))
    return Episodes(first.vocabulary, first.max_prompt, *map(np.concatenate, columns))


def _check(task: Task, total: int, limit: int, written: int, prompts: int) -> None:
    if total * task.size > limit:
        key = (
            ""
            if task.state_key is not None
            else (
                " The task declares no state_key, so that every text is a state of its own: declare what its future "
                "depends on, Task(..., state_key=...)."
            )
        )
        raise InvalidSetting(
            f"more than {limit:,} pairs of a state and an action: {total:,} states after {written} of {task.horizon} "
            f"tokens, of {prompts:,} prompts and {task.size} actions.{key} A shorter horizon, fewer prompts "
            "(prompts=[...]) or a higher limit= helps, too."
        )
