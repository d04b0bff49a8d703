"""How a row of a control task looks: its text, printed or drawn."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt

from textgym.control.rows import ControlRows
from textgym.font import cells, draw
from textgym.rendering import COLUMNS, DIM, PLAIN, escape

LINES = 7  # of text, above one with the step


def render(rows: ControlRows, row: int, mode: str | None) -> Any:
    """Return a row as `ansi` text or as an `rgb_array` frame; print it and return None for `human`."""
    if mode == "rgb_array":
        return frame(rows, row)
    if mode == "human":
        print(rows.text(row))
        return None
    return rows.text(row)


def frame(rows: ControlRows, row: int) -> npt.NDArray[np.uint8]:
    """Draw a row: what its state is, what was done, what is advised, the step and the return.

    Returns:
        `(height, width, 3)` uint8, of one size for all control tasks.
    """
    text = escape(rows.text(row))
    widest = max(1, max(cells(character) for character in text or " "))
    lines = textwrap.wrap(text, COLUMNS // widest)[:LINES]
    lines += [""] * (LINES - len(lines))
    status = f"{rows.steps[row]}/{rows.control.max_steps} return {rows.returns[row]:g}"
    return draw([*([(line, PLAIN)] for line in lines), [(status, DIM)]], COLUMNS, scale=2)
