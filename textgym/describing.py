"""Describer: the numbers of a state as text, one phrase a number, and back again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from textgym.arrays import Array, FloatArray, IntArray
from textgym.errors import InvalidDescription, InvalidSetting, InvalidState, is_finite, require_between
from textgym.vocabulary import Vocabulary

Numbers = Callable[[FloatArray], FloatArray]
"""From observations `(n, d)` to the numbers that are described, `(n, k)`."""


@dataclass(frozen=True)
class Scale:
    """What is said of one number: `phrases[k]` where it lies from `edges[k - 1]` up to `edges[k]`.

    Args:
        edges: ascending; none where there is one phrase alone.
        phrases: one more than edges, all different.

    Raises:
        InvalidSetting: edges that do not ascend; phrases that are no such strings.
    """

    edges: tuple[float, ...]
    phrases: tuple[str, ...]

    def __post_init__(self) -> None:
        edges, phrases = tuple(self.edges), tuple(self.phrases)
        if not all(map(is_finite, edges)) or any(a >= b for a, b in itertools.pairwise(edges)):
            raise InvalidSetting(f"edges {edges} do not ascend. Give finite numbers, each larger than the one before.")
        if len(phrases) != len(edges) + 1:
            raise InvalidSetting(f"{len(phrases)} phrases for {len(edges)} edges. Give one phrase more than edges.")
        if any(not isinstance(p, str) or not p.strip() for p in phrases) or len(set(phrases)) < len(phrases):
            raise InvalidSetting(f"phrases {phrases} must be texts, none empty, no two alike.")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "phrases", phrases)

    @cached_property
    def centres(self) -> FloatArray:
        """What each phrase stands for, `(phrases,)`: its bin's middle; the outermost are as wide as the next."""
        edges = np.array(self.edges)
        if len(edges) < 2:
            return np.array([*(edges - 0.5), *(edges + 0.5)]) if len(edges) else np.zeros(1)
        inner = (edges[1:] + edges[:-1]) / 2
        return np.array([edges[0] - (edges[1] - edges[0]) / 2, *inner, edges[-1] + (edges[-1] - edges[-2]) / 2])


def even(prefix: str, low: float, high: float, bins: int = 32) -> Scale:
    """Return a scale of equal bins, said as one token each: `prefix` and the bin's number.

    Args:
        prefix: such as "x" for x0, x1, ...
        low: where the first bin begins; what lies below is in it too.
        high: where the last one ends.
        bins: how many, from 2 to 1000.

    Raises:
        InvalidSetting: an empty prefix, one with blanks, no range, or another number of bins.
    """
    require_between(2, 1000, bins=bins)
    if not isinstance(prefix, str) or not prefix or prefix.split() != [prefix]:
        raise InvalidSetting(f"prefix={prefix!r} is no word. Give a letter or two, such as 'x'.")
    if not is_finite(low) or not is_finite(high) or low >= high:
        raise InvalidSetting(f"low={low!r} and high={high!r} are no range. Give two numbers, the first one smaller.")
    edges = np.linspace(low, high, bins + 1)[1:-1]
    return Scale(tuple(edges.tolist()), tuple(f"{prefix}{k}" for k in range(bins)))


def whole(prefix: str, count: int) -> Scale:
    """Return a scale of the integers from 0 to `count - 1`, said as one token each."""
    return Scale(tuple(k - 0.5 for k in range(1, count)), tuple(f"{prefix}{k}" for k in range(count)))


