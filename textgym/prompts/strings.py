"""Random strings over a vocabulary, with an answer computed from each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.episodes import Prompt
from textgym.errors import InvalidSetting, InvalidVocabulary, require_tokens
from textgym.prompts.listed import require_listable
from textgym.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class RandomStrings:
    """Draws a length, each equally likely, then that many letters, each equally likely.

    Args:
        vocabulary: its tokens but the end token are the letters.
        min_length: letters of the shortest string.
        max_length: letters of the longest.
        answer: the target of a string, as ids, no longer than the string; the end token is appended where there is
            one.

    Raises:
        InvalidSize: a length that is no positive integer.
        InvalidSetting: `min_length` above `max_length`.
        InvalidVocabulary: no letters.
    """

    vocabulary: Vocabulary
    min_length: int
    max_length: int
    answer: Callable[[IntArray], IntArray]

    def __post_init__(self) -> None:
        if self.vocabulary.tokens == (self.vocabulary.eos,):
            raise InvalidVocabulary(f"a vocabulary of the end token {self.vocabulary.eos!r} alone has no letters.")
        require_tokens(min_length=self.min_length, max_length=self.max_length)
        if self.min_length > self.max_length:
            raise InvalidSetting(
                f"min_length={self.min_length} is above max_length={self.max_length}. Give at most {self.max_length}."
            )

    @property
    def max_target(self) -> int:
        """Letters of the longest string, and the end token."""
        return self.max_length + (self.vocabulary.eos is not None)

    @cached_property
    def _letters(self) -> IntArray:
        """The ids of the letters."""
        return np.setdiff1d(np.arange(self.vocabulary.size, dtype=np.int32), self._ending)

    @cached_property
    def _in_order(self) -> bool:
        return bool(self._letters[-1] == len(self._letters) - 1)

    @cached_property
    def _ending(self) -> IntArray:
        eos = self.vocabulary.eos_id
        return np.array([] if eos is None else [eos], np.int32)

    @cached_property
    def _choices(self) -> FloatArray:
        """How many lengths there are, then how many letters, once for each place."""
        return np.array([self.max_length - self.min_length + 1] + [len(self._letters)] * self.max_length, np.float64)

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return sum(len(self._letters) ** length for length in range(self.min_length, self.max_length + 1))

    def support(self) -> tuple[list[Prompt], FloatArray]:
        """Return all prompts, shorter ones first, and their probabilities, `(k,)`.

        Raises:
            InvalidSetting: there are more than a million.
        """
        sizes = range(self.min_length, self.max_length + 1)
        many = [len(self._letters) ** length for length in sizes]
        require_listable(sum(many))
        prompts: list[Prompt] = []
        for length in sizes:
            grid = np.indices([len(self._letters)] * length).reshape(length, -1).T  # (letters ** length, length)
            prompts += [self._prompt(string) for string in self._letters[grid]]
        return prompts, np.repeat(1 / (len(sizes) * np.array(many, np.float64)), many)

    def __call__(self, rng: np.random.Generator) -> Prompt:
        """Return a string and its answer."""
        # One call of random() and one product cost a third of two calls of integers(); the bias is below 2**-50.
        drawn = (rng.random(self.max_length + 1) * self._choices).astype(np.int32)
        length = self.min_length + int(drawn[0])
        string = drawn[1 : length + 1] if self._in_order else self._letters[drawn[1 : length + 1]]
        return self._prompt(string)

    def _prompt(self, string: IntArray) -> Prompt:
        return Prompt(string, np.concatenate((self.answer(string.copy()), self._ending)))
