"""What a replay buffer remembers, as plain data and arrays, and back: from a state that may come from a stranger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from textgym.errors import InvalidSetting

from .checks import array_like, count
from .prefixes import lengths
from .replay import NONE, EpisodeReplayBuffer

Array = npt.NDArray[Any]
STEPS = ("actions", "rewards", "dones", "timeouts")
OBSERVED = ("observations", "next_observations")
MEASURED = ("length", "next_length", "begins")


def get_replay(buffer: ReplayBuffer) -> dict[str, Any]:
    """Return what is remembered: `(k, n, ...)` arrays of the k rounds that are filled, `(s, ...)` of s segments."""
    k, episodes = buffer.size(), isinstance(buffer, EpisodeReplayBuffer)
    arrays = {name: getattr(buffer, name)[:k].copy() for name in (*STEPS, *(MEASURED if episodes else OBSERVED))}
    state = {"pos": int(buffer.pos), "full": bool(buffer.full), **arrays}
    if not isinstance(buffer, EpisodeReplayBuffer):
        return state
    segments = buffer.segment.flat[np.flatnonzero(buffer.begins)]
    grown = buffer.grown[segments]
    return {
        **state,
        "next_masks": None if buffer.next_masks is None else buffer.next_masks[:k].copy(),
        "tokens": buffer.tokens[segments],
        "grown": grown,
        "left_out": buffer.left_out[segments],
        "last": buffer.last[segments[~grown]],
        "open": buffer.open != NONE,
    }


def set_replay(buffer: ReplayBuffer, state: Mapping[str, Any]) -> None:
    """Remember what `get_replay` returned, of a buffer made alike.

    Raises:
        InvalidSetting, KeyError: it is the state of another buffer, or none. Nothing changes then.
    """
    full, pos = state["full"], count(state, "pos")
    if not isinstance(full, bool) or pos >= buffer.buffer_size:
        raise InvalidSetting(f"the replay buffer stands at {pos}, full={full!r}; it has {buffer.buffer_size} places.")
    k = buffer.buffer_size if full else pos
    largest = np.finfo(np.float32).max
    ranges = {"actions": bounds(buffer.action_space), "rewards": (-largest, largest), "dones": (0, 1)}
    read = {name: _steps(buffer, state, name, k, ranges.get(name, (0, 1))) for name in STEPS}
    if isinstance(buffer, EpisodeReplayBuffer):
        _set_segments(buffer, state, k, pos if full else 0)
    else:
        observed = bounds(buffer.observation_space)
        read |= {name: _steps(buffer, state, name, k, observed) for name in OBSERVED}
    for name, array in read.items():
        getattr(buffer, name)[:k] = array
    buffer.pos, buffer.full = pos, full


def bounds(space: spaces.Space[Any]) -> tuple[Any, Any]:
    """Return the least and the greatest numbers of a space."""
    if isinstance(space, spaces.Box):
        return space.low, space.high
    return (space.start, space.start + space.n - 1) if isinstance(space, spaces.Discrete) else (-np.inf, np.inf)


def _steps(buffer: ReplayBuffer, state: Mapping[str, Any], name: str, k: int, ranged: tuple[Any, Any]) -> Array:
    own = getattr(buffer, name)
    return array_like(state, name, (k, *own.shape[1:]), own.dtype, *ranged)


def _set_segments(buffer: EpisodeReplayBuffer, state: Mapping[str, Any], k: int, oldest: int) -> None:
    """Set the rows of tokens, and which steps they belong to."""
    n, width = buffer.n_envs, buffer.tokens.shape[1]
    length, next_length = (_steps(buffer, state, name, k, (0, width)) for name in ("length", "next_length"))
    begins = _steps(buffer, state, "begins", k, (False, True))
    many, low, high = int(np.count_nonzero(begins)), *bounds(buffer.observation_space)
    tokens = array_like(state, "tokens", (many, width), np.int32, low, high)
    grown = array_like(state, "grown", (many,), np.bool_, False, True)
    last = array_like(state, "last", (int(np.count_nonzero(~grown)), width), np.int32, low, high)
    nobody = {"left_out": np.zeros(many, np.bool_)}  # of a run from before scores could be missing
    left_out = array_like({**nobody, **state}, "left_out", (many,), np.bool_, False, True)
    is_open = array_like(state, "open", (n,), np.bool_, False, True)
    masks, size = state["next_masks"], int(buffer.action_space.n)  # type: ignore[attr-defined]
    if masks is not None:
        masks = array_like(state, "next_masks", (k, n, -(-size // 8)), np.uint8, 0, 255)
        if not masks.any(axis=-1).all():
            raise InvalidSetting("the replay buffer's masks leave some step no action.")
    segment = _numbered(begins, oldest)
    have = lengths(tokens, buffer.observation_space)[0]
    after = have.copy()  # tokens of the longest row that a next observation may be a prefix of
    after[~grown] = np.maximum(after[~grown], lengths(last, buffer.observation_space)[0])
    if (segment == NONE).any() or (length > have[segment]).any() or (next_length > after[segment]).any():
        raise InvalidSetting("the replay buffer's rows of tokens do not fit its steps.")
    buffer.fill(begins, segment, tokens, grown, last, left_out)
    buffer.length[:k], buffer.next_length[:k] = length, next_length
    buffer.next_masks = None
    if masks is not None:
        buffer.next_masks = np.full((buffer.buffer_size, *masks.shape[1:]), 255, np.uint8)
        buffer.next_masks[:k] = masks
    newest = segment[oldest - 1] if k else np.full(n, NONE)  # oldest is 0 where the buffer is not full: the last step
    buffer.open = np.where(is_open & grown[newest], newest, NONE) if k else newest


def _numbered(begins: Array, oldest: int) -> Array:
    """Return each step's segment, `(k, n)`, numbered by their first steps; -1 where none has begun.

    Args:
        begins: `(k, n)` bool, whether a step is its segment's first.
        oldest: which of the k steps is the oldest.
    """
    numbers = np.full(begins.shape, NONE)
    numbers[begins] = np.arange(np.count_nonzero(begins))
    in_time = np.roll(numbers, -oldest, axis=0)
    begun = np.where(in_time == NONE, 0, np.arange(len(in_time))[:, None])
    latest = np.maximum.accumulate(begun, axis=0) if len(begun) else begun
    return np.roll(np.take_along_axis(in_time, latest, axis=0), oldest, axis=0)
