"""The page that lies beside a reward model: what it was learned from, what it is worth, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = """---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, textgym]
---

# Reward model

A sequence classifier with one output and {parameters:,} parameters, {start}, fitted by TextGym to {learned}
records{source}; seed {seed}.

| held out | |
| --- | --- |
{table}

Pair accuracy: the share of pairs of which the better text has the higher score. Calibration error: how far
probabilities are from shares, expected over ten bins (Guo et al., 2017), of the scores as they were before
normalisation. Length correlation: Pearson's, of scores and numbers of tokens. All settings, the curve and versions are
in `reward.json`.

## Use

A text is a prompt with its completion directly behind it.

```python
from agents import load_reward_model

load_reward_model("DIR").scores(["..."])
```

Scores have mean 0 and deviation 1 on {texts} {on}; one unit is {deviation:.3f} of the loss's own. {kept}

It was measured on texts like those it learned from. On others, above all on texts that were written to please it, it
may be wrong.
"""

ENSEMBLE = """# Reward model ensemble

{n} reward models that share data and split, and differ in first parameters, dropout and order. Of {pairs} held-out
pairs they rank rightly:

| score | pair accuracy |
| --- | --- |
{table}

Each member's folder has its own page. Worst: the lowest of the members' scores; penalised: their mean less their
variance (Coste et al., 2024).
"""

KEPT = {
    "head": "The head holds them: `AutoModelForSequenceClassification` alone gives the same scores.",
    "head and config": (
        "The head holds the scale; it has no bias, so that a score is the output less `reward_shift` of config.json."
    ),
    "config": "A score is (output - `reward_shift`) / `reward_scale`, both of config.json.",
}


def lines(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return a reward model's figures as a person reads them."""
    loss, scores, records = figures["loss"], figures["scores"], figures["records"]
    quantiles = " to ".join(f"{scores[f'quantile_{q}']:z.2f}" for q in ("0.05", "0.95"))
    found = {
        "loss": f"{loss['name']}, {loss['held_out']:.4f} held out, {loss['before']:.4f} before",
        "pair accuracy": f"{_share(figures['pair_accuracy'])} of {figures['pairs']} held-out pairs",
        "label accuracy": _share(figures.get("label_accuracy")),
        "calibration error": _number(figures["calibration_error"]),
        "length correlation": _number(figures["length_correlation"]),
        "scores": f"mean {scores['mean']:z.2f}, deviation {scores['deviation']:z.2f}, nine in ten from {quantiles}",
        "records": f"{records['learned']} learned from, {records['held_out']} held out, {records['skipped']} skipped",
        "kept": f"epoch {figures['epoch']} of {figures['epochs']}",
    }
    return {name: value for name, value in found.items() if name != "label accuracy" or value != "-"}


def card(figures: Mapping[str, Any]) -> str:
    """Return the page of a reward model, in Markdown."""
    data, base, normalisation = figures["data"], figures["base"], figures["normalisation"]
    start = "made from a configuration" if base["from"] is None else f"begun from `{base['from']}`"
    return CARD.format(
        parameters=figures["parameters"],
        start=start + (f", commit {base['commit']}" if base.get("commit") else ""),
        learned=figures["records"]["learned"],
        source=f" of `{data['name']}` (sha256 {data['sha256'][:12]}...)" if {"name", "sha256"} <= data.keys() else "",
        seed=figures["settings"]["seed"],
        table="\n".join(f"| {name} | {value} |" for name, value in lines(figures).items()),
        texts=normalisation["texts"],
        on=normalisation["on"],
        deviation=normalisation["deviation"],
        kept=KEPT[normalisation["kept_in"]],
    )


def ensemble_card(about: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Return the page of an ensemble, in Markdown."""
    accuracies = about["pair_accuracy"]
    rows = [(f"`{name}`", accuracy) for name, accuracy in zip(about["members"], accuracies["members"])]
    rows += [(how, accuracy) for how, accuracy in accuracies.items() if how != "members"]
    table = "\n".join(f"| {name} | {_share(accuracy)} |" for name, accuracy in rows)
    return ENSEMBLE.format(n=len(about["members"]), pairs=figures["pairs"], table=table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
