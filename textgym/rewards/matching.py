"""Rewards for agreement with a target: per token, at the end, or shaped."""

from __future__ import annotations

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.episodes import Episodes
from textgym.task import Reward, StateKey

_WRONG_OR_RIGHT = np.array([-1.0, 1.0])


def right_token(episodes: Episodes) -> FloatArray:
    """+1 for the right token in its place, -1 for a wrong one or one past the target's end."""
    paid: FloatArray = _WRONG_OR_RIGHT.take(episodes.newest == episodes.wanted)  # a third of the cost of np.where
    return paid


def right_share(episodes: Episodes) -> FloatArray:
    """+1/len(target) for the right token in its place, -1/len(target) for another; the target earns 1 in all."""
    return right_token(episodes) / np.maximum(episodes.target_length, 1)


def exact_match(episodes: Episodes) -> FloatArray:
    """1 with the last token if the completion is the target, else 0."""
    if not np.count_nonzero(episodes.finished):
        return np.zeros(len(episodes))
    return (episodes.finished & episodes.matched).astype(np.float64)


def faultless_prefix(episodes: Episodes) -> FloatArray:
    """1/len(target) for each token that continues a faultless completion; the target earns 1 in all.

    The sum telescopes, so this is potential-based shaping of a terminal reward (Ng, Harada & Russell, 1999) whose
    potential is the share of the target already written, kept where a fault is made.
    """
    return np.where(episodes.faultless, 1.0 / np.maximum(episodes.target_length, 1), 0.0)


def agreement_key(episodes: Episodes) -> IntArray:
    """Whether all that is written agrees with the target: what the rewards here, and success, still depend on."""
    return episodes.faultless.astype(np.int64)


def key_of(reward: Reward) -> StateKey | None:
    """Return what a task of one target a prompt may declare as its state's key; None where a reward may need more."""
    return agreement_key if reward in (right_token, right_share, exact_match, faultless_prefix) else None
