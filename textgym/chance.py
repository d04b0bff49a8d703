"""Chance: random generators as plain data, so that what is saved goes on alike, and noise as a function of a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from textgym.arrays import FloatArray, IntArray, UInt64Array
from textgym.errors import InvalidSetting

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, made odd


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


def splitmix64(state: UInt64Array, n: IntArray) -> UInt64Array:
    """Return the n-th output of SplitMix64 from a state, for each of the rows.

    Its n-th output is a mixing function of `state + n * golden`, so that no stream need be kept (Steele, Lea & Flood,
    "Fast splittable pseudorandom number generators", OOPSLA 2014; the shifts and factors are Vigna's `splitmix64.c`).

    Args:
        state: `(n,)` uint64.
        n: `(n,)` which output, from 1.

    Returns:
        `(n,)` uint64.
    """
    z = state + n.astype(np.uint64) * _GOLDEN  # modulo 2**64, as all that follows
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64Array = z ^ (z >> np.uint64(31))
    return mixed


def gaussian(seed: UInt64Array, length: IntArray) -> FloatArray:
    """Return one draw from the standard normal distribution for each row: a pure function of (seed, length).

    Two outputs of SplitMix64 and the Box-Muller transform (Box & Muller, 1958). The seed is mixed before the outputs
    are counted, so that no seed's stream is another's, shifted.

    Args:
        seed: `(n,)` uint64.
        length: `(n,)` integers from 0.

    Returns:
        `(n,)` float64, none of them beyond 8.6.
    """
    state = splitmix64(seed, np.ones_like(length))
    bits = np.stack([splitmix64(state, 2 * length + 1), splitmix64(state, 2 * length + 2)])
    radius, angle = (bits >> np.uint64(11)) * 2.0**-53  # (2, n) in [0, 1): what a float64 holds of 64 bits
    drawn: FloatArray = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
    return drawn
