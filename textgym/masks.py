"""Candidates: a fixed set of tokens worth writing, as a `Task(mask=...)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from textgym.arrays import BoolArray
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting, InvalidTarget, InvalidVocabulary
from textgym.vocabulary import Vocabulary


@dataclass(frozen=True)
class Candidates:
    """Leaves the same tokens everywhere.

    Args:
        ids: theirs, in order.
        size: the number of actions.
    """

    ids: tuple[int, ...]
    size: int

    @cached_property
    def _row(self) -> BoolArray:
        row = np.zeros(self.size, np.bool_)
        row[list(self.ids)] = True
        return row

    def __call__(self, episodes: Episodes) -> BoolArray:
        """Return `(n, size)` bool."""
        return np.tile(self._row, (len(episodes), 1))


def candidates(vocabulary: Vocabulary, words: str | Sequence[str]) -> Candidates:
    """Return the set of tokens that some words are written with, and the end token, where there is one.

    A word of several tokens brings all of them, as each Chinese character does in a byte-level vocabulary. Many
    tokenizers write a word within a text with its blank: " world" is another token than "world".

    Args:
        vocabulary: whose tokens.
        words: each a text; a string is its characters.

    Raises:
        InvalidSetting: no words.
        InvalidVocabulary: a word that the vocabulary cannot write.
    """
    if not isinstance(words, Sequence) or not words or not all(isinstance(word, str) and word for word in words):
        raise InvalidSetting(
            f"candidates={words!r} is no list of words. Give at least one, as candidates=['we', ' are']; or leave "
            "candidates out, so that every token can be written."
        )
    ids = set() if vocabulary.eos_id is None else {vocabulary.eos_id}
    for word in words:
        try:
            found = vocabulary.encode(word).tolist()
        except InvalidTarget as error:
            raise InvalidVocabulary(f"candidate {word!r} cannot be written: {error}") from error
        unwritable = [vocabulary.show(i) for i in found if i >= vocabulary.size]
        if unwritable or not found:
            cause = f"{unwritable[0]!r} stands in prompts only" if unwritable else "it is no token"
            raise InvalidVocabulary(f"candidate {word!r} cannot be written: {cause}.")
        ids.update(found)
    return Candidates(tuple(sorted(ids)), vocabulary.size)
