"""Noise: write a given text under rewards that are noisy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from textgym.arrays import FloatArray
from textgym.chance import gaussian
from textgym.envs.text_gen import text_gen
from textgym.episodes import Episodes
from textgym.errors import LARGEST_REWARD, InvalidSetting, is_payable
from textgym.prompts import ListedPrompts, SeededPrompts
from textgym.rewards import right_share
from textgym.task import Task


def noise(
    target: str | Sequence[str] = "signal", alphabet: str | Sequence[str] | None = None, noise: float = 1.0
) -> Task:
    """Write a given text under rewards that are noisy.

    ## Description
    TextGen with Gaussian noise on every reward, as bsuite's noise experiments have it (Osband et al., 2020): an agent
    must average over many episodes before it can tell a right token from a wrong one. Noise depends on the episode's
    seed and the step alone, so that the same seed gives the same rewards.

    ## Prompts
    One target: none. Several: the target's tokens, each target equally likely. Each episode draws a seed, which is
    not shown.

    ## Actions
    One token of the alphabet: `Discrete(len(alphabet))`.

    ## Observation
    `Box(0, pad, (len(target),), int32)`: what has been written, then pads. With several targets the prompt stands
    before it: `(2 * longest target,)`.

    ## Reward
    +1/len(target) for the right token in its place, -1/len(target) for a wrong one, and a draw from the normal
    distribution with mean 0 and deviation `noise`. The target earns 1 in expectation.

    ## Episode end
    Termination: as many tokens as the target has.

    ## Arguments
    - `target`: the text, or a list of texts.
    - `alphabet`: the tokens that can be written; the targets' characters in order of first appearance if left out.
    - `noise`: the deviation of a reward; 0 for none.

    Raises `InvalidTarget` (empty, or not writable with the alphabet), `InvalidVocabulary` (duplicate tokens),
    `InvalidSetting` (a deviation that is negative, or above 1e30).

    ## Version history
    v0: initial version.
    """
    if not is_payable(noise) or noise < 0:
        raise InvalidSetting(f"noise={noise!r} is no deviation. Give a number from 0 to {LARGEST_REWARD:g}.")
    task = text_gen(target, alphabet)
    listed = task.prompts
    assert isinstance(listed, ListedPrompts)
    return replace(task, prompts=SeededPrompts(listed), reward=Noisy(float(noise)), mean_reward=right_share)


@dataclass(frozen=True)
class Noisy:
    """The share of a right or wrong token, and noise."""

    deviation: float

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        return right_share(episodes) + self.deviation * gaussian(episodes.seed, episodes.length)
