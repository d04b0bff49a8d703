"""Lock: find a secret code that pays only when it is whole."""

from __future__ import annotations

import numpy as np

from textgym.ends import wrote_eos, wrote_error
from textgym.episodes import Prompt
from textgym.errors import require_flag, require_letters, require_natural, require_tokens
from textgym.prompts import ListedPrompts
from textgym.rewards import exact_match, key_of
from textgym.task import Task
from textgym.vocabulary import Vocabulary


def lock(alphabet: str = "0123456789", length: int = 3, code: int = 0, end_on_error: bool = False) -> Task:
    """Find a secret code that pays only when it is whole.

    ## Description
    Exploration, and nothing else: one string is right, no reward says how near a try was, and nothing is shown.
    Uniform writing succeeds with probability len(alphabet)**-length exactly, 1/1000 at the defaults, so that length
    and alphabet set how many episodes an agent needs before it has anything to learn from.

    ## Prompts
    None. The secret is the same in every episode.

    ## Actions
    One letter of the alphabet: `Discrete(len(alphabet))`.

    ## Observation
    `Box(0, pad, (length,), int32)`: what has been written, then pads.

    ## Reward
    1 with the last token if all are the secret's, else 0.

    ## Episode end
    Termination: `length` tokens. With `end_on_error`, the first wrong token, which tells how far a try was right.

    ## Arguments
    - `alphabet`: the letters.
    - `length`: of the secret.
    - `code`: the seed that the secret is drawn with, each string equally likely: another code, another lock.
    - `end_on_error`: end the episode with the first wrong token.

    Raises `InvalidVocabulary` (no letters, a letter twice), `InvalidSize` (a length below 1), `InvalidSetting` (a code
    that is no integer of at least 0, an `end_on_error` that is no truth value).

    ## Version history
    v0: initial version.
    """
    require_letters(alphabet=alphabet)
    require_tokens(length=length)
    require_natural(code=code)
    require_flag(end_on_error=end_on_error)
    vocabulary = Vocabulary(tuple(alphabet))
    secret = np.random.default_rng(code).integers(len(alphabet), size=length, dtype=np.int32)
    prompts = ListedPrompts((Prompt(np.array([], np.int32), secret),))
    ends = wrote_error if end_on_error else wrote_eos  # without an end token, only full ones end
    return Task(vocabulary, prompts, exact_match, length, ends=ends, state_key=key_of(exact_match))
