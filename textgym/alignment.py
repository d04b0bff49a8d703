"""Id sequences of different lengths as one padded array."""

from __future__ import annotations

import numpy as np

from textgym.arrays import IntArray
from textgym.errors import InvalidPrompt


def aligned(
    parts: list[IntArray], width: int, pad: int, limit: int, kind: str, right: bool = False
) -> tuple[IntArray, IntArray]:
    """Return id sequences as one array `(k, width)` int32, filled with pad on the other side, and their lengths.

    Args:
        parts: sequences of integers below `limit`.
        width: columns.
        pad: what fills a row.
        limit: one past the highest id.
        kind: what errors call a sequence: a prompt, or a target.
        right: align at the right instead of the left.

    Raises:
        InvalidPrompt: a sequence is too long, or holds what is no id.
    """
    try:
        lengths = np.fromiter(map(len, parts), np.intp, len(parts))
        flat = np.concatenate([part for part in parts if len(part)] or [np.zeros(0, np.int32)])
        assert flat.ndim == 1
    except (TypeError, ValueError, AssertionError) as error:
        shapes = sorted({np.shape(part) for part in parts if len(np.shape(part)) != 1})
        raise InvalidPrompt(f"a {kind} must be one row of ids; got the shapes {shapes}.") from error
    if lengths.max() > width:
        longest = list(map(int, parts[int(lengths.argmax())]))
        raise InvalidPrompt(
            f"a {kind} has {len(longest)} tokens, {longest}, but the prompt generator announces at most "
            f"{width}. Announce more (`max_length`, `max_target`) or generate less."
        )
    if flat.size and not (flat.dtype.kind in "iu" and flat.min() >= 0 and flat.max() < limit):
        raise InvalidPrompt(
            f"a {kind} holds {flat[(flat < 0) | (flat >= limit)].tolist() or flat.dtype}; its ids must be integers "
            f"from 0 to {limit - 1}."
        )
    block = np.full((len(parts), width), pad, np.int32)
    column = np.arange(width)
    filled = column >= (width - lengths)[:, None] if right else column < lengths[:, None]  # (k, width)
    block[filled] = flat
    return block, lengths
