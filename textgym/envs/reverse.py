"""Reverse: write the prompt backwards."""

from __future__ import annotations

from textgym.arrays import IntArray
from textgym.envs.copy import string_task
from textgym.task import Task


def reverse(alphabet: str = "abcdefgh", min_length: int = 1, max_length: int = 6, reward: str = "shaped") -> Task:
    """Write the prompt backwards, then the end token.

    ## Description
    A string is drawn and shown; the agent writes it back to front. Every token depends on a prompt token at a
    different distance, so a policy that counts positions fails: it must attend.

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
    - `alphabet`: the letters.
    - `min_length`, `max_length`: of the string.
    - `reward`: `shaped`, `token` or `terminal`.

    Raises `InvalidVocabulary` (no letters, a letter twice, `$` among them), `InvalidSize` (a length below 1),
    `InvalidSetting` (`min_length` above `max_length`), `UnknownName` (a reward that does not exist).

    ## Version history
    v0: initial version.
    """
    return string_task(alphabet, min_length, max_length, reward, reversed_tokens)


def reversed_tokens(string: IntArray) -> IntArray:
    """Return the string back to front."""
    return string[::-1]