@dataclass(frozen=True)
class Describer:
    """From a state to a text: one phrase for each number, in their order.

    What it says can be read again, to the middle of each phrase's bin: a rule that hears nothing but the text can then
    act, as a language model must.

    Args:
        scales: one for each number.
        between: what stands between two phrases, and in none of them.
        end: what closes the text.
        numbers: from observations to the numbers, where these are others.
        spaced: whether the tokens are words with blanks between them; else they are characters.

    Raises:
        InvalidSetting: no scales, or a phrase that holds what stands between phrases.

    Example:
        >>> describe = Describer((even("x", -1, 1, 4), even("v", -1, 1, 4)))
        >>> describe(np.array([0.6, -0.1])), describe.read("x3 v1").tolist()
        ('x3 v1', [0.75, -0.25])
    """

    scales: tuple[Scale, ...]
    between: str = " "
    end: str = ""
    numbers: Numbers | None = None
    spaced: bool = True

    def __post_init__(self) -> None:
        if not self.scales or not all(isinstance(scale, Scale) for scale in self.scales):
            raise InvalidSetting(f"scales={self.scales!r} describe nothing. Give a tuple of at least one Scale.")
        for scale in self.scales:
            if len(self.scales) > 1 and any(self.between in phrase for phrase in scale.phrases):
                raise InvalidSetting(
                    f"a phrase of {scale.phrases} holds {self.between!r}, which stands between phrases."
                )

    def __call__(self, state: Any) -> str:
        """Return one state as text."""
        return self.texts(np.asarray(state)[None])[0]

    def places(self, states: Any) -> IntArray:
        """Return which phrase says each number, `(n, k)` int64.

        Args:
            states: observations `(n, d)`, or `(n,)` of a discrete space.

        Raises:
            InvalidState: they are no numbers, NaN or infinite, or not as many as the scales.
        """
        numbers = self._numbers(states)
        return np.stack(
            [np.searchsorted(scale.edges, column, "right") for scale, column in zip(self.scales, numbers.T)], 1
        )

    def _numbers(self, states: Any) -> FloatArray:
        given = np.asarray(states)
        if given.dtype.kind not in "biuf" or given.ndim not in (1, 2):
            raise InvalidState(f"states {given!r} are no numbers. Give an array, (n, {len(self.scales)}).")
        rows = given.reshape(len(given), -1).astype(np.float64)
        if not np.isfinite(rows).all():
            row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise InvalidState(f"state {given[row].tolist()} of row {row} is not finite, so nothing can be said of it.")
        numbers = rows if self.numbers is None else self.numbers(rows)
        if numbers.shape != (len(rows), len(self.scales)):
            raise InvalidState(f"a state of {numbers.shape[1:]} numbers, where {len(self.scales)} are described.")
        return numbers

    def texts(self, states: Any) -> list[str]:
        """Return each state as text; raises as `places` does."""
        said = [scale.phrases for scale in self.scales]
        return [
            self.between.join([phrases[k] for phrases, k in zip(said, row)]) + self.end
            for row in self.places(states).tolist()
        ]

    def read(self, text: str) -> FloatArray:
        """Return the numbers that a text says, `(k,)` float64, each the middle of its phrase's bin.

        Raises:
            InvalidDescription: this describer did not say it.
        """
        said = text[: len(text) - len(self.end)].split(self.between) if text.endswith(self.end) else []
        try:
            return np.array([self._meanings[k][phrase] for k, phrase in enumerate(said)]).reshape(len(self.scales))
        except (LookupError, ValueError):
            raise InvalidDescription(f"{text!r} is not what this describer says, such as {self._example!r}.") from None

    @cached_property
    def _meanings(self) -> list[dict[str, float]]:
        return [dict(zip(scale.phrases, scale.centres.tolist())) for scale in self.scales]

    @cached_property
    def _example(self) -> str:
        return self.between.join(scale.phrases[0] for scale in self.scales) + self.end

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words, or characters, of all that it can say."""
        return vocabulary_of(
            [self._piece(k, phrase) for k, scale in enumerate(self.scales) for phrase in scale.phrases], self.spaced
        )

    def _piece(self, k: int, phrase: str) -> str:
        """Return the k-th phrase with what follows it."""
        return phrase + (self.end if k == len(self.scales) - 1 else self.between)

    @cached_property
    def _ids(self) -> list[list[list[int]]]:
        """The tokens of each phrase of each scale."""
        encode = self.vocabulary.encode
        return [[encode(self._piece(k, p)).tolist() for p in scale.phrases] for k, scale in enumerate(self.scales)]

    @cached_property
    def width(self) -> int:
        """The tokens of the longest text."""
        return sum(max(map(len, phrases)) for phrases in self._ids)

    @cached_property
    def _table(self) -> IntArray | None:
        """The token of each phrase, `(k, most phrases)` int32, where all phrases are one token; None where not."""
        if self.width > len(self.scales):
            return None
        table = np.zeros((len(self.scales), max(len(scale.phrases) for scale in self.scales)), np.int32)
        for k, phrases in enumerate(self._ids):
            table[k, : len(phrases)] = [ids[0] for ids in phrases]
        return table

    def tokens(self, states: Any) -> IntArray:
        """Return each state as tokens, `(n, width)` int32, right-aligned, pad before them; raises as `places` does."""
        places = self.places(states)
        if self._table is not None:
            return self._table[np.arange(len(self.scales)), places]
        rows = np.full((len(places), self.width), self.vocabulary.pad, np.int32)
        for row, chosen in zip(rows, places.tolist()):
            ids = [i for k, place in enumerate(chosen) for i in self._ids[k][place]]
            row[len(row) - len(ids) :] = ids
        return rows


def vocabulary_of(texts: Sequence[str], spaced: bool) -> Vocabulary:
    """Return the vocabulary of some texts: their words, or their characters."""
    return Vocabulary.from_words(" ".join(texts)) if spaced else Vocabulary.from_characters("".join(texts))


def describe_features(**features: Sequence[float]) -> Describer:
    """Return a describer of any state, from each number's name, range and bins.

    Args:
        features: `name=(low, high)`, or `name=(low, high, bins)` where 32 bins are not what is wanted, in the order of
            the observation's numbers. A name becomes the first part of its tokens.

    Raises:
        InvalidSetting: no features, or one that is no range.

    Example:
        >>> describe_features(height=(0, 10, 5), speed=(-1, 1, 3))(np.array([9.0, 0.0]))
        'height4 speed1'
    """
    scales = []
    for name, feature in features.items():
        if isinstance(feature, str) or not isinstance(feature, Sequence) or len(feature) not in (2, 3):
            raise InvalidSetting(f"{name}={feature!r} is no feature. Give (low, high), or (low, high, bins).")
        low, high, *bins = feature
        scales.append(even(name, low, high, *bins))  # type: ignore[arg-type]
    return Describer(tuple(scales))


def described(describer: Callable[[Any], str], states: Array | Sequence[Any]) -> list[str]:
    """Return what a describer, ours or the user's own, says of some states, `n` of them.

    Raises:
        InvalidState: a state is NaN or infinite.
        InvalidDescription: the describer gave no text.
    """
    if isinstance(describer, Describer):
        return describer.texts(np.asarray(states))
    texts = []
    for state in states:
        array = np.asarray(state)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidState(f"state {array.tolist()} is not finite, so nothing can be said of it.")
        text = describer(state)
        if not isinstance(text, str) or not text.strip():
            raise InvalidDescription(
                f"the describer gave {text!r} for the state {state!r}. It must return a text that is not empty."
            )
        texts.append(text)
    return texts


def angle_of(cosine: FloatArray, sine: FloatArray) -> FloatArray:
    """Return angles in radians, from -pi to pi."""
    angles: FloatArray = np.arctan2(sine, cosine)
    return angles


TURN = math.pi  # half of one, in radians: what an angle's scale reaches to
