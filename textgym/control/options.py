"""Options: what every control task can be told, whatever its physics: what is observed, and who guides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from textgym.advising import ADVISORS, Asked, Consultation
from textgym.arrays import Array
from textgym.control.rules import Control
from textgym.describing import Describer
from textgym.errors import InvalidSetting, Names, require_natural, require_share, unknown
from textgym.guiding import GUIDANCE_REWARDS, Guidance, Understood, Weight, guidance_to_reward, weight_of
from textgym.space import TokenBox
from textgym.spelling import Frame, Spelling
from textgym.vocabulary import Vocabulary

Observation = Literal["tokens", "state", "both"]


@dataclass(frozen=True)
class Options:
    """What every control task can be told.

    ## Arguments of every control task
    `observation`: "tokens", "state" (Gymnasium's own), or "both" (a Dict with the keys tokens and state).
    `text`: how states are described in tokens: "compact" (one token a number), "english" or "chinese".
    `tokenizer`: a folder or name whose tokens these are, as a language model needs them; its own words if not given.
    `instruction`: what stands before the description, or around it where `{state}` says; it needs a tokenizer.
    `guidance`: who advises, by name: none, expert, noisy, adversarial, irrelevant, silent, language-model.
    `shaping`: how advice becomes reward, by name: agreement, similarity, potential.
    `weight`: how much that counts: a number, or (start, end, steps) to anneal it.
    `gamma`: the agent's discount, which potential-based shaping must share.
    `noise`: the probability with which the noisy adviser is wrong. `guidance_seed`: of its noise.
    `language`: what is spoken, english or chinese. `model`: the language model's folder or name, instead of the
    very small embedded one, which was taught CartPole, MountainCar and FrozenLake.
    An adviser that fails, is silent or says nothing of use gives no guidance: the environment's `counts` count it.

    Raises:
        UnknownName: there is no such observation, text, adviser, shaping or language.
        InvalidSetting: a weight, gamma, noise or seed that is none; a language model without `model` in a task that the
            embedded one was not taught; an instruction without a tokenizer.
        InvalidModel: (from an environment) `model` is a path at which there is no folder.
        InvalidVocabulary, InvalidTarget: (from an environment) there is no such tokenizer; it lacks what is said.
    """

    observation: Observation = "tokens"
    text: str = "compact"
    guidance: str = "none"
    shaping: str = "agreement"
    weight: Any = 1.0
    gamma: float = 0.99
    noise: float = 0.3
    guidance_seed: int = 0
    language: str = "english"
    model: str | None = None
    tokenizer: str | None = None
    instruction: str = ""

    def __post_init__(self) -> None:
        if self.observation not in get_args(Observation):
            raise unknown("observation", self.observation, get_args(Observation))
        if self.guidance != "none" and self.guidance not in ADVISORS:
            raise unknown("adviser", self.guidance, [*ADVISORS, "none"])
        if self.language not in ("english", "chinese"):
            raise unknown("language", self.language, ("english", "chinese"))
        GUIDANCE_REWARDS[self.shaping]
        require_share(gamma=self.gamma, noise=self.noise)
        require_natural(guidance_seed=self.guidance_seed)
        object.__setattr__(self, "weight", weight_of(self.weight))
        if self.model is not None and self.guidance != "language-model":
            raise InvalidSetting(f'model={self.model!r} is asked by guidance="language-model" alone.')
        if Frame.of(self.instruction) != Frame() and self.tokenizer is None:
            raise InvalidSetting(
                f"instruction={self.instruction!r} is for a language model, which reads its own tokens. Give its "
                "tokenizer= too, or leave it out."
            )

    def view(self, control: Control) -> View:
        """Return how states are seen."""
        describer, frame = Names("text", **control.scene.describers)[self.text], Frame.of(self.instruction)
        told: Describer | Spelling = describer
        if self.tokenizer is not None and self.observation != "state":
            told = Spelling(describer, Vocabulary.from_pretrained(self.tokenizer), frame)
        spaced = describer.spaced and self.language == "english"
        words = frame.answers(control.scene.speeches[self.language].words, spaced)
        return View(control, told, self.observation, words)

    def guides(self, control: Control) -> tuple[Guidance, Describer] | None:
        """Return the guidance, and who describes states to the adviser; None where nobody advises.

        Advisers of rules hear the compact text, which says most; a language model hears its language.
        """
        if self.guidance == "none":
            return None
        scene = control.scene
        describer = scene.describers[self.language if self.guidance == "language-model" else "compact"]
        asked = Asked(scene, describer, self.language, self.noise, self.guidance_seed, self.model)
        assert isinstance(self.weight, Weight)
        reward, speech = guidance_to_reward(self.shaping), scene.speeches[self.language]
        consultation = Consultation(ADVISORS[self.guidance](asked), understood=Understood(reward, speech))
        return Guidance(consultation, speech, reward, self.weight, self.gamma), describer


@dataclass(frozen=True)
class View:
    """What is seen of states: tokens, the state itself, or both."""

    control: Control
    describer: Describer | Spelling
    observation: Observation
    words: tuple[str, ...] = ()  # one for each action, as they are written behind the tokens

    @property
    def space(self) -> spaces.Space[Any]:
        """The space of one observation."""
        vocabulary = self.describer.vocabulary
        tokens = TokenBox(vocabulary.pad, self.describer.width, 0, vocabulary.pieces, vocabulary.eos, self.words)
        if self.observation == "tokens":
            return tokens
        if self.observation == "state":
            return self.control.space
        return spaces.Dict({"state": self.control.space, "tokens": tokens})

    def of(self, seen: Array) -> Any:
        """Return the observations of what the physics shows, `(n, ...)`: an array, or a dictionary of two."""
        if self.observation == "state":
            return seen.copy()
        tokens = self.describer.tokens(seen)
        return tokens if self.observation == "tokens" else {"state": seen.copy(), "tokens": tokens}

    def row(self, observations: Any, row: int) -> Any:
        """Return one row's observation, which owns its memory."""
        if isinstance(observations, dict):
            return {key: self.row(values, row) for key, values in observations.items()}
        one = observations[row]
        return one.copy() if isinstance(one, np.ndarray) else int(one)  # as Gymnasium shows a discrete state
