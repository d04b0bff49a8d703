"""Accumulating: a minibatch read in parts, whose gradients are added up, so that one part's activations are held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .prefixes import Prefixes


def parts(batch: Any, size: int | None) -> Iterator[tuple[Tensor | slice, Any]]:
    """Yield a minibatch in parts of whole segments, each behind which of its transitions they are.

    A part has some `size` transitions; where a segment alone has more, as many as that has.

    Args:
        batch: SB3's `RolloutBufferSamples`, of N transitions, with `Prefixes` or other observations.
        size: None for one part of all.

    Returns:
        Which transitions, `(M,)` int64 or a slice of all, and their samples.
    """
    many = len(batch.actions)
    if size is None or many <= size:
        yield slice(None), batch
        return
    for chosen, observations in _chosen(batch.observations, many, size):
        others = {name: value[chosen] for name, value in batch._asdict().items() if name != "observations"}
        yield chosen, batch._replace(observations=observations, **others)


def _chosen(observations: Any, many: int, size: int) -> Iterator[tuple[Tensor, Any]]:
    """Yield which transitions each part has, and what they observed."""
    if not isinstance(observations, Prefixes):
        for first in range(0, many, size):
            chosen = torch.arange(first, min(first + size, many))
            yield chosen, _picked(observations, chosen)
        return
    tokens, segment, length, masks = observations
    counts = torch.bincount(segment, minlength=len(tokens))  # (S,) transitions of each segment
    part = ((counts.cumsum(0) - counts / 2) / size).long()  # (S,) where a segment's middle falls
    for number in sorted({*part.tolist()}):
        segments = (part == number).nonzero().flatten()
        place = torch.full_like(counts, -1)
        place[segments] = torch.arange(len(segments), device=place.device)
        chosen = (place[segment] >= 0).nonzero().flatten()
        seen = None if masks is None else masks[chosen]
        yield chosen, Prefixes(tokens[segments], place[segment[chosen]], length[chosen], seen)


def _picked(observations: Any, chosen: Tensor) -> Any:
    """Return some rows of a tensor, or of each entry of a dictionary."""
    if isinstance(observations, dict):
        return {name: value[chosen] for name, value in observations.items()}
    return observations[chosen]
