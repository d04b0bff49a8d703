"""Delay: write a given text whose tokens are paid some steps late."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.envs.text_gen import text_gen
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting, InvalidTarget, require_natural
from textgym.task import Task

LONGEST_KEY = 61  # tokens that a key of 64 bits can tell apart; a longer delay has no key, so that nothing merges


def delay(target: str = "abcabcab", alphabet: str | None = None, delay: int = 3) -> Task:
    """Write a given text whose tokens are paid some steps late.

    ## Description
    Credit assignment: each token of the text is judged in its own place, whatever stands before it, but the pay
    comes `delay` steps later, among the pay of other tokens. With 0 each token is paid at once; with the longest
    delay all are paid together, with the last one.

    ## Prompts
    None: the text is the same in every episode.

    ## Actions
    One letter of the alphabet: `Discrete(len(alphabet))`.

    ## Observation
    `Box(0, pad, (len(target),), int32)`: what has been written, then pads.

    ## Reward
    A right token earns 1/len(target), `delay` steps after it is written; what is still due when the text ends is
    paid with the last token. The target earns 1 in all.

    ## Episode end
    Termination: as many tokens as the target has.

    ## Arguments
    - `target`: the text.
    - `alphabet`: the letters; the target's own, in order of first appearance, if left out.
    - `delay`: steps from a token to its pay, 0 to len(target) - 1. A longer one would be the same as the longest and is
      refused, so that no two settings are one task.

    Raises `InvalidTarget` (empty, or not writable with the alphabet), `InvalidVocabulary` (no letters, a letter twice),
    `InvalidSetting` (a delay that is no integer of at least 0, or longer than the text allows).

    ## Version history
    v0: initial version.
    """
    if not isinstance(target, str):
        raise InvalidTarget(f"target={target!r} is no text. Give one string.")
    require_natural(delay=delay)
    task = text_gen(target, alphabet)
    if delay >= task.horizon:
        raise InvalidSetting(
            f"delay={delay} is longer than a text of {task.horizon} tokens can tell apart. Give at most "
            f"{task.horizon - 1}: all is then paid with the last token."
        )
    key = PendingPay(delay) if delay <= LONGEST_KEY else None
    return replace(task, reward=DelayedPay(delay), state_key=key)


@dataclass(frozen=True)
class DelayedPay:
    """1/len(target) for each right token whose pay is due: `delay` steps after it, or with the last token."""

    delay: int

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        age = ages(episodes)
        due = (age == self.delay) | ((age < self.delay) & episodes.full[:, None])
        paid: FloatArray = (right_tokens(episodes) & due).sum(axis=1) / episodes.horizon
        return paid


@dataclass(frozen=True)
class PendingPay:
    """Which of the last `delay` tokens were right, so are still to be paid, and whether all were, so far."""

    delay: int

    def __call__(self, episodes: Episodes) -> IntArray:
        """Return `(n,)` int64: a bit for each of the tokens, the newest the second lowest; success needs the lowest."""
        age = ages(episodes)
        pending = right_tokens(episodes) & (age < self.delay)  # (n, horizon)
        bits: IntArray = (pending << np.clip(age, 0, self.delay)).sum(axis=1)
        return 2 * bits + episodes.faultless


def ages(episodes: Episodes) -> IntArray:
    """Return how many steps ago each token of a completion was written, `(n, horizon)`; below 0 where none is yet."""
    age: IntArray = episodes.length[:, None] - 1 - np.arange(episodes.horizon)
    return age


def right_tokens(episodes: Episodes) -> BoolArray:
    """Return which tokens are the target's in their place, `(n, horizon)`; False where none is written yet."""
    right: BoolArray = episodes.completion == episodes.target
    return right
