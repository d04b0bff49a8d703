"""IncreasingNumbers: write numbers, each larger than the one before."""

from __future__ import annotations

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.episodes import Episodes, Prompt
from textgym.errors import InvalidSetting, require_tokens
from textgym.prompts import ListedPrompts
from textgym.task import Task
from textgym.vocabulary import Vocabulary


def increasing_numbers(largest: int = 9, horizon: int = 6) -> Task:
    """Write numbers, each larger than the one before.

    ## Description
    RL4LMs' synthetic task (`increasing_numbers`; Ramamurthy et al., 2023) over a vocabulary of numbers alone. Many
    texts are right, and each token narrows what may follow: a writer that begins with a large number cannot finish.

    ## Prompts
    None.

    ## Actions
    A number from 0 to `largest`, as one word: `Discrete(largest + 1)`.

    ## Observation
    `Box(0, pad, (horizon,), int32)`: the numbers written, then pads.

    ## Reward
    With the last token, how many numbers stand in strictly increasing order from the first one on, before the first
    fault, divided by `horizon`. RL4LMs divides by the larger of the text's tokens and half of its setting `min_tokens`,
    20 for texts of 20 tokens; all texts here have `horizon` tokens, which is the larger.

    ## Episode end
    Termination: `horizon` numbers. `is_success` says whether all of them are in order.

    ## Arguments
    - `largest`: the largest number that can be written.
    - `horizon`: how many numbers are written, at most `largest + 1`.

    Raises `InvalidSize` (a number or a horizon below 1), `InvalidSetting` (a horizon above `largest + 1`).

    ## Version history
    v0: initial version.
    """
    require_tokens(largest=largest, horizon=horizon)
    if horizon > largest + 1:
        raise InvalidSetting(
            f"horizon={horizon} is more than the {largest + 1} numbers from 0 to {largest} that can stand in order. "
            f"Give at most {largest + 1}, or a larger `largest`."
        )
    prompt = Prompt(np.zeros(0, np.int32), np.arange(horizon, dtype=np.int32))
    return Task(
        Vocabulary.from_words(map(str, range(largest + 1))),
        ListedPrompts((prompt,)),
        reward=share_in_order,
        horizon=horizon,
        metrics={"success": all_in_order},
        state_key=order_key,
    )


def in_order(episodes: Episodes) -> IntArray:
    """Return how many numbers stand in increasing order before the first fault, `(n,)`; a number's id is itself."""
    written = episodes.completion[:, : episodes.longest]
    rising = written[:, 1:] > written[:, :-1]  # (n, longest - 1)
    rising &= np.arange(1, episodes.longest) < episodes.length[:, None]  # pads are above every number
    ordered: IntArray = np.minimum(episodes.length, 1 + np.logical_and.accumulate(rising, axis=1).sum(axis=1))
    return ordered


def share_in_order(episodes: Episodes) -> FloatArray:
    """With the last token, the share of numbers in order before the first fault; else 0."""
    return np.where(episodes.finished, in_order(episodes) / episodes.horizon, 0.0)


def all_in_order(episodes: Episodes) -> BoolArray:
    """Whether every number is larger than the one before."""
    ordered: BoolArray = in_order(episodes) == episodes.length
    return ordered


def order_key(episodes: Episodes) -> IntArray:
    """The last number where all are in order, else how many are, past all numbers: what the reward still depends on."""
    begun = episodes.length > 0
    last = np.where(begun, episodes.newest, 0)
    return np.where(all_in_order(episodes), last, episodes.vocabulary.size + in_order(episodes))
