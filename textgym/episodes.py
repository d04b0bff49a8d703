"""Episodes: n texts in the making, side by side as arrays. Everything that changes in a task is here."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import repeat
from types import EllipsisType
from typing import NamedTuple, TypeAlias

import numpy as np

from textgym.alignment import aligned
from textgym.arrays import Array, BoolArray, IntArray, UInt64Array
from textgym.errors import InvalidPrompt, InvalidSetting
from textgym.vocabulary import Vocabulary

Rows: TypeAlias = EllipsisType | IntArray
"""All rows, or the indices of some, each at most once."""

STATE = ("tokens", "target", "length", "finished", "seed")


class Prompt(NamedTuple):
    """One episode's question."""

    tokens: IntArray  # (<= max_prompt,) ids of tokens and symbols
    target: IntArray  # (<= max_target,) one best completion, its end token included; empty where none is known
    seed: int = 0  # chance after the prompt is a pure function of (seed, length)


@dataclass(eq=False)
class Episodes:
    """n episodes: prompt right-aligned, completion left-aligned, so that a row's tokens touch.

    `begin` and `write` are the only changes; `erase` takes back the last write.

    Args:
        vocabulary: what the ids mean.
        max_prompt: columns of the prompt.
        tokens: `(n, max_prompt + horizon)` int32, prompt | completion, filled with pad.
        target: `(n, max_target)` int32, filled with pad.
        length: `(n,)` int64, tokens written.
        finished: `(n,)` bool, whether the row has ended; True also before its first `begin`.
        seed: `(n,)` uint64, what chance after the prompt depends on.
    """

    vocabulary: Vocabulary
    max_prompt: int
    tokens: IntArray
    target: IntArray
    length: IntArray
    finished: BoolArray
    seed: UInt64Array
    target_length: IntArray = field(init=False)  # (n,) int64, tokens of the target

    # Addressing a whole column costs a tenth of addressing each row's own: `_level` is the length that all rows
    # share, or -1. Flat offsets of the rows' first cells serve where lengths differ.
    _level: int = field(init=False, repr=False)
    _first_token: IntArray = field(init=False, repr=False)
    _first_target: IntArray = field(init=False, repr=False)
    _shared_prompt: Prompt | None = field(init=False, repr=False, default=None)  # the one that every row holds
    _written: IntArray | None = field(init=False, repr=False, default=None)  # (n,) the newest tokens, where known

    def __post_init__(self) -> None:
        n = len(self.tokens)
        self.tokens, self.target = np.ascontiguousarray(self.tokens), np.ascontiguousarray(self.target)
        self.target_length = (self.target != self.vocabulary.pad).sum(axis=1)  # (n,)
        self._first_token = np.arange(n) * self.tokens.shape[1] + self.max_prompt  # (n,)
        self._first_target = np.arange(n) * self.target.shape[1]  # (n,)
        self._find_level()

    @classmethod
    def blank(cls, vocabulary: Vocabulary, n: int, max_prompt: int, horizon: int, max_target: int) -> Episodes:
        """Return n rows that have not begun."""
        return cls(
            vocabulary,
            max_prompt,
            np.full((n, max_prompt + horizon), vocabulary.pad, np.int32),
            np.full((n, max_target), vocabulary.pad, np.int32),
            np.zeros(n, np.int64),
            np.ones(n, np.bool_),
            np.zeros(n, np.uint64),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def horizon(self) -> int:
        """The most tokens that a row can write."""
        return int(self.tokens.shape[1]) - self.max_prompt

    @property
    def prompt(self) -> IntArray:
        """`(n, max_prompt)` int32, right-aligned: a view."""
        return self.tokens[:, : self.max_prompt]

    @property
    def completion(self) -> IntArray:
        """`(n, horizon)` int32, left-aligned: a view."""
        return self.tokens[:, self.max_prompt :]

    @property
    def longest(self) -> int:
        """Tokens in the longest completion."""
        return self._level if self._level >= 0 else int(self.length.max(initial=0))

    @property
    def full(self) -> BoolArray:
        """`(n,)` bool: whether no further token fits."""
        if self._level >= 0:
            return (np.ones if self._level >= self.horizon else np.zeros)(len(self.tokens), np.bool_)
        full: BoolArray = self.length >= self.horizon
        return full

    @property
    def newest(self) -> IntArray:
        """`(n,)` int32: the token that each row wrote last; every row must have written one."""
        if self._level > 0:
            return self.tokens[:, self.max_prompt + self._level - 1]
        if self._written is not None:
            return self._written
        newest: IntArray = self.tokens.reshape(-1)[self._first_token + self.length - 1]
        return newest

    @property
    def wanted(self) -> IntArray:
        """`(n,)` int32: the target's token in the place of the newest one; pad past the target's end."""
        width = self.target.shape[1]
        if 0 < self._level <= width:
            return self.target[:, self._level - 1]
        if self._level > width or width == 0:
            return np.full(len(self), self.vocabulary.pad, np.int32)
        place = self.length - 1
        if width == self.horizon:
            wanted: IntArray = self.target.reshape(-1)[self._first_target + place]
            return wanted
        wanted = self.target.reshape(-1)[self._first_target + np.minimum(place, width - 1)]
        return np.where(place < width, wanted, self.vocabulary.pad)

    @property
    def faultless(self) -> BoolArray:
        """`(n,)` bool: whether all that is written agrees with the target's beginning."""
        width = min(self.longest, self.target.shape[1])
        written = self.completion[:, :width]  # (n, width)
        agrees = written == self.target[:, :width]
        if self._level < 0:
            agrees |= written == self.vocabulary.pad
        faultless: BoolArray = agrees.all(axis=1)
        if self.longest > width:
            faultless &= self.length <= width
        return faultless

    @property
    def matched(self) -> BoolArray:
        """`(n,)` bool: whether the completion is the target, whole and with nothing after it."""
        matched: BoolArray = self.length == self.target_length
        if as_long := np.count_nonzero(matched):  # of equal length, hence padded alike
            rows: Rows = ... if as_long == len(self) else matched.nonzero()[0]
            written = self.completion[rows, : self.target.shape[1]]
            matched[rows] = (written == self.target[rows]).all(axis=1)
        return matched

    def begin(self, rows: Rows, prompts: Sequence[Prompt]) -> None:
        """Start a new episode in each of the rows.

        Args:
            rows: which rows.
            prompts: one prompt a row, in the same order. One and the same object for all is copied once.

        Raises:
            InvalidPrompt: a prompt or target is too long or holds an id that the vocabulary lacks. No row changes.
        """
        pad = self.vocabulary.pad
        first = prompts[0]
        if all(map(operator.is_, prompts, repeat(first))):
            if first is self._shared_prompt:  # the same question again: it is still in place
                self._restart(rows)
                return
            prompts = (first,)
        if not all(map(isinstance, prompts, repeat(Prompt))):
            raise InvalidPrompt(f"a prompt generator must return Prompt(tokens, target); got {prompts[0]!r}.")
        seeds = [prompt.seed for prompt in prompts]
        if not all(issubclass(kind, (int, np.integer)) for kind in set(map(type, seeds))) or not (
            min(seeds) >= 0 and max(seeds) < 2**64
        ):
            raise InvalidPrompt(f"a prompt's seed must be an integer from 0 to 2**64 - 1; got {seeds}.")
        read, _ = aligned([p.tokens for p in prompts], self.max_prompt, pad, pad, "prompt", right=True)
        width, size = self.target.shape[1], self.vocabulary.size
        best, lengths = aligned([p.target for p in prompts], width, pad, size, "target")
        self.tokens[rows, : self.max_prompt] = read
        self.target[rows] = best
        self.target_length[rows] = lengths
        self.seed[rows] = seeds
        self._shared_prompt = first if rows is ... and len(prompts) == 1 else None
        self._restart(rows)

    def _restart(self, rows: Rows) -> None:
        self.completion[rows] = self.vocabulary.pad
        self.length[rows] = 0
        self.finished[rows] = False
        self._find_level()

    def write(self, actions: IntArray, rows: Rows = ...) -> None:
        """Append one token to each of the rows.

        Args:
            actions: `(n,)` or `(len(rows),)` token ids in `[0, size)`. Nothing is checked here: environments refuse
                what is no action.
            rows: which rows; none of them full.
        """
        if rows is not ...:
            self.tokens.reshape(-1)[self._first_token[rows] + self.length[rows]] = actions
            self.length[rows] += 1
            self._find_level()
        elif self._level >= 0:
            self.tokens[:, self.max_prompt + self._level] = actions
            self._level += 1
            self.length.fill(self._level)  # a third of the cost of adding 1
        else:
            self._written = actions.astype(np.int32)  # a copy: the caller's array may change
            self.tokens.reshape(-1)[self._first_token + self.length] = self._written
            self.length += 1

    def erase(self, rows: Rows = ...) -> None:
        """Take back the last write of each of the rows, which then has not ended."""
        self.length[rows] -= 1
        self.tokens.reshape(-1)[self._first_token[rows] + self.length[rows]] = self.vocabulary.pad
        self.finished[rows] = False
        self._find_level()

    def __copy__(self) -> Episodes:
        twin = object.__new__(Episodes)
        twin.__dict__.update(self.__dict__)
        return twin

    def take(self, rows: IntArray) -> Episodes:
        """Return a copy of some rows, in the order given; repetition is allowed."""
        if len(rows) > len(self):
            return Episodes(self.vocabulary, self.max_prompt, *[array[rows] for array in self._arrays()])
        part = copy(self)  # the offsets of the first rows serve any rows: a third of the cost of making them
        part.tokens, part.target, part.length, part.finished, part.seed = (array[rows] for array in self._arrays())
        part.target_length = self.target_length[rows]
        part._first_token, part._first_target = self._first_token[: len(rows)], self._first_target[: len(rows)]
        part._find_level()
        return part

    def _arrays(self) -> tuple[Array, ...]:
        return self.tokens, self.target, self.length, self.finished, self.seed

    def put(self, rows: IntArray, part: Episodes) -> None:
        """Set some rows to those of another `Episodes` of the same shape."""
        self.tokens[rows] = part.tokens
        self.target[rows] = part.target
        self.target_length[rows] = part.target_length
        self.length[rows] = part.length
        self.finished[rows] = part.finished
        self.seed[rows] = part.seed
        if part._shared_prompt is not self._shared_prompt:
            self._shared_prompt = None
        self._find_level()

    def get_state(self) -> dict[str, Array]:
        """Return a copy of all that changes: `tokens`, `target`, `length`, `finished`, `seed`."""
        return {name: array.copy() for name, array in zip(STATE, self._arrays())}

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Go on from what `get_state` returned, of as many rows of the same task.

        Raises:
            InvalidSetting: an array is missing, has another shape or dtype, or holds what no row can. Nothing changes.
        """
        for name, array in zip(STATE, self._arrays()):
            new = state.get(name)
            if not isinstance(new, np.ndarray) or (new.shape, new.dtype) != (array.shape, array.dtype):
                given = f"{new.dtype} of shape {new.shape}" if isinstance(new, np.ndarray) else repr(new)
                raise InvalidSetting(f"{name!r} is {given}; these rows have {array.dtype} of shape {array.shape}.")
        length, pad, size = state["length"], self.vocabulary.pad, self.vocabulary.size
        if (length < 0).any() or (length > self.horizon - ~state["finished"]).any():
            raise InvalidSetting(f"the lengths {length.tolist()} do not fit rows of {self.horizon} tokens.")
        written = state["tokens"][:, self.max_prompt :]
        for name, ids, limit in (
            ("prompt", state["tokens"][:, : self.max_prompt], pad),
            ("completion", written, size),
            ("target", state["target"], size),
        ):
            if ((ids < 0) | (ids > pad) | ((ids >= limit) & (ids < pad))).any():
                raise InvalidSetting(f"a {name} holds ids outside 0 to {limit - 1} and the pad, {pad}.")
        if ((written != pad) != (np.arange(self.horizon) < length[:, None])).any():
            raise InvalidSetting(f"the completions have not the lengths {length.tolist()}.")
        self.tokens, self.target, self.length, self.finished, self.seed = (state[name].copy() for name in STATE)
        self._shared_prompt = None
        self.__post_init__()

    def text(self, row: int) -> str:
        """Return what a row has written, as text."""
        return self.vocabulary.decode(self.completion[row])

    def _find_level(self) -> None:
        self._written = None
        first = int(self.length[0]) if len(self.length) else 0
        self._level = first if np.count_nonzero(self.length == first) == len(self.length) else -1
