"""What `guidance.py` found, as one table and one picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.scoring import estimate, markdown_table
from textgym.arrays import FloatArray

Records = Sequence[Mapping[str, Any]]
COLOURS = {
    "none": "black",
    "expert": "C2",
    "noisy 0.1": "C0",
    "noisy 0.3": "C9",
    "noisy 0.5": "C4",
    "adversarial": "C3",
    "irrelevant": "C7",
    "language-model": "C1",
}


def report(records: Records, levels: Mapping[str, float], picture: Path) -> None:
    """Print the table as Markdown, and write the picture.

    Args:
        records: of all runs, as `guidance.py` keeps them.
        levels: the mean return of each task to which steps are counted.
        picture: where it goes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    print("\n".join(table(records, levels)))
    draw(records, levels, picture)


def table(records: Records, levels: Mapping[str, float]) -> list[str]:
    """Return the lines of a table: an adviser and a way to pay in each row, a task in each column."""
    rows = []
    ways = dict.fromkeys((record["adviser"], record["shaping"]) for record in records)
    for adviser, shaping in sorted(ways, key=lambda way: ([*COLOURS].index(way[0]), way[1])):
        found = [
            [r for r in records if (r["task"], r["adviser"], r["shaping"]) == (task, adviser, shaping)]
            for task in levels
        ]
        rows.append([adviser, shaping, *[cell(of, levels[task]) if of else "" for task, of in zip(levels, found)]])
    return markdown_table(["adviser", "paid by", *levels], rows)


def cell(records: Records, level: float) -> str:
    """Return the final return and the steps to a level: interquartile means and their intervals, and who reached it.

    A run that did not reach it counts with all its steps.
    """
    final = estimate([np.array([record["final"] for record in records])])
    found = [reached(record, level) for record in records]
    counted = [record["steps"] if step is None else step for record, step in zip(records, found)]
    steps = estimate([np.array(counted) / 1000])
    digits = 0 if abs(final.middle) >= 10 else 2
    earned = f"{final.middle:.{digits}f} ({final.low:.{digits}f} to {final.high:.{digits}f})"
    within = sum(step is not None for step in found)
    shown = f"{steps.middle:.0f} k ({steps.low:.0f} to {steps.high:.0f})" if within else "never"
    return f"{earned}; {shown}, {within} of {len(records)}"


def reached(record: Mapping[str, Any], level: float) -> int | None:
    """Return after how many steps a run's episodes earned a level on average; None where they never did."""
    return next((step for step, earned in record["curve"] if earned >= level), None)


def draw(records: Records, levels: Mapping[str, float], picture: Path) -> None:
    """Draw true returns against steps, a panel for each task and way to pay."""
    from matplotlib.figure import Figure

    shapings = ("agreement", "potential")
    figure = Figure(figsize=(3.2 * len(levels), 5.2), layout="constrained")
    grid = figure.subplots(2, len(levels), squeeze=False, sharex="col", sharey="col")
    lines: dict[str, Any] = {}
    panels = itertools.product(shapings, levels.items())
    for axes, (shaping, (task, level)) in zip(grid.flat, panels):
        own_task = [record for record in records if record["task"] == task]
        paid = any(record["shaping"] == shaping for record in own_task)
        drawn = [record for record in own_task if paid and record["shaping"] in ("", shaping)]
        for adviser, colour in COLOURS.items():
            own = [record for record in drawn if record["adviser"] == adviser]
            if own:
                steps, middle, low, high = curve(own)
                (lines[adviser],) = axes.plot(steps, middle, color=colour, lw=1.2)
                axes.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
        if not drawn:
            axes.set_axis_off()
            continue
        axes.axhline(level, color="grey", lw=0.6, ls=":")
        axes.set_title(f"{task}\n{shaping}", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.supxlabel("environment steps", fontsize=8)
    figure.supylabel("return without guidance", fontsize=8)
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines), fontsize=8)
    figure.savefig(picture)


def curve(records: Records) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return steps, and there the interquartile mean of runs and its interval, `(k,)` each."""
    points = [np.array(record["curve"], np.float64) for record in records]  # (k, 2) each
    steps = max(points, key=len)[:, 0]
    values = np.array([np.interp(steps, *one.T) for one in points])  # (runs, k)
    found = [estimate([column], repeats=500) for column in values.T]
    middle, low, high = np.array([(one.middle, one.low, one.high) for one in found]).T
    return steps, middle, low, high
