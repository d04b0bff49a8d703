"""TextObservation: what is observed as tokens, for whatever reads text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.advising import ADVISORS, Advisor, Asked, Consultation
from textgym.arrays import IntArray
from textgym.describing import Describer, described
from textgym.errors import InvalidSetting, InvalidTarget, Names, require_tokens
from textgym.scenes import scene_of
from textgym.scenes.scene import Scene
from textgym.space import TokenBox
from textgym.spelling import STATE, Frame, longest
from textgym.vocabulary import CHARACTERS, Vocabulary
from textgym.wrappers.guidance import BatchWrapper, Describes, discrete, known_scene, observed, row_of

UNKNOWN = "�"  # the symbol that stands for a word which the vocabulary lacks


class Teller:
    """From states to tokens: an instruction, the described state, and what is advised, right-aligned.

    Args: as `TextObservation` has them.
    """

    def __init__(
        self,
        env: Any,
        single: Any,
        describer: str | Describes,
        advisor: str | Advisor | None,
        instruction: str,
        vocabulary: Vocabulary | None,
        max_tokens: int | None,
        language: str,
        noise: float,
        model: str | None,
    ) -> None:
        self.describer: Any = describer
        if isinstance(describer, str):
            self.describer = Names("describer", **known_scene(env, single, "a describer").describers)[describer]
        elif not callable(describer):
            raise InvalidSetting(f"describer={describer!r} is none. Give a name, a Describer, or a function to text.")
        ours = self.describer.vocabulary if isinstance(self.describer, Describer) else None
        codec = getattr(vocabulary or ours, "codec", None)
        self.gap = "" if codec is CHARACTERS else " "
        self.frame = Frame.of(instruction, self.gap)
        said: list[str] = []
        if isinstance(advisor, str):
            maker, scene = ADVISORS[advisor], known_scene(env, single, "an adviser")
            if not isinstance(self.describer, Describer):
                raise InvalidSetting(f"advisor={advisor!r} reads what a Describer says; give it one by name.")
            said = sayings(scene, language)
            advisor = maker(Asked(scene, self.describer, language, noise, 0, model))
        self.consultation = None if advisor is None else Consultation(advisor)
        self.vocabulary = vocabulary or self._own_vocabulary(said)
        self.width = self._width(said) if max_tokens is None else max_tokens
        require_tokens(max_tokens=self.width)
        scene_of_env = scene_of(single.spec, single.unwrapped)
        spoken = None if scene_of_env is None else Names("language", **scene_of_env.speeches)[language]
        words = () if spoken is None else self.frame.answers(spoken.words, bool(self.gap) and language == "english")
        pieces, eos = self.vocabulary.pieces, self.vocabulary.eos
        self.space = TokenBox(self.vocabulary.pad, self.width, 0, pieces, eos, words)

    def _own_vocabulary(self, said: Sequence[str]) -> Vocabulary:
        """Return the words of the describer, the instruction and the adviser, and one for all others."""
        if not isinstance(self.describer, Describer):
            raise InvalidSetting(
                "what a function will say is not known: give vocabulary= (Vocabulary.from_words, from_characters or "
                "from_pretrained) and max_tokens=."
            )
        own, around = self.describer.vocabulary, (self.frame.before, self.frame.after)
        pieces = (piece for text in [*around, *said] for piece in (text.split() if self.gap else text))
        if self.gap and any(side and not side.isspace() for side in (around[0][-1:], around[1][:1])):
            raise InvalidSetting(f"the words of {around} touch the state. Put blanks around {STATE} in instruction=.")
        tokens = dict.fromkeys([*own.tokens, *pieces])
        return Vocabulary(tuple(tokens), (UNKNOWN,), None, own.codec)

    def _width(self, said: Sequence[str]) -> int:
        describer = self.describer
        if not isinstance(describer, Describer) or (self.consultation is not None and not said):
            raise InvalidSetting("how long a text may become is not known: give max_tokens=.")
        advice = max((len(self.ids(self.gap + text)) for text in said), default=0)
        around = len(self.ids(self.frame.before)) + len(self.ids(self.frame.after))
        own = self.vocabulary.codec == describer.vocabulary.codec
        return around + (describer.width if own else longest(describer, self.vocabulary)) + advice

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text; words that the vocabulary lacks are one symbol, where it has that."""
        try:
            return [int(i) for i in self.vocabulary.encode(text)]
        except InvalidTarget:
            unknown = self.vocabulary.ids.get(UNKNOWN)
            if unknown is None:
                raise
            pieces = text if self.vocabulary.codec is CHARACTERS else text.split()
            return [self.vocabulary.ids.get(piece, unknown) for piece in pieces]

    def tokens(self, states: Sequence[Any]) -> IntArray:
        """Return the observations of states, `(n, width)` int32; what is too long loses its beginning."""
        texts = described(self.describer, states)
        advice = [""] * len(texts) if self.consultation is None else self.consultation(texts)
        rows = np.full((len(texts), self.width), self.vocabulary.pad, np.int32)
        for row, *parts in zip(rows, texts, advice):
            ids = self.ids(self.frame(self.gap.join([part for part in parts if part])))[-self.width :]
            row[self.width - len(ids) :] = ids
        return rows


def sayings(scene: Scene, language: str) -> list[str]:
    """Return all that an adviser of rules may say."""
    speech = Names("language", **scene.speeches)[language]
    return [speech.say(action, points / 10) for action in range(len(speech.actions)) for points in range(11)]


class TextObservation(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """An environment that is observed as text: an instruction, the described state, and what is advised, as tokens.

    The observation is `Box(0, pad, (max_tokens,), int32)`, right-aligned, as TextGym's own environments have it, so
    that a transformer or a pretrained language model can act in any environment of discrete actions. Where the
    environment is known, the space says what its actions are called, for `agents.CausalLMPolicy`.

    Args:
        env: of discrete actions.
        describer: a name where the environment is known (see `textgym.scenes.SCENES`), a `Describer`, or a function.
        advisor: who is heard: a name, a function, or None for nobody.
        instruction: what stands before every description, or around it where `{state}` says.
        vocabulary: whose tokens, `Vocabulary.from_pretrained(DIR)` for a language model's; None for the words of all
            that may be said, and one symbol for others.
        max_tokens: of an observation; None for the longest that can be said. What is longer loses its beginning.
        language: the adviser's.
        noise: the probability with which the noisy adviser is wrong.
        model: the language model's folder or name, for `advisor="language-model"`.

    Raises:
        InvalidSetting: continuous actions; a name where nothing is known about the environment; a function as describer
            without a vocabulary and `max_tokens`.
        UnknownName: no describer, adviser or language of that name.
        InvalidState, InvalidDescription, InvalidAdvice: as for `GuidanceWrapper`.
        InvalidTarget: a vocabulary of the user's lacks a word; from `reset` and `step` where an adviser says it.

    Example:
        >>> env = TextObservation(gymnasium.make("CartPole-v1"), "english")
        >>> env.vocabulary.decode(env.reset(seed=0)[0])
        'The cart is in the middle, hardly moves, the pole leans a little left, turning left slowly.'
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        describer: str | Describes = "compact",
        advisor: str | Advisor | None = None,
        instruction: str = "",
        vocabulary: Vocabulary | None = None,
        max_tokens: int | None = None,
        language: str = "english",
        noise: float = 0.3,
        model: str | None = None,
    ) -> None:
        given: dict[str, Any] = {"describer": describer, "advisor": advisor, "instruction": instruction}
        given |= {"vocabulary": vocabulary, "max_tokens": max_tokens, "language": language}
        given |= {"noise": noise, "model": model}
        gymnasium.utils.RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **given)
        gymnasium.Wrapper.__init__(self, env)
        discrete(env.action_space)
        self._teller = Teller(env, env, **given)
        self.observation_space = self._teller.space

    @property
    def vocabulary(self) -> Vocabulary:
        """Whose tokens the observations are."""
        return self._teller.vocabulary

    @property
    def counts(self) -> dict[str, int]:
        """How often the adviser was asked, and failed: see `textgym.advising.Consultation`; empty without one."""
        return {} if self._teller.consultation is None else dict(self._teller.consultation.counts)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._teller.tokens([observation])[0], info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act."""
        observation, *rest = self.env.step(action)
        return self._teller.tokens([observation])[0], *rest


class VectorTextObservation(BatchWrapper):
    """The same for a vector environment, in each auto-reset mode, final observations included.

    Args:
        env: of discrete actions.
        describer: as `TextObservation` has it; so all others.
        advisor: likewise.
        instruction: likewise.
        vocabulary: likewise.
        max_tokens: likewise.
        language: likewise.
        noise: likewise.
        model: likewise.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        describer: str | Describes = "compact",
        advisor: str | Advisor | None = None,
        instruction: str = "",
        vocabulary: Vocabulary | None = None,
        max_tokens: int | None = None,
        language: str = "english",
        noise: float = 0.3,
        model: str | None = None,
    ) -> None:
        super().__init__(env)
        discrete(env.single_action_space)
        chosen = describer, advisor, instruction, vocabulary, max_tokens, language, noise, model
        self._teller = Teller(env, row_of(env), *chosen)
        self.single_observation_space = self._teller.space
        self.observation_space = batch_space(self._teller.space, env.num_envs)
        self._same = AutoresetMode(env.metadata["autoreset_mode"]) is AutoresetMode.SAME_STEP

    @property
    def vocabulary(self) -> Vocabulary:
        """Whose tokens the observations are."""
        return self._teller.vocabulary

    @property
    def counts(self) -> dict[str, int]:
        """How often the adviser was asked, and failed: see `textgym.advising.Consultation`; empty without one."""
        return {} if self._teller.consultation is None else dict(self._teller.consultation.counts)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin in all rows, or in those of `options["reset_mask"]`."""
        observations, info = self.env.reset(seed=seed, options=options)
        return self._tokens(observations), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Act in all rows."""
        observations, rewards, terminations, truncations, info = self.env.step(actions)
        if self._same and "final_obs" in info:
            rows = np.flatnonzero(info["_final_obs"])
            final = np.full(self.num_envs, None, dtype=object)
            for row, tokens in zip(rows.tolist(), self._teller.tokens([info["final_obs"][row] for row in rows])):
                final[row] = tokens.copy()
            info = {**info, "final_obs": final}
        return self._tokens(observations), rewards, terminations, truncations, info

    def _tokens(self, observations: Any) -> IntArray:
        return self._teller.tokens([observed(observations, row) for row in range(self.num_envs)])
