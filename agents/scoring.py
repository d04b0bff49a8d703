"""Scores of many runs as few numbers with intervals: interquartile means, bootstrapped within experiments.

Agarwal, Schwarzer, Castro, Courville & Bellemare (2021), "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", sections 4.2 and 4.3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgym.arrays import FloatArray

from .suite import CAPABILITIES, EXPERIMENTS

REPEATS = 2000  # of the bootstrap
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """An aggregate and its interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return _with_range(self.low, self.middle, self.high)


def interquartile_mean(scores: FloatArray) -> FloatArray:
    """Return the mean of the middle half of the last axis; a score that a quartile cuts counts in part.

    Args:
        scores: `(..., n)`.

    Returns:
        `(...)`.

    Example:
        >>> float(interquartile_mean(np.array([0.0, 0.4, 0.6, 9.0])))
        0.5
    """
    n = scores.shape[-1]
    edges = np.arange(n + 1) / n
    inside = np.clip(edges[1:], 0.25, 0.75) - np.clip(edges[:-1], 0.25, 0.75)  # (n,) of each score's share
    means: FloatArray = np.sort(scores, axis=-1) @ (inside / inside.sum())
    return means


def estimate(groups: Sequence[FloatArray], repeats: int = REPEATS, seed: int = 0) -> Estimate:
    """Return the interquartile mean over all scores, with its 95 % stratified bootstrap interval.

    Of few seeds it is too narrow: k seeds that are drawn again vary by (k - 1) / k of their variance, and 1 not at all.

    Args:
        groups: the scores of the seeds of each experiment's setting, `(k,)` each: what is drawn again, each within
            its own.
        repeats: bootstrap samples.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = [group[rng.integers(len(group), size=(repeats, len(group)))] for group in groups]
    means = interquartile_mean(np.concatenate(drawn, axis=1))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(interquartile_mean(np.concatenate(groups))), float(low), float(high))


def clipped(record: Mapping[str, Any]) -> float:
    """Return a record's score within [0, 1]; a run that failed learned nothing."""
    score = record["score"]
    return 0.0 if score is None else float(np.clip(score, 0.0, 1.0))


def grouped(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[tuple[str, int], FloatArray]]:
    """Return clipped scores: of each agent, of each experiment and setting, one a seed."""
    scores: dict[str, dict[tuple[str, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        scores[record["agent"]][record["experiment"], record["setting"]].append(clipped(record))
    return {agent: {key: np.array(seeds) for key, seeds in of_agent.items()} for agent, of_agent in scores.items()}


def by_capability(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """Return each agent's estimate for each capability that was asked for, and for `all` of them."""
    found: dict[str, dict[str, Estimate]] = {}
    for agent, scores in grouped(records).items():
        found[agent] = {}
        for capability in CAPABILITIES:
            groups = [seeds for (name, _), seeds in scores.items() if EXPERIMENTS[name].capability == capability]
            if groups:
                found[agent][capability] = estimate(groups)
        found[agent]["all"] = estimate(list(scores.values()))
    return found


def by_experiment(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], dict[str, list[float | None]]]:
    """Return the raw scores of each experiment and setting: of each agent, one a seed, None for a run that failed."""
    found: dict[tuple[str, int], dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        found[record["experiment"], record["setting"]][record["agent"]].append(record["score"])
    order = list(EXPERIMENTS)
    return {key: dict(found[key]) for key in sorted(found, key=lambda key: (order.index(key[0]), key[1]))}


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Return two tables: interquartile means by capability, and the scores of every experiment, as they are."""
    agents = list(dict.fromkeys(record["agent"] for record in records))
    capabilities = by_capability(records)
    heads = [name for name in (*CAPABILITIES, "all") if any(name in row for row in capabilities.values())]
    rows = [[f"`{agent}`", *[str(capabilities[agent].get(head, "")) for head in heads]] for agent in agents]
    lines = [*markdown_table(["agent", *heads], rows), ""]
    rows = []
    for (name, setting), scores in by_experiment(records).items():
        settings = ", ".join(f"{key}={value}" for key, value in EXPERIMENTS[name].settings[setting].items())
        title = f"{name} {'(' + settings + ')' if settings else ''}".strip()
        rows.append([title, EXPERIMENTS[name].capability, *[_cell(scores.get(agent)) for agent in agents]])
    return "\n".join([*lines, *markdown_table(["experiment", "of", *[f"`{agent}`" for agent in agents]], rows)])


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def _cell(scores: Sequence[float | None] | None) -> str:
    """Return the median of the seeds' raw scores, and their range; how many failed, if some did."""
    if not scores:
        return ""
    known = [score for score in scores if score is not None]
    failed = f"{len(scores) - len(known)} failed" if len(known) < len(scores) else ""
    if not known:
        return failed
    low, middle, high = min(known), float(np.median(known)), max(known)
    shown = _with_range(low, middle, high)
    return f"{shown}, {failed}" if failed else shown


def _with_range(low: float, middle: float, high: float) -> str:
    """Return a number and its range, where they differ as they are shown; none is -0.00."""
    least, shown, most = (f"{number:z.2f}" for number in (low, middle, high))
    return shown if least == most else f"{shown} ({least} to {most})"
