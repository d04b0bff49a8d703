"""Ladders: for some tasks one knob that makes them harder, rung by rung; `textgym.variant` climbs them.

A ladder takes a rung, 1, 2, ..., and returns arguments of the task's factory, plain data. Every rung is harder than the
one before, by a factor of 10 at most, and all prompts of a rung are about equally hard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from textgym.errors import Names

Ladder: TypeAlias = Callable[[int], dict[str, Any]]

TEN = "abcdefghij"

LADDERS: Names[Ladder] = Names(
    "id with a ladder of variants",
    **{
        "TextGen-v0": lambda k: {"target": (TEN * k)[:k], "alphabet": TEN},  # 10 ** -k
        "TextGym/Copy-v0": lambda k: {"alphabet": "abc", "min_length": k, "max_length": k},  # 4 ** -(k + 1)
        "TextGym/Lock-v0": lambda k: {"alphabet": "0123456789", "length": k},  # 10 ** -k
        "TextGym/Reverse-v0": lambda k: {"alphabet": "abc", "min_length": k, "max_length": k},
        "TextGym/Sort-v0": lambda k: {"alphabet": "abc", "min_length": k, "max_length": k},
        "TextGym/Trap-v0": lambda k: {"target": (TEN[:3] * k)[:k], "alphabet": TEN[:3]},  # 4 ** -k
    },
)
