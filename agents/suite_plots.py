"""Pictures of the suite's results: a radar of capabilities, and learning curves with the optimum drawn in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.arrays import FloatArray

from .scoring import by_capability, by_experiment
from .suite import CAPABILITIES, EXPERIMENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def radar(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw each agent's interquartile mean for each capability, from 0 (uniform writing) to 1 (the optimum).

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = _figure((8.0, 5.0))
    axes = figure.add_subplot(projection="polar")
    found = by_capability(records)
    heads = [name for name in CAPABILITIES if any(name in row for row in found.values())]
    angles = np.linspace(0, 2 * np.pi, len(heads), endpoint=False)
    for agent, row in found.items():
        values = [row[name].middle if name in row else np.nan for name in heads]
        axes.plot([*angles, angles[0]], [*values, values[0]], marker="o", markersize=3, label=agent)
    axes.set_xticks(angles, heads)
    axes.set_ylim(0, 1)
    axes.set_theta_offset(np.pi / 2)  # type: ignore[attr-defined]
    axes.tick_params(axis="x", pad=14)
    figure.legend(loc="outside right upper")
    return figure


def curves(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the return of the texts written while learning, one panel a setting, with the optimum and random writing.

    A line is the mean of an agent's seeds.

    Raises:
        ImportError: matplotlib is not installed.
    """
    panels = list(by_experiment(records))
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure((3.2 * columns, 2.4 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    agents = list(dict.fromkeys(record["agent"] for record in records))
    lines: dict[str, Any] = {}
    for (name, setting), axes in zip(panels, grid.flat):
        own = [r for r in records if (r["experiment"], r["setting"]) == (name, setting) and r["score"] is not None]
        for number, agent in enumerate(agents):
            seeds = [r["curve"] for r in own if r["agent"] == agent and r["curve"]]
            if seeds:
                steps, returns = _mean(seeds)
                (lines[agent],) = axes.plot(steps, returns, color=f"C{number}", label=agent)
        if own:
            axes.axhline(own[0]["optimal_return"], color="black", lw=0.8)
            axes.axhline(own[0]["random_return"], color="black", lw=0.8, ls=":")
        settings = ", ".join(f"{key}={value}" for key, value in EXPERIMENTS[name].settings[setting].items())
        axes.set_title(f"{name}\n{settings[:32]}" if settings else name, fontsize=8)
        axes.tick_params(labelsize=7)
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=5, fontsize=8)
    return figure


def _mean(seeds: Sequence[Sequence[tuple[float, float]]]) -> tuple[FloatArray, FloatArray]:
    """Return the steps of all curves and their mean return there, `(k,)` each."""
    curves = [np.array(curve, np.float64) for curve in seeds]  # (points, 2) each
    steps = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    return steps, np.mean([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves], axis=0)


def _figure(size: tuple[float, float]) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "textgym[all]"') from error
    return Figure(figsize=size, layout="constrained")
