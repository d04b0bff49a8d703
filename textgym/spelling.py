"""Spelling: descriptions of states in the tokens of another vocabulary, such as a language model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from textgym.arrays import IntArray
from textgym.describing import Describer
from textgym.errors import InvalidSetting
from textgym.vocabulary import Vocabulary

STATE = "{state}"
REMEMBERED = 2**16  # texts whose tokens are kept


@dataclass(frozen=True)
class Frame:
    """What stands around the description of a state.

    Args:
        before: up to the description, blanks included.
        after: behind it.
    """

    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, instruction: str, gap: str = " ") -> Frame:
        """Return what an instruction puts around a description.

        Args:
            instruction: a text that stands before it, or one with `{state}` where it goes.
            gap: what stands between the two where there is no `{state}`.

        Raises:
            InvalidSetting: it is no text, or has `{state}` more than once.
        """
        if not isinstance(instruction, str):
            raise InvalidSetting(f"instruction={instruction!r} is no text.")
        if instruction.count(STATE) > 1:
            raise InvalidSetting(f"instruction={instruction!r} shows the state more than once. Write {STATE} once.")
        if STATE not in instruction:
            return cls(instruction + gap if instruction else "")
        before, _, after = instruction.partition(STATE)
        return cls(before, after)

    def __call__(self, text: str) -> str:
        """Return a description with what stands around it."""
        return self.before + text + self.after

    def answers(self, words: Sequence[str], spaced: bool) -> tuple[str, ...]:
        """Return words as they are written behind the whole: after a blank, where texts have blanks and none is there.

        Args:
            words: one for each action.
            spaced: whether there are blanks between words.
        """
        gap = " " if spaced and self.after == self.after.rstrip() else ""
        return tuple(gap + word for word in words)


@dataclass(frozen=True)
class Spelling:
    """From states to tokens of a vocabulary: what a describer says, with what stands around it.

    Args:
        describer: who tells states in words.
        vocabulary: whose tokens.
        frame: what stands around each description.

    Raises:
        InvalidTarget: the vocabulary cannot write what the describer says.
    """

    describer: Describer
    vocabulary: Vocabulary
    frame: Frame = Frame()
    _known: dict[str, IntArray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.width  # noqa: B018 (what cannot be written is refused now, not in mid-episode)

    @cached_property
    def width(self) -> int:
        """The most tokens of a text."""
        around = sum(len(self.vocabulary.encode(part)) for part in (self.frame.before, self.frame.after))
        return around + longest(self.describer, self.vocabulary)

    def tokens(self, states: Any) -> IntArray:
        """Return each state as tokens, `(n, width)` int32, right-aligned; raises as `Describer.places` does."""
        texts = self.describer.texts(states)
        rows = np.full((len(texts), self.width), self.vocabulary.pad, np.int32)
        for row, text in zip(rows, texts):
            ids = self._ids(text)
            row[len(row) - len(ids) :] = ids
        return rows

    def _ids(self, text: str) -> IntArray:
        """Return a framed text's tokens, at most `width`; a tokenizer is slow, and the same texts come again."""
        if (ids := self._known.get(text)) is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            ids = self._known[text] = self.vocabulary.encode(self.frame(text))[-self.width :]
        return ids

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}}


def longest(describer: Describer, vocabulary: Vocabulary) -> int:
    """Return the most tokens that a vocabulary needs for what a describer says.

    Each phrase is counted with what stands between it and the one before: where tokens do not reach over phrases, that
    is exact; where they do, a text has fewer.

    Raises:
        InvalidTarget: it cannot write a phrase.
    """
    total, last = 0, len(describer.scales) - 1
    for k, scale in enumerate(describer.scales):
        before, after = describer.between if k else "", describer.end if k == last else ""
        total += max(len(vocabulary.encode(before + phrase + after)) for phrase in scale.phrases)
    return total
