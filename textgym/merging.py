"""Whether states that a task's key merges are one, seen on texts of chance, one token ahead: by induction, for ever."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from textgym.agreement import LawBroken
from textgym.arrays import Array, IntArray
from textgym.episodes import Episodes
from textgym.frontier import paid_on_average
from textgym.rollouts import likely_actions
from textgym.task import Task

PROMPTS, TEXTS, ACTIONS = 3, 300, 16


class Seeded(Protocol):
    """A task and the seed of the texts that it is seen on."""

    @property
    def task(self) -> Task:
        """The task."""

    @property
    def seed(self) -> int:
        """The seed."""


def equal_keys_agree(case: Seeded) -> None:
    """Texts of one prompt, length and `state_key` agree on all that is to come.

    They must have the same mask; and after each token the same reward, end and success, and equal keys again. It then
    follows for all further tokens. Texts are drawn by chance, some of them near the target; of many actions, some are
    tried.
    """
    task = case.task
    if task.state_key is None:
        return
    rng = np.random.default_rng(case.seed)
    prompts = task.draw([rng] * PROMPTS)
    which = np.arange(TEXTS) % PROMPTS
    episodes = task.blank(TEXTS)
    episodes.begin(..., [prompts[k] for k in which])
    task = paid_on_average(task)
    while (rows := np.flatnonzero(~episodes.finished)).size:
        part = episodes.take(rows)
        first = _first_alike(which[rows], task, part)
        masks = task.action_mask(part)
        _compare("the mask", masks, masks[first], part, first)
        for action in rng.permutation(task.size)[:ACTIONS]:
            _check_action(task, part, first, int(action), masks[:, action])
        task.step(part, _obeying(likely_actions(task, part, rng), masks))
        episodes.put(rows, part)


def _check_action(task: Task, part: Episodes, first: IntArray, action: int, allowed: Array) -> None:
    rows = np.flatnonzero(allowed)
    if not len(rows):
        return
    at = np.full(len(part), -1)
    at[rows] = np.arange(len(rows))
    alike, before = at[first[rows]], part.take(rows)  # an equal mask allows it in the other, too
    after = part.take(rows)
    rewards = task.step(after, np.full(len(rows), action))
    token = task.vocabulary.show(action)
    for name, values in (("the reward", rewards), ("whether it ends", after.finished)):
        _compare(f"{name} of {token!r}", values, values[alike], before, alike)
    ended, going = (np.flatnonzero(kind) for kind in (after.finished, ~after.finished))
    if len(ended) and "success" in task.metrics:
        success = np.zeros(len(rows))
        success[ended] = task.measure(after.take(ended))["success"]
        _compare(f"success after {token!r}", success, success[alike], before, alike)
    if len(going) and task.state_key is not None:
        keys = np.zeros(len(rows), np.int64)
        keys[going] = task.state_key(after.take(going))
        _compare(f"the key after {token!r}", keys, keys[alike], before, alike)


def _first_alike(which: IntArray, task: Task, part: Episodes) -> IntArray:
    """Return for each text the first one of the same prompt and key, `(n,)`."""
    assert task.state_key is not None
    keys = np.asarray(task.state_key(part))
    if keys.shape != (len(part),) or keys.dtype.kind not in "iu":
        raise LawBroken(
            f"equal_keys_agree: state_key gave {keys.dtype} of shape {keys.shape}; it must give integers, "
            f"({len(part)},)."
        )
    _, where, inverse = np.unique(np.stack([which, keys], axis=1), axis=0, return_index=True, return_inverse=True)
    first: IntArray = where[inverse.reshape(-1)]
    return first


def _compare(what: str, mine: Array, theirs: Array, part: Episodes, first: IntArray) -> None:
    close = np.isclose(mine, theirs, rtol=1e-9, atol=1e-12) if mine.dtype.kind == "f" else mine == theirs
    if not close.all():
        row = int(np.flatnonzero(~close.reshape(len(close), -1).all(axis=1))[0])
        texts = part.text(row), part.text(int(first[row]))
        raise LawBroken(
            f"equal_keys_agree: the texts {texts[0]!r} and {texts[1]!r} have the same state_key, but {what} differs. "
            "The key must tell apart what differs later; leave state_key out where nothing merges."
        )


def _obeying(actions: IntArray, masks: Array) -> IntArray:
    """Return the actions, the first allowed one where a mask bars one."""
    allowed = masks[np.arange(len(actions)), actions]
    return np.where(allowed, actions, masks.argmax(axis=1))
