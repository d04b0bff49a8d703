"""Learning curves of runs: the median of the seeds, and the range between them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from textgym.errors import InvalidSetting

from .config import Config
from .layers import flat
from .metrics import COLUMNS, GOLD_COLUMNS
from .runs import read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = npt.NDArray[np.float64]  # (2, k): steps, values


def plot(runs: Sequence[str | Path], column: str = "return") -> Figure:
    """Draw the learning curves of runs: runs that differ in their seed alone are one line, with the range around it.

    Args:
        runs: folders that `textgym train --out` wrote.
        column: of `metrics.csv`: return, success, length, entropy, loss, steps_per_second; gold and repetition where
            the task reports a gold reward.

    Returns:
        A matplotlib figure; `figure.savefig("curves.svg")` writes it.

    Raises:
        InvalidSetting: no runs, a run without metrics, an unknown column.
        ImportError: matplotlib is not installed.
    """
    if not runs:
        raise InvalidSetting("no run was named. Give folders that `textgym train --out` wrote.")
    known = [*COLUMNS[1:], *GOLD_COLUMNS]
    if column not in known:
        raise InvalidSetting(f"column={column!r} does not exist. Give one of {known}.")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "textgym[all]"') from error
    groups: dict[str, list[tuple[Config, Curve]]] = defaultdict(list)
    for run in runs:
        config, curve = _read(Path(run), column)
        groups[json.dumps(config.model_dump(exclude={"seed", "steps"}))].append((config, curve))
    names = _names([members[0][0] for members in groups.values()])
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, members in zip(names, groups.values()):
        _draw(axes, f"{name} ({len(members)} seed{'s' * (len(members) > 1)})", [curve for _, curve in members])
    axes.set_xlabel("environment steps")
    axes.set_ylabel(column.replace("_", " "))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _read(run: Path, column: str) -> tuple[Config, Curve]:
    found = read_run(run)
    points = [(row["step"], row[column]) for row in found.metrics if row.get(column) is not None]
    if not points:
        raise InvalidSetting(f"{run} has noted no {column}; its agent has none, or the run has learned nothing yet.")
    return found.config, np.array(points, np.float64).T


def _draw(axes: Any, name: str, curves: list[Curve]) -> None:
    """Draw the median of some curves, at the steps of all, as far as every one reaches, and their range."""
    end = min(curve[0, -1] for curve in curves)
    steps = np.unique(np.concatenate([curve[0] for curve in curves]))
    steps = steps[(steps >= max(curve[0, 0] for curve in curves)) & (steps <= end)]
    values = np.array([np.interp(steps, *curve) for curve in curves])  # (seeds, k)
    (line,) = axes.plot(steps, np.median(values, axis=0), label=name)
    if len(curves) > 1:
        axes.fill_between(steps, values.min(axis=0), values.max(axis=0), alpha=0.2, color=line.get_color(), lw=0)


def _names(configs: list[Config]) -> list[str]:
    """Return each group's name: the agent, the environment, and what else sets it apart from the others."""
    every_setting = [flat(config.model_dump(exclude={"seed", "steps"})) for config in configs]
    every = {key: [values.get(key) for values in every_setting] for values in every_setting for key in values}
    differing = [key for key, values in every.items() if len({json.dumps(v) for v in values}) > 1]
    extra = [key for key in differing if key not in ("agent", "env")]
    if len({config.agent for config in configs}) > 1:  # other agents have other settings, which say nothing more
        extra = [key for key in extra if not key.startswith("settings.")]
    return [
        ", ".join([f"{c.agent} on {c.env}", *[f"{key.rpartition('.')[2]}={values.get(key)}" for key in extra]])
        for c, values in zip(configs, every_setting)
    ]
