"""An inspection as one HTML page that needs nothing else: no network, no font, no library; to be read, no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgym.arrays import FloatArray

from .inspection import Column, Inspection, shown
from .inspection_table import most_seen, origin, sentences

TEMPLATES = Path(__file__).parent / "templates"
LOOKED_AT = 3
WHOLE = 2**16 - 1  # what a weight of 1 is in the page


def page(inspections: Sequence[Inspection]) -> str:
    """Return completions of one policy as a page: a heat map over each text, and a table of all its numbers.

    The colours are chosen by CSS alone; with JavaScript, a token that is pointed at or clicked shows its numbers, its
    alternatives and what it looked at, layer by layer. All text is escaped.

    Args:
        inspections: at least one.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    columns = inspections[0].columns()
    filled = [column for column in columns if any(_values(one, column.name) is not None for one in inspections)]
    return environment.get_template("inspection.html").render(
        origin=origin(inspections[0]),
        columns=[column._asdict() for column in filled],
        completions=[_completion(one, [column.name for column in filled]) for one in inspections],
        bottom=[(name, note) for name, note in _notes(inspections)],
    )


def _notes(inspections: Sequence[Inspection]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(note for one in inspections for note in sentences(one)))


def _values(inspection: Inspection, name: str) -> FloatArray | None:
    return next((column.values for column in inspection.columns() if column.name == name), None)


def _completion(inspection: Inspection, colours: list[str]) -> dict[str, Any]:
    """Return what the template shows of one completion."""
    columns, total = inspection.columns(), inspection.total
    levels = {column.name: _levels(column) for column in columns if column.name in colours}
    earned, likelihood, kl = total["return"], total["log_likelihood"], total["kl"]
    many = len(inspection.completion)
    facts = [("return", earned), *inspection.metrics.items(), ("log-likelihood", likelihood)]
    if likelihood is not None:
        facts.append(("perplexity", float(np.exp(min(-likelihood / many, 700)))))
    tokens = []
    for place, token in enumerate(inspection.completion.tolist()):
        cells = [("" if c.values is None else shown(float(c.values[place]))) for c in columns]
        style = ";".join(f"--c{i}:{levels[name][place]:.3f}" for i, name in enumerate(colours))
        choices = inspection.choices(place)
        looks = [] if inspection.attention is None else most_seen(inspection, place, LOOKED_AT)
        tokens.append(
            {
                "text": inspection.show(token),
                "piece": inspection.vocabulary.pieces[token],
                "style": style,
                "cells": cells,
                "choices": [(name, shown(score)) for name, score in choices],
                "looks": [(name, f"{weight:.2f}") for name, weight in looks],
            }
        )
    return {
        "text": inspection.text,
        "facts": [(name, shown(value)) for name, value in [*facts, ("KL", kl)] if value is not None],
        "titles": [(column.title, column.meaning) for column in columns],
        "legends": [_legend(column) for column in columns if column.name in colours],
        "scores": "best" if inspection.action_values is not None else "likeliest",
        "prompt": [inspection.show(token) for token in inspection.prompt.tolist()],
        "tokens": tokens,
        "data": _data(inspection, columns),
    }


def _data(inspection: Inspection, columns: list[Column]) -> dict[str, Any]:
    """Return what the page's script reads."""
    widths = [
        [0.0 if inspection.action_values is not None else round(score, 3) for _, score in inspection.choices(place)]
        for place in range(len(inspection.completion))
    ]
    return {
        "titles": [column.title for column in columns],
        "bars": widths,
        "layers": 0 if inspection.attention is None else len(inspection.attention),
        "attention": "" if inspection.attention is None else _packed(inspection.attention, len(inspection.prompt)),
    }


def _packed(attention: FloatArray, prompt: int) -> str:
    """Return weights as base64 of little-endian 16-bit numbers: by layer, by token, of what stood before it."""
    rows = [layer[place, : prompt + place + 1] for layer in attention for place in range(attention.shape[1])]
    numbers = np.round(np.concatenate(rows) * WHOLE).astype("<u2")
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def _greatest(column: Column) -> float:
    """Return the number of a column that is coloured most."""
    if column.values is None or column.scale == "share":
        return 1.0
    finite = column.values[np.isfinite(column.values)]
    return float(np.abs(finite).max(initial=0.0))


def _levels(column: Column) -> FloatArray:
    """Return how strongly each token is coloured, `(T,)` from -1 to 1; 0 where there is no number."""
    if column.values is None:
        return np.zeros(0)
    values = np.nan_to_num(column.values, nan=0.0, posinf=0.0, neginf=0.0)
    levels: FloatArray = values / (_greatest(column) or 1.0)
    return levels


def _legend(column: Column) -> tuple[str, str, str]:
    """Return the scale, and the numbers at its two ends."""
    most = _greatest(column)
    low = shown(-most) if column.scale == "signed" else "0"
    return column.scale, low, "1" if column.scale == "share" else shown(most)
