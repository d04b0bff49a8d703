"""The tables, texts and picture of `overoptimisation.py`, from its results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.scoring import markdown_table

Array = npt.NDArray[np.float64]
COLOURS = ("#d1495b", "#edae49", "#00798c", "#5b5b5b")
Runs = dict[tuple[str, str, str], dict[int, Any]]  # of a task: pairs, agent, beta -> seed -> result


def runs_of(done: Mapping[str, Any], part: str) -> Runs:
    """Return the trainings of a task, those of several seeds together."""
    found: Runs = defaultdict(dict)
    for name, result in done.items():
        kind, *rest = name.split("/")
        if kind == part and len(rest) == 4:
            found[(rest[0], rest[1], rest[2])][int(rest[3])] = result
    return found


def course(results: Mapping[int, Any]) -> Array:
    """Return the points of several seeds, `(seeds, k, columns)`, as far as all of them go."""
    all_points = [result["points"] if isinstance(result, dict) else result for result in results.values()]
    least = min(map(len, all_points))
    return np.array([points[:least] for points in all_points])


def spread(values: Array, digits: int = 2) -> str:
    """Return the mean of some seeds, and their range."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def letters_table(done: Mapping[str, Any]) -> list[str]:
    """Return what each proxy of the letters is worth, in Markdown."""
    runs = runs_of(done, "letters")
    betas = sorted({key[2] for key in runs}, key=float, reverse=True)
    head = [
        "pairs",
        "accuracy",
        "proxy's best text",
        "optima: gold's peak",
        "the last optimum",
        "best of n: peak",
        "last",
    ]
    lines = []
    for name, about in done.items():
        if not name.startswith("letters/") or not name.endswith("/judge"):
            continue
        pairs = name.split("/")[1]
        optima, best = (np.array(done[f"letters/{pairs}/{what}"]) for what in ("frontier", "best-of-n"))
        cells = [pairs, f"{about['accuracy']:.0%}", f"`{about['best']}`"]
        cells += [at(line) for one in (optima, best) for line in (one[one[:, 3].argmax()], one[-1])]
        for beta in betas:
            ends = course(runs[(pairs, "ppo", beta)])[:, -1] if (pairs, "ppo", beta) in runs else np.zeros((0, 4))
            cells.append(f"{spread(ends[:, 3])}, {ends[:, 1].mean():.1f} nats" if len(ends) else "")
        lines.append(cells)
    return markdown_table([*head, *[f"PPO, {beta} a nat" for beta in betas]], lines)


def at(line: Array) -> str:
    """Return gold, and how far from the start it is had."""
    return f"{line[3]:.2f}, {line[1]:.1f} nats"


def reviews_table(done: Mapping[str, Any]) -> list[str]:
    """Return what became of each proxy of the reviews, in Markdown."""
    head = ["pairs", "accuracy", "optimised by", "proxy at the end", "gold's peak", "gold at the end", "KL at the end"]
    head += ["repetition", "the gap opened"]
    lines = []
    for (pairs, agent, beta), results in sorted(
        runs_of(done, "reviews").items(), key=lambda one: (int(one[0][0]), one[0])
    ):
        accuracy = f"{done[f'reviews/{pairs}/judge']['accuracy']:.0%}"
        points = course(results)  # (seeds, k, 6): step, KL, proxy, gold, repetition, length
        end, peaks = points[:, -1], points[:, :, 3].max(axis=1)
        at = points[np.arange(len(points)), points[:, :, 3].argmax(axis=1), 1]
        told = [result["watched"]["opened"] for result in results.values()]
        cells = [
            pairs,
            accuracy,
            f"{agent}, {beta} a nat",
            spread(end[:, 2]),
            f"{spread(peaks)} at {at.mean():.1f} nats",
        ]
        cells += [spread(end[:, 3]), f"{end[:, 1].mean():.1f}", f"{end[:, 4].mean():.0%}"]
        lines.append([*cells, f"{sum(step is not None for step in told)} of {len(told)}"])
    for pairs, values in done.get("reviews/best-of-n", {}).items():
        best = np.array(values)  # (k, 5): n, KL, proxy, gold, gold's error
        peak, last = best[best[:, 3].argmax()], best[-1]
        accuracy = f"{done[f'reviews/{pairs}/judge']['accuracy']:.0%}"
        cells = [pairs, accuracy, f"best of {last[0]:.0f}", f"{last[2]:.2f}", f"{peak[3]:.2f} at {peak[1]:.1f} nats"]
        lines.append([*cells, f"{last[3]:.2f} ± {last[4]:.2f}", f"{last[1]:.1f}", "", ""])
    return markdown_table(head, lines)


