"""Rewards computed on decoded text, where the same text can be written with other tokens than the target's."""

from __future__ import annotations

from itertools import takewhile

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Episodes


def same_text(episodes: Episodes) -> FloatArray:
    """1.0 where the completion reads as the target, whatever tokens it is written with; else 0.0.

    An incomplete character reads as U+FFFD, and so as no other.
    """
    decode = episodes.vocabulary.decode
    same = [decode(episodes.completion[row]) == decode(episodes.target[row]) for row in range(len(episodes))]
    return np.array(same, np.float64)


def exact_text(episodes: Episodes) -> FloatArray:
    """1 with the last token if the completion reads as the target, else 0."""
    paid = np.zeros(len(episodes))
    ended = np.flatnonzero(episodes.finished)
    if len(ended):
        paid[ended] = same_text(episodes.take(ended))
    return paid


def text_prefix(episodes: Episodes) -> FloatArray:
    """1/(c + 1) for each further character with which the text begins as the target's c do, and for the right end.

    The potential (Ng, Harada & Russell, 1999) is the share of the target's characters that the text begins with: a
    character of several tokens is paid with the last of them. The target earns 1 in all.
    """
    decode, paid = episodes.vocabulary.decode, exact_text(episodes)
    shares = np.zeros(len(episodes))
    for row, length in enumerate(episodes.length.tolist()):
        target, completion = decode(episodes.target[row]), episodes.completion[row]
        now, before = (_shared(target, decode(completion[:end])) for end in (length, length - 1))
        paid[row] += now - before
        shares[row] = len(target) + 1
    progress: FloatArray = paid / shares
    return progress


def _shared(one: str, other: str) -> int:
    """Return with how many characters two texts begin alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other)))
