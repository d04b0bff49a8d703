"""Advisers of rules: one who knows the environment, one who errs, one who misleads, and two who say nothing of use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.describing import Describer
from textgym.errors import InvalidSetting, require_natural, require_share
from textgym.scenes.scene import Rule, Worth
from textgym.speech import Speech

REMARKS = (
    "The weather is fine today.",
    "I had soup for lunch.",
    "Somebody should water the plants.",
    "今天天气不错。",
    "The library closes at six.",
)


class Opinion(NamedTuple):
    """What somebody thinks of some states."""

    actions: IntArray  # (n,) what is to be done
    worths: FloatArray  # (n,) from 0 to 1


class Judge(Protocol):
    """Who has an opinion on states that are told in words."""

    def __call__(self, texts: Sequence[str]) -> Opinion:
        """Return what is thought of the states, one text each."""


@dataclass(frozen=True)
class Expert:
    """A judge who knows what is best, and hears nothing but the descriptions.

    Args:
        describer: who speaks to the expert.
        rule: from what a description says to actions.
        worth: from the same to how good states are.
    """

    describer: Describer
    rule: Rule
    worth: Worth

    def __call__(self, texts: Sequence[str]) -> Opinion:
        """Return the rule's opinion; raises `InvalidDescription` where the describer did not say a text."""
        numbers = np.stack([self.describer.read(text) for text in texts])
        return Opinion(self.rule(numbers), self.worth(numbers))


@dataclass(frozen=True)
class Noisy:
    """A judge who is wrong with some probability: another action, each equally likely, and any worth.

    The noise is a function of the state's text and the seed, so that one state always gets one answer: an error that
    is repeated cannot be averaged away by asking again, as a language model's cannot.

    Args:
        judge: whose opinion it would be.
        actions: how many there are.
        noise: the probability of being wrong.
        seed: of the noise.
    """

    judge: Judge
    actions: int
    noise: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_share(noise=self.noise)
        require_natural(seed=self.seed)
        if self.actions < 2:
            raise InvalidSetting(f"of {self.actions} actions none can be named in another's place.")

    def __call__(self, texts: Sequence[str]) -> Opinion:
        """Return the judge's opinion where the text's chance is kind, another one where not."""
        actions, worths = self.judge(texts)
        chance = np.stack([text_chance(text, self.seed) for text in texts])  # (n, 3)
        wrong = chance[:, 0] < self.noise
        other = (actions + 1 + (chance[:, 1] * (self.actions - 1)).astype(np.int64)) % self.actions
        return Opinion(np.where(wrong, other, actions), np.where(wrong, chance[:, 2], worths))


@dataclass(frozen=True)
class Adversary:
    """A judge who says the opposite: of actions by a table, of worths what is left to 1."""

    judge: Judge
    opposite: tuple[int, ...]

    def __call__(self, texts: Sequence[str]) -> Opinion:
        """Return the reverse of the judge's opinion."""
        actions, worths = self.judge(texts)
        return Opinion(np.array(self.opposite)[actions], 1 - worths)


@dataclass(frozen=True)
class Spoken:
    """The adviser who puts a judge's opinion into words."""

    judge: Judge
    speech: Speech

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Return one advice a text."""
        actions, worths = self.judge(texts)
        return [self.speech.say(action, worth) for action, worth in zip(actions.tolist(), worths.tolist())]


def irrelevant(texts: Sequence[str]) -> list[str]:
    """Return remarks that advise nothing, each chosen by the state's text."""
    return [REMARKS[int(text_chance(text)[0] * len(REMARKS))] for text in texts]


def silent(texts: Sequence[str]) -> list[str]:
    """Return nothing for each text."""
    return [""] * len(texts)


def text_chance(text: str, seed: int = 0) -> FloatArray:
    """Return three numbers of [0, 1) that look random and depend on a text and a seed alone, `(3,)`."""
    digest = hashlib.blake2b(f"{seed}:{text}".encode(errors="surrogatepass"), digest_size=24).digest()
    drawn: FloatArray = (np.frombuffer(digest, "<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn
