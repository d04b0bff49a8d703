"""Trap: a small reward at once leads away from a large one later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from textgym.arrays import FloatArray
from textgym.ends import EitherEnd, reached_target_length, wrote_eos
from textgym.envs.text_gen import text_gen
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting, is_finite
from textgym.prompts import ListedPrompts
from textgym.rewards import exact_match
from textgym.task import Task


def trap(
    target: str | Sequence[str] = "banana", alphabet: str | Sequence[str] | None = None, bait: float = 0.1
) -> Task:
    """Write a given text, though stopping at once is paid, a little.

    ## Description
    The text is paid as a whole, with its last token; the end token is paid a little, wherever it is written, and
    ends the episode. A learner meets the bait in most episodes and the text in hardly any, so that one that follows
    what has paid so far settles for the bait: a local optimum, as in the deceptive chains that exploration methods
    are measured on (Strens, 2000). By default chance writes the text once in 4**6 = 4096 tries.

    ## Prompts
    One target: none. Several: the target's tokens, each target equally likely.

    ## Actions
    One token of the alphabet, or the end token `$`: `Discrete(len(alphabet) + 1)`.

    ## Observation
    `Box(0, pad, (len(target),), int32)`: what has been written, then pads. With several targets the prompt stands
    before it: `(2 * longest target,)`.

    ## Reward
    1 with the last token if the text is the target; `bait` for the end token; else 0.

    ## Episode end
    Termination: the end token, or as many tokens as the target has. The target is written without an end token.

    ## Arguments
    - `target`: the text, or a list of texts.
    - `alphabet`: the tokens that can be written; the targets' characters in order of first appearance if left out.
    - `bait`: what the end token pays, between 0 and 1.

    Raises `InvalidTarget` (empty, or not writable with the alphabet), `InvalidVocabulary` (duplicate tokens, `$`
    among them), `InvalidSetting` (a bait that is not between 0 and 1).

    ## Version history
    v0: initial version.
    """
    if not is_finite(bait) or not 0 < bait < 1:
        raise InvalidSetting(
            f"bait={bait!r} baits nobody: the text pays 1, and nothing pays 0. Give a number between 0 and 1."
        )
    task = text_gen(target, alphabet, eos="$")
    listed = task.prompts
    assert isinstance(listed, ListedPrompts)
    prompts = ListedPrompts(tuple(prompt._replace(target=prompt.target[:-1]) for prompt in listed.prompts))
    return replace(
        task,
        prompts=prompts,
        reward=Baited(float(bait)),
        horizon=prompts.max_target,
        ends=EitherEnd((wrote_eos, reached_target_length)),
    )


@dataclass(frozen=True)
class Baited:
    """1 for the target with its last token, something for the end token."""

    bait: float

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        return np.where(wrote_eos(episodes), self.bait, exact_match(episodes))
