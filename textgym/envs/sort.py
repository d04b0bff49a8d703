"""Sort: write the prompt's letters in order."""

from __future__ import annotations

import numpy as np

from textgym.arrays import IntArray
from textgym.envs.copy import string_task
from textgym.task import Task


def sort(alphabet: str = "abcdef", min_length: int = 1, max_length: int = 4, reward: str = "shaped") -> Task:
    """Write the prompt's letters in order, then the end token.

    ## Description
    A string is drawn and shown; the agent writes its letters in the order of the alphabet, each as often as it
    stands there. No token of the answer stands at a fixed distance: a policy must count letters and keep track of
    those that it has written.

    ## Prompts
    Strings of `min_length` to `max_length` letters, each length equally likely.

    ## Actions
    One letter of the alphabet, or the end token `$`: `Discrete(len(alphabet) + 1)`.

    ## Observation
    `Box(0, pad, (2 * max_length + 1,), int32)`: the prompt, right-aligned, then what has been written.

    ## Reward
    By name: `shaped` (1/len(target) for each token of a faultless beginning; the end token counts), `token`,
    `terminal`.

    ## Episode end
    Termination: the end token, or `max_length + 1` tokens.

    ## Arguments
    - `alphabet`: the letters, in the order that strings are sorted by: "ba" puts b before a.
    - `min_length`, `max_length`: of the string.
    - `reward`: `shaped`, `token` or `terminal`.

    Raises `InvalidVocabulary` (no letters, a letter twice, `$` among them), `InvalidSize` (a length below 1),
    `InvalidSetting` (`min_length` above `max_length`), `UnknownName` (a reward that does not exist).

    ## Version history
    v0: initial version.
    """
    return string_task(alphabet, min_length, max_length, reward, sorted_tokens)


def sorted_tokens(string: IntArray) -> IntArray:
    """Return the string in the order of its ids, which is the alphabet's."""
    return np.sort(string)
