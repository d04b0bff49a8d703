"""StateTable: rows of numbers for the states met so far."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from textgym.errors import InvalidSetting

Array = npt.NDArray[Any]

UNKNOWN = 0
"""The row of all states that the table does not hold; its numbers are 0 and stay so."""


class StateTable:
    """A dictionary from observations to rows of arrays, which grows with the states met.

    A state costs `8 * (width + numbers)` bytes and a dictionary's entry, and there are never more than `limit`: states
    met after that are not learned.

    Args:
        width: integers in an observation.
        columns: the numbers kept for a state: a name and how many, 0 for a single one.
        limit: the most states.
        dtype: of the integers, as `state_dict` returns them.

    Raises:
        InvalidSetting: (from `find` and `look`) observations that are no rows of as many integers.
    """

    def __init__(
        self, width: int, columns: Mapping[str, int], limit: int, dtype: type[np.signedinteger[Any]] = np.int32
    ) -> None:
        self.width, self.limit, self.dtype = width, limit, np.dtype(dtype)
        self._row: dict[bytes, int] = {}  # observation -> row, from 1 on
        self._columns = {name: np.zeros((1024, size) if size else 1024) for name, size in columns.items()}

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, name: str) -> Array:
        """Return a column, `(capacity, numbers)` or `(capacity,)`, to be read and written in place."""
        return self._columns[name]

    def find(self, observations: Array) -> Array:
        """Return the row of each observation, `(n,)`; new ones get one of zeros, or UNKNOWN where the table is full."""
        found = [self._row.get(key) or self._add(key) for key in self._keys(observations)]
        capacity = len(next(iter(self._columns.values())))
        if len(self._row) >= capacity:
            more = max(capacity, len(self._row))
            self._columns = {
                name: np.concatenate([old, np.zeros((more, *old.shape[1:]))]) for name, old in self._columns.items()
            }
        if len(self._row) >= self.limit and UNKNOWN in found:
            warnings.warn(
                f"the table holds {self.limit} states, all that max_states allows; states met from here on are not "
                "learned. Give a greater max_states, or an agent with a network.",
                stacklevel=3,
            )
        return np.array(found, np.int64)

    def look(self, observations: Array) -> Array:
        """Return the row of each observation, `(n,)`; UNKNOWN for new ones, which stay new."""
        return np.array([self._row.get(key, UNKNOWN) for key in self._keys(observations)], np.int64)

    def _add(self, key: bytes) -> int:
        if len(self._row) >= self.limit:
            return UNKNOWN
        self._row[key] = len(self._row) + 1
        return len(self._row)

    def _keys(self, observations: Array) -> list[bytes]:
        """Return each observation's key, the same for integers of every width."""
        rows = np.asarray(observations)
        if rows.dtype.kind not in "iu" or rows.shape[1:] != (self.width,):
            raise InvalidSetting(
                f"observations are {rows.dtype} {rows.shape}; this table knows rows of {self.width} integers."
            )
        return [row.tobytes() for row in rows.astype(np.int64, copy=False)]

    def state_dict(self) -> dict[str, Array]:
        """Return `states`, `(k, width)`, and each column's `(k, numbers)` or `(k,)`."""
        states = np.frombuffer(b"".join(self._row), np.int64).reshape(-1, self.width)
        learned = {name: column[1 : len(self._row) + 1].copy() for name, column in self._columns.items()}
        return {"states": states.astype(self.dtype), **learned}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Replace everything by what `state_dict` returned.

        Raises:
            InvalidSetting: the arrays are of other names, shapes or dtypes, hold a state twice or a number that is not
                finite. Nothing changes then.
        """
        count = next(iter(np.shape(state.get("states", ()))), 0)
        wanted: dict[str, Any] = {
            "states": ((count, self.width), self.dtype),
            **{name: ((count, *column.shape[1:]), column.dtype) for name, column in self._columns.items()},
        }
        given = {name: (np.shape(array), np.asarray(array).dtype) for name, array in state.items()}
        row = {key: i + 1 for i, key in enumerate(self._keys(state["states"]))} if given == wanted else {}
        if given != wanted or len(row) < count or count > self.limit:
            raise InvalidSetting(
                f"a table of {_shapes(given)} does not fit: this one holds {_shapes(wanted)}, each state once, at most "
                f"{self.limit}."
            )
        for name in self._columns:
            if not np.isfinite(state[name]).all():
                raise InvalidSetting(f"the table's {name} are not finite.")
        capacity = count + 1 + max(1024, count)
        columns = {name: np.zeros((capacity, *column.shape[1:])) for name, column in self._columns.items()}
        for name, column in columns.items():
            column[1 : count + 1] = state[name]
        self._row, self._columns = row, columns


def _shapes(arrays: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in arrays.items())
