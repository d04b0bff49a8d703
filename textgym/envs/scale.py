"""Scale: write a given text under rewards that are large or small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from textgym.arrays import FloatArray
from textgym.envs.text_gen import text_gen
from textgym.episodes import Episodes
from textgym.errors import LARGEST_REWARD, InvalidSetting, is_payable
from textgym.rewards import right_share
from textgym.task import Task


def scale(
    target: str | Sequence[str] = "signal", alphabet: str | Sequence[str] | None = None, factor: float = 1000.0
) -> Task:
    """Write a given text under rewards that are large or small.

    ## Description
    TextGen with every reward times a factor, as bsuite's scale experiments have it (Osband et al., 2020). The best
    policy is the same for every factor; a learner whose step sizes, clipping or losses suppose returns near 1 is
    not. Noise-v0 with no noise is this task at factor 1.

    ## Prompts
    One target: none. Several: the target's tokens, each target equally likely.

    ## Actions
    One token of the alphabet: `Discrete(len(alphabet))`.

    ## Observation
    `Box(0, pad, (len(target),), int32)`: what has been written, then pads. With several targets the prompt stands
    before it: `(2 * longest target,)`.

    ## Reward
    +factor/len(target) for the right token in its place, -factor/len(target) for a wrong one. The target earns
    `factor` in all.

    ## Episode end
    Termination: as many tokens as the target has.

    ## Arguments
    - `target`: the text, or a list of texts.
    - `alphabet`: the tokens that can be written; the targets' characters in order of first appearance if left out.
    - `factor`: what rewards are multiplied by.

    Raises `InvalidTarget` (empty, or not writable with the alphabet), `InvalidVocabulary` (duplicate tokens),
    `InvalidSetting` (a factor that is not positive, or above 1e30).

    ## Version history
    v0: initial version.
    """
    if not is_payable(factor) or factor <= 0:
        raise InvalidSetting(f"factor={factor!r} scales no reward. Give a number above 0, {LARGEST_REWARD:g} at most.")
    return replace(text_gen(target, alphabet), reward=Scaled(float(factor)))


@dataclass(frozen=True)
class Scaled:
    """The share of a right or wrong token, times a factor."""

    factor: float

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        return self.factor * right_share(episodes)
