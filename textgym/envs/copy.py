"""Copy: write the prompt again."""

from __future__ import annotations

from collections.abc import Callable

from textgym.arrays import IntArray
from textgym.errors import require_letters
from textgym.prompts import RandomStrings
from textgym.rewards import REWARDS, key_of
from textgym.task import Task
from textgym.vocabulary import Vocabulary


def copy(alphabet: str = "abcdefgh", min_length: int = 1, max_length: int = 6, reward: str = "shaped") -> Task:
    """Write the prompt again, then the end token.

    ## Description
    A string is drawn and shown; the agent writes it once more. Every token stands as far behind its original as
    the string is long, so a policy must look back by a distance that it has to find out.

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
    return string_task(alphabet, min_length, max_length, reward, same_tokens)


def string_task(
    alphabet: str, min_length: int, max_length: int, reward: str, answer: Callable[[IntArray], IntArray]
) -> Task:
    """Return the task of answering a random string with another of the same length."""
    require_letters(alphabet=alphabet)
    vocabulary = Vocabulary((*alphabet, "$"), eos="$")
    prompts = RandomStrings(vocabulary, min_length, max_length, answer)
    paid = REWARDS[reward]
    return Task(vocabulary, prompts, paid, horizon=max_length + 1, state_key=key_of(paid))


def same_tokens(string: IntArray) -> IntArray:
    """Return the string itself."""
    return string