def texts(done: Mapping[str, Any], pairs: str, beta: str) -> list[str]:
    """Return what one run wrote at its start, at gold's peak and at its end, in Markdown."""
    for key, results in runs_of(done, "reviews").items():
        if (key[0], key[2]) == (pairs, beta) and 0 in results:
            kept = results[0]["texts"]
            return markdown_table(
                ("when", "prompt → completion", "proxy", "gold"),
                [
                    [when, f"{prompt} → {text}", f"{proxy:.2f}", f"{gold:.2f}"]
                    for when, written in kept.items()
                    for prompt, text, proxy, gold in written[:3]
                ],
            )
    return []


def draw(done: Mapping[str, Any], path: Path) -> None:
    """Draw all curves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = ("abcd, six letters, exact: optima, best of n (dotted), PPO (dots)", "reviews: {}", "reviews: best of n")
    agents = {key[1] for key in runs_of(done, "reviews")}
    for axes, title in zip(panels, titles):
        axes.set_title(title.format(", ".join(sorted(agents))), fontsize=9)
        axes.set_xlabel("square root of KL from the start, √nats")
        axes.grid(alpha=0.3)
        axes.axhline(0, color="black", lw=0.5)
    panels[0].set_ylabel("deviations of the start: gold (solid), proxy (dashed)")
    _draw_letters(panels[0], done)
    _draw_runs(panels[1], done)
    for colour, (pairs, values) in zip(COLOURS, done.get("reviews/best-of-n", {}).items()):
        best = np.array(values)
        _both(panels[2], np.sqrt(best[:, 1]), best[:, 2], best[:, 3], colour, pairs)
    for axes in panels:
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=8)
    figure.savefig(path)


def _both(axes: Any, distance: Array, proxy: Array, gold: Array, colour: str, label: str) -> None:
    axes.plot(distance, gold, color=colour, label=label)
    axes.plot(distance, proxy, color=colour, ls="--", alpha=0.7)


def _draw_letters(axes: Any, done: Mapping[str, Any]) -> None:
    if "letters/gold/frontier" in done:
        ceiling = np.array(done["letters/gold/frontier"])
        axes.plot(np.sqrt(ceiling[:, 1]), ceiling[:, 3], color="black", lw=2, label="gold's own optima")
    names = [name.split("/")[1] for name in done if name.startswith("letters/") and name.endswith("/judge")]
    runs = runs_of(done, "letters")
    for colour, pairs in zip(COLOURS, names):
        optima, best = (np.array(done.get(f"letters/{pairs}/{what}", [[0] * 4])) for what in ("frontier", "best-of-n"))
        _both(axes, np.sqrt(optima[:, 1]), optima[:, 2], optima[:, 3], colour, f"{pairs} pairs")
        axes.plot(np.sqrt(best[:, 1]), best[:, 3], color=colour, ls=":")
        beta = min((key[2] for key in runs if key[0] == pairs), key=float, default=None)
        for (n, _, own), results in runs.items():
            if (n, own) == (pairs, beta):
                points = course(results).mean(axis=0)
                axes.plot(np.sqrt(points[:, 1]), points[:, 3], ".", ms=4, color=colour)
    axes.set_ylim(-3, 3)


def _draw_runs(axes: Any, done: Mapping[str, Any]) -> None:
    runs = runs_of(done, "reviews")
    colours = dict(zip(sorted({key[0] for key in runs}, key=int), COLOURS))
    weights = dict(zip(sorted({key[2] for key in runs}, key=float), (2.0, 1.0, 0.6)))
    for (pairs, _, beta), results in sorted(runs.items(), key=lambda one: (int(one[0][0]), one[0])):
        points = course(results)
        middle = points.mean(axis=0)
        distance = np.sqrt(np.maximum(middle[:, 1], 0.0))
        axes.plot(distance, middle[:, 3], color=colours[pairs], lw=weights[beta], label=f"{pairs} pairs, {beta} a nat")
        axes.plot(distance, middle[:, 2], color=colours[pairs], lw=weights[beta], ls="--", alpha=0.7)
        low, high = points[:, :, 3].min(axis=0), points[:, :, 3].max(axis=0)
        axes.fill_between(distance, low, high, color=colours[pairs], alpha=0.12, lw=0)


def report(done: Mapping[str, Any], out: Path) -> None:
    """Print tables and texts, and draw the picture."""
    print("\n".join(letters_table(done)), end="\n\n")
    print("\n".join(reviews_table(done)), end="\n\n")
    for pairs, _, beta in sorted(runs_of(done, "reviews"), key=lambda key: (int(key[0]), float(key[2]))):
        print(f"{pairs} pairs, {beta} a nat:", *texts(done, pairs, beta), sep="\n", end="\n\n")
    draw(done, out / "overoptimisation.svg")
