"""Whether two results of a task agree, and the error where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np


class LawBroken(AssertionError):
    """A task does not keep a law; the message says which one and where."""


def agree(where: str, mine: Any, theirs: Any, path: str = "") -> None:
    """Raise `LawBroken` unless two nested results are equal: types, dtypes and values, rewards to 1e-5."""
    if isinstance(theirs, dict):
        equal = isinstance(mine, dict) and mine.keys() == theirs.keys()
        parts = [(mine[key], theirs[key], f"{path}.{key}") for key in theirs] if equal else []
    elif isinstance(theirs, (tuple, list)) or (isinstance(theirs, np.ndarray) and theirs.dtype == object):
        equal = len(mine) == len(theirs)
        parts = [(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(mine, theirs))]
    else:
        a, b = np.asarray(mine), np.asarray(theirs)
        close = a.dtype.kind == "f" and a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-5)
        equal, parts = a.dtype == b.dtype and (close or np.array_equal(a, b)), []
    if not equal:
        raise LawBroken(f"{where}: {path or 'the results'} differ:\n{mine!r}\n{theirs!r}")
    for a, b, deeper in parts:
        agree(where, a, b, deeper)
