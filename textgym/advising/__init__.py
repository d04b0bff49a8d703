"""Advisers: from descriptions of states to advice in words, and their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textgym.advising import embedded
from textgym.advising.asking import Advisor, Consultation
from textgym.advising.endpoint import Endpoint
from textgym.advising.language_model import LanguageModelAdvisor
from textgym.advising.spoken import Adversary, Expert, Noisy, Spoken, irrelevant, silent
from textgym.describing import Describer
from textgym.errors import Names
from textgym.places import folder_of
from textgym.scenes.scene import Scene


@dataclass(frozen=True)
class Asked:
    """What an adviser is made from.

    Args:
        scene: the environment's.
        describer: who tells the adviser of states.
        language: what it speaks.
        noise: the probability with which the noisy one is wrong.
        seed: of its noise.
        model: the language model's path or name; None for the embedded one, which knows CartPole, MountainCar and
            FrozenLake.
    """

    scene: Scene
    describer: Describer
    language: str = "english"
    noise: float = 0.3
    seed: int = 0
    model: str | None = None

    @property
    def expert(self) -> Expert:
        """The judge who knows."""
        return Expert(self.describer, self.scene.rule, self.scene.worth)

    def spoken(self, judge: Expert | Noisy | Adversary) -> Spoken:
        """Return a judge who speaks the language."""
        return Spoken(judge, self.scene.speeches[self.language])

    def noisy(self) -> Spoken:
        """Return the expert who errs."""
        return self.spoken(Noisy(self.expert, len(self.scene.opposite), self.noise, self.seed))

    def language_model(self) -> LanguageModelAdvisor:
        """Return the language model, choosing between the actions' first names; the embedded one judges states too.

        Raises:
            InvalidSetting: no model is given, and the embedded one was taught nothing about this scene or describer.
            InvalidModel: `model` is a path at which there is no folder.
        """
        speech = self.scene.speeches[self.language]
        if self.model is not None:
            folder_of(self.model)  # a wrong path is a mistake, not an adviser that fails
            return LanguageModelAdvisor(self.model, tuple(names[0] for names in speech.actions))
        title = embedded.title_of(self.scene, self.describer)
        return LanguageModelAdvisor(str(embedded.FOLDER), embedded.candidates_of(speech), embedded.prompt_of(title))


ADVISORS: Names[Callable[[Asked], Advisor]] = Names(
    "adviser",
    expert=lambda asked: asked.spoken(asked.expert),
    noisy=lambda asked: asked.noisy(),
    adversarial=lambda asked: asked.spoken(Adversary(asked.expert, asked.scene.opposite)),
    irrelevant=lambda asked: irrelevant,
    silent=lambda asked: silent,
    **{"language-model": lambda asked: asked.language_model()},
)
"""Advisers by name."""

__all__ = [
    "ADVISORS",
    "Adversary",
    "Advisor",
    "Asked",
    "Consultation",
    "Endpoint",
    "Expert",
    "LanguageModelAdvisor",
    "Noisy",
    "Spoken",
    "irrelevant",
    "silent",
]
