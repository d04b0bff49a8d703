"""Scores of finished texts from something that may fail, and the named policy of what happens then."""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from textgym.arrays import Array, FloatArray
from textgym.episodes import Episodes
from textgym.errors import InvalidReward, InvalidSetting, MissingReward, is_finite, require_natural
from textgym.vocabulary import Vocabulary

LOG = logging.getLogger("textgym.rewards")
POLICIES = ("raise", "retry", "drop")
RETRIES = 3  # of the policy "retry", where nothing else is said


@dataclass
class _Memory:
    """What a reward remembers of its calls: counts, and the last rows that it scored."""

    counts: Counter[str] = field(default_factory=Counter)
    vocabulary: Vocabulary | None = None
    rows: bytes = b""
    scores: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, kw_only=True)
class Scored(ABC):
    """A reward that pays finished rows a score, and others 0.0. A subclass says in `_scores` where scores come from.

    A score cannot be had where `_scores` raises, takes longer than the time limit, or gives what is not finite or has
    another shape. What happens then is named: `raise` raises `MissingReward`; `retry` asks again for the rows that lack
    a score, and raises in the end; `drop` leaves them without one, masked, which only those accept who leave such
    episodes out (see `Task.step`). No score is ever invented.

    What was scored in the last call is remembered, for a task's metrics ask for the same rows again. It is not pickled,
    nor are counts.

    Args:
        on_missing: `raise`, `retry` or `drop`.
        retries: how often to ask again; 3 for `retry` and 0 for `drop`, if left out.
        time_limit: seconds that a call may take; None for any time. A call that takes longer is left behind in a thread
            of its own, which ends with the process.
    """

    on_missing: str = "raise"
    retries: int | None = None
    time_limit: float | None = None
    _memory: _Memory = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.on_missing not in POLICIES:
            raise InvalidSetting(f"on_missing={self.on_missing!r} is no policy. Give one of {', '.join(POLICIES)}.")
        if self.retries is not None:
            require_natural(retries=self.retries)
            if (self.retries == 0) == (self.on_missing == "retry") and self.on_missing != "drop":
                raise InvalidSetting(
                    f"retries={self.retries} with on_missing={self.on_missing!r}: 'raise' asks once, and 'retry' at "
                    "least twice. Give on_missing='retry' with retries of 1 or more, or leave retries out."
                )
        if self.time_limit is not None and (not is_finite(self.time_limit) or self.time_limit <= 0):
            raise InvalidSetting(f"time_limit={self.time_limit!r} is no time. Give seconds above 0, or None.")
        object.__setattr__(self, "_memory", _Memory())

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    @property
    def counts(self) -> dict[str, int]:
        """How often what happened: `calls`, rows `scored`, `retried` and `dropped`, and calls that failed, by cause."""
        return dict(self._memory.counts)

    def __call__(self, episodes: Episodes) -> Array:
        """Return `(n,)` float64, masked where a score could not be had."""
        scores = np.zeros(len(episodes))
        rows = np.flatnonzero(episodes.finished)
        if not rows.size:
            return scores
        part = episodes.take(rows)
        memory, key = self._memory, part.tokens.tobytes()
        if memory.vocabulary is not part.vocabulary or memory.rows != key:
            found = self._all_scores(part)
            memory.vocabulary, memory.rows, memory.scores = part.vocabulary, key, found
        scores[rows] = memory.scores
        # NaN stays under the mask: who overlooks the mask meets no number
        return np.ma.masked_invalid(scores, copy=False) if np.isnan(memory.scores).any() else scores

    @abstractmethod
    def _scores(self, finished: Episodes) -> Any:
        """Return the scores of rows that have all ended, `(n,)`; `InvalidReward` and `InvalidSetting` go through."""

    def _all_scores(self, part: Episodes) -> FloatArray:
        """Return scores `(k,)` float64, NaN where there is none and the policy is to drop."""
        retries = self.retries if self.retries is not None else RETRIES if self.on_missing == "retry" else 0
        scores, left = np.full(len(part), np.nan), np.arange(len(part))
        counts, fault, cause = self._memory.counts, "", None
        for attempt in range(1 + retries):
            counts["retried"] += len(left) if attempt else 0
            found, fault, cause = self._attempt(part.take(left))
            scores[left] = found
            left = left[np.isnan(found)]
            if not left.size:
                break
        counts["scored"] += len(part) - len(left)
        if left.size and self.on_missing != "drop":
            raise MissingReward(
                f"{type(self).__name__} has no score for {len(left)} of {len(part)} finished rows, the first of which "
                f"wrote {part.text(int(left[0]))!r}: {fault}, in {1 + retries} of {1 + retries} calls. Nothing is paid "
                "for what was not scored. on_missing='retry' asks again, on_missing='drop' lets TextGym's agents leave "
                "such episodes out."
            ) from cause
        counts["dropped"] += len(left)
        return scores

    def _attempt(self, part: Episodes) -> tuple[FloatArray, str, BaseException | None]:
        """Ask once: return scores `(k,)`, NaN where there is none, and what went wrong, in words and as an error."""
        self._memory.counts["calls"] += 1
        nothing = np.full(len(part), np.nan)
        try:
            given = self._scores(part) if self.time_limit is None else within(self.time_limit, self._scores, part)
        except (InvalidReward, InvalidSetting):
            raise
        except TimeLimitPassed as error:
            return nothing, self._failed("time limit", f"no answer within {self.time_limit:g} s"), error
        except Exception as error:
            return nothing, self._failed("exception", f"{type(error).__name__}: {error}"), error
        try:
            scores = np.asarray(given, np.float64)
        except (TypeError, ValueError) as error:
            return nothing, self._failed("wrong shape", f"the scores are {given!r}, no numbers"), error
        if scores.shape != (len(part),):
            said = f"scores of shape {scores.shape} for {len(part)} texts"
            return nothing, self._failed("wrong shape", said), None
        if not (finite := np.isfinite(scores)).all():
            fault = self._failed("not finite", f"a score of {scores[~finite][0]}")
            return np.where(finite, scores, np.nan), fault, None
        return scores, "", None

    def _failed(self, cause: str, fault: str) -> str:
        counts = self._memory.counts
        counts[cause] += 1
        if counts[cause] & (counts[cause] - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...: a broken service fills no disk
            LOG.warning(
                "%s: %s (%s: %d of %d calls)", type(self).__name__, fault, cause, counts[cause], counts["calls"]
            )
        return fault


class TimeLimitPassed(Exception):
    """A call took longer than it may."""


def within(seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, or raise what it raises.

    Raises:
        TimeLimitPassed: it took longer; its thread is left behind.
    """
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((function(*arguments), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeLimitPassed(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value


@dataclass(frozen=True)
class ServedReward(Scored):
    """Finished rows' scores from a function of texts: a service, a tool, another library's model.

    Args:
        service: prompts and completions, two lists of texts, in; one number each out. A module-level function or a
            frozen dataclass with `__call__`, so that it pickles.
    """

    service: Callable[[list[str], list[str]], Sequence[float]]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.service):
            raise InvalidSetting(
                f"service={self.service!r} cannot be called. Give a function of prompts and completions."
            )

    def _scores(self, finished: Episodes) -> Any:
        decode = finished.vocabulary.decode
        return self.service([decode(row) for row in finished.prompt], [decode(row) for row in finished.completion])
