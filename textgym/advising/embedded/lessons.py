"""What the embedded language model is taught, and what is kept from it, so that its advice can be judged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgym.advising.embedded import FOLDER, KNOWN, candidates_of, prompt_of
from textgym.advising.language_model import LanguageModelAdvisor
from textgym.advising.spoken import Expert, text_chance
from textgym.arrays import FloatArray, IntArray
from textgym.describing import Describer
from textgym.scenes.grids import frozen_lake
from textgym.scenes.scene import Scene

FORMS = ("compact", "english", "chinese")
LANGUAGES = ("english", "chinese")
HELD_OUT = 1 / 8  # of the states
LISTED = 5_000  # texts that are all taught; of more than that some are drawn
DRAWN = 24_000


@dataclass(frozen=True)
class Lessons:
    """States of one scene, told in one form, and what the expert who hears the same texts thinks of them.

    Args:
        title: the scene's, in `KNOWN`.
        form: how states are told: compact, english or chinese.
        texts: `n` of them.
        actions: the expert's, `(n,)`.
        worths: `(n,)`, from 0 to 1.
        held_out: which are never taught, `(n,)`: decided by what a text says, so that a state that is held out in one
            form is held out in all that say the same.
    """

    title: str
    form: str
    texts: tuple[str, ...]
    actions: IntArray
    worths: FloatArray
    held_out: IntArray

    @property
    def scene(self) -> Scene:
        """The scene that the states are of."""
        return KNOWN[self.title]()

    def answers(self, language: str) -> list[str]:
        """Return the expert's words about each state."""
        speech = self.scene.speeches[language]
        return [speech.say(action, worth) for action, worth in zip(self.actions.tolist(), self.worths.tolist())]


def lessons(title: str, form: str) -> Lessons:
    """Return the lessons of a scene in a form: all that it can say, or many that are drawn, most near the middle."""
    scene = KNOWN[title]()
    describer = scene.describers[form]
    texts = tuple(_texts(title, describer))
    numbers = [describer.read(text) for text in texts]
    actions, worths = Expert(describer, scene.rule, scene.worth)(texts)
    held = [text_chance(f"{title}: {np.round(one, 6).tolist()}")[0] < HELD_OUT for one in numbers]
    return Lessons(title, form, texts, actions, worths, np.array(held))


def all_lessons() -> Iterator[Lessons]:
    """Yield the lessons of each scene in each form."""
    for title, form in itertools.product(KNOWN, FORMS):
        yield lessons(title, form)


def _texts(title: str, describer: Describer) -> list[str]:
    """Return what a describer may say of states in which somebody acts, each once."""
    sizes = [len(scale.phrases) for scale in describer.scales]
    if np.prod(sizes) <= LISTED:
        places: Sequence[tuple[int, ...]] = list(itertools.product(*map(range, sizes)))
    else:
        rng = np.random.default_rng(0)
        near = rng.random((DRAWN, 1)) * (rng.random((DRAWN, len(sizes))) - 0.5) + 0.5  # from 0 to 1
        places = [*dict.fromkeys(map(tuple, (near * sizes).astype(np.int64).tolist()))]
    if title.startswith("FrozenLake"):
        squares: Any = frozen_lake("4x4" if "4x4" in title else "8x8")[0].desc
        places = [place for place in places if squares[place] not in (b"H", b"G")]  # an episode ends there
    said = [scale.phrases for scale in describer.scales]
    return [describer.between.join(phrases[k] for phrases, k in zip(said, place)) + describer.end for place in places]


def accuracy(taught: Lessons, language: str, held_out: bool = True, most: int | None = None) -> tuple[float, int]:
    """Return how often the embedded model advises what the expert does, in states that were held out or not.

    Args:
        taught: the lessons.
        language: in which it answers.
        held_out: of which states.
        most: how many are asked about; None for all.

    Returns:
        The share, and of how many states; the share is 0 where there are none.
    """
    speech = taught.scene.speeches[language]
    chosen = np.flatnonzero(taught.held_out == held_out)[:most]
    adviser = LanguageModelAdvisor(str(FOLDER), candidates_of(speech), prompt_of(taught.title))
    said = [speech.advised(answer) for answer in adviser([taught.texts[i] for i in chosen.tolist()])]
    right = [mine == expert for mine, expert in zip(said, taught.actions[chosen].tolist())]
    return sum(right) / max(1, len(right)), len(right)
