"""Typed errors, and the checks that every constructor needs: sizes, numbers, flags, letters and names."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TypeGuard, TypeVar

import numpy as np

Value = TypeVar("Value")

LARGEST_REWARD = 1e30  # agents hold rewards as float32, which ends near 3e38
MOST_TOKENS = 1_000_000  # of a text, or of a vocabulary of numbers: a mistyped size is refused before it fills memory


class InvalidVocabulary(ValueError):
    """A vocabulary that cannot be: no tokens, duplicates, an empty token."""


class InvalidTarget(ValueError):
    """A target that the vocabulary cannot write; `token` is the first one that it lacks, where that is the fault."""

    def __init__(self, message: str, token: str | None = None) -> None:
        super().__init__(message)
        self.token = token


class InvalidPrompt(ValueError):
    """A prompt generator gave tokens that do not fit the task."""


class InvalidSize(ValueError):
    """A number of rows, tokens or letters that is not a positive integer."""


class InvalidSetting(ValueError):
    """Arguments that contradict each other or the task."""


class InvalidModel(InvalidSetting):
    """A folder or name that holds no model that fits: its files, its outputs, its tokenizer."""


class InvalidReward(ValueError):
    """A reward function gave something that is no reward: NaN, infinity, a wrong shape."""


class MissingReward(InvalidReward):
    """A score could not be had: whatever scores failed, hung, or gave what is no score."""


class InvalidState(ValueError):
    """A state that cannot be described: NaN, infinite, of another shape or space."""


class InvalidDescription(ValueError):
    """A describer gave no text, or a text says nothing that its describer says."""


class InvalidAdvice(ValueError):
    """An advisor gave what are not as many texts as it was asked about."""


class NotFinite(ArithmeticError):
    """Learning met a number that is NaN or infinite; it stopped before anything of it was kept."""


class UnknownName(ValueError):
    """A name that stands in no table; the message suggests the nearest one."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UnknownName:
    """Return the error for a name that is not in a table.

    Args:
        kind: what was looked for, as in "reward".
        name: what was given.
        known: the names that exist.
    """
    names = sorted(known)
    folded = {one.lower(): one for one in names}
    near = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.5)
    hint = f"Did you mean {folded[near[0]]!r}? " if near else ""
    return UnknownName(f"no {kind} is called {name!r}. {hint}Known: {', '.join(names)}.")


class Names(dict[str, Value]):
    """A table from names to values, whose `[]` suggests the nearest name to a mistyped one."""

    def __init__(self, kind: str, **values: Value) -> None:
        super().__init__(values)
        self.kind = kind

    def __getitem__(self, name: str) -> Value:
        if not isinstance(name, str):  # what is not hashable would raise something else
            raise unknown(self.kind, name, self)
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Value:
        raise unknown(self.kind, name, self)


def require_positive(**sizes: object) -> None:
    """Raise `InvalidSize` unless every named value is an integer of at least 1."""
    for name, size in sizes.items():
        if not _is_integer(size, 1):
            raise InvalidSize(f"{name}={size!r} is not a size. Give an integer of at least 1.")


def require_tokens(**numbers: object) -> None:
    """Raise `InvalidSize` unless every named value is a number of tokens: an integer from 1 to 1,000,000."""
    require_positive(**numbers)
    for name, number in numbers.items():
        if not _is_integer(number, 1, MOST_TOKENS):
            raise InvalidSize(f"{name}={number!r} is more tokens than are held. Give at most {MOST_TOKENS:,}.")


def is_finite(value: object) -> TypeGuard[float]:
    """Whether a value is a number that a float64 can hold: no truth value, no NaN, no infinity."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def is_payable(value: object) -> TypeGuard[float]:
    """Whether a value is a number that may be paid: finite in an agent's float32 too, however many are added."""
    return is_finite(value) and abs(value) <= LARGEST_REWARD


def require_natural(**numbers: object) -> None:
    """Raise `InvalidSetting` unless every named value is an integer of at least 0."""
    for name, number in numbers.items():
        if not _is_integer(number, 0):
            raise InvalidSetting(f"{name}={number!r} is no natural number. Give an integer of at least 0.")


def require_between(low: int, high: int, **numbers: object) -> None:
    """Raise `InvalidSetting` unless every named value is an integer from `low` to `high`."""
    for name, number in numbers.items():
        if not _is_integer(number, low, high):
            raise InvalidSetting(f"{name}={number!r} is out of range. Give an integer from {low} to {high}.")


def _is_integer(value: object, low: int, high: int | None = None) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return low <= int(value) and (high is None or int(value) <= high)


def require_share(**shares: object) -> None:
    """Raise `InvalidSetting` unless every named value is a number from 0 to 1."""
    for name, share in shares.items():
        if not is_finite(share) or not 0 <= share <= 1:
            raise InvalidSetting(f"{name}={share!r} is no number from 0 to 1.")


def require_flag(**flags: object) -> None:
    """Raise `InvalidSetting` unless every named value is True or False."""
    for name, flag in flags.items():
        if not isinstance(flag, (bool, np.bool_)):
            raise InvalidSetting(f"{name}={flag!r} is neither True nor False.")


def require_letters(**alphabets: object) -> None:
    """Raise `InvalidVocabulary` unless every named value is a string, or a list of strings, that is not empty."""
    for name, alphabet in alphabets.items():
        if not isinstance(alphabet, Sequence) or not alphabet:
            raise InvalidVocabulary(f"{name}={alphabet!r} has no letter. Give a string of at least one.")
