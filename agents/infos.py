"""From Gymnasium's batched info, arrays beside masks, to SB3's list of dictionaries."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from itertools import repeat
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class _Running(dict[str, Any]):
    """The info of every row that goes on. It is one object for all of them, so nothing may be written into it."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            "rows that go on share one empty info, which cannot be written to. In a wrapper, put a dictionary of "
            "the row's own in its place: infos[i] = {**infos[i], key: value}."
        )

    __setitem__ = setdefault = update = pop = popitem = clear = __delitem__ = __ior__ = _refuse


RUNNING = _Running()


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Pause garbage collection while thousands of dictionaries are made, none of which can be garbage yet."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def rows_of(info: dict[str, Any], rows: Array, found: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Return Gymnasium's batched info, values beside masks, as one dictionary for each of the rows.

    Args:
        info: `key` to `(n, ...)` values and `_key` to an `(n,)` mask of who has the key.
        rows: the rows wanted.
        found: their dictionaries so far, which are added to.
    """
    for key, values in info.items():
        if key.startswith("_"):
            continue
        column = _column(values, rows)
        has = info[f"_{key}"][rows] if f"_{key}" in info else None
        everyone = has is None or np.count_nonzero(has) == len(rows)
        if found is None and everyone:  # the commonest case, one metric, ends here
            found = [{key: value} for value in column]
            continue
        found = [{} for _ in column] if found is None else found
        for row, value, given in zip(found, column, repeat(True) if has is None or everyone else has):
            if given:
                row[key] = value
    return [{} for _ in range(len(rows))] if found is None else found


def _column(values: Any, rows: Array) -> list[Any]:
    """Return one key's values for the rows: dictionaries, plain numbers, or arrays."""
    if isinstance(values, dict):
        return rows_of(values, rows)
    picked = np.asarray(values)[rows]
    return picked.tolist() if picked.ndim == 1 else list(picked)
