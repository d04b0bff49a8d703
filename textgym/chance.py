"""Random generators as plain data, so that what is saved goes on with the same chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from textgym.errors import InvalidSetting


def chance_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return a generator's state as plain data: names, integers, and dictionaries of them."""
    state: Mapping[str, Any] = rng.bit_generator.state
    return {**state}


def restored_chance(state: Any) -> np.random.Generator:
    """Return a generator that goes on where `chance_state` was taken.

    Raises:
        InvalidSetting: that is the state of no PCG64, which Gymnasium's and NumPy's default generators are.
    """
    generator = np.random.PCG64(0)
    try:
        if not all(type(state["state"][name]) is int for name in ("state", "inc")):
            raise ValueError("its numbers are no integers")
        generator.state = state
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise InvalidSetting(f"{state!r} is no state of a random generator: {error}.") from error
    return np.random.Generator(generator)
