"""Metrics of texts by name: those of `textgym.texts`, and self-BLEU."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from textgym import Episodes, Task
from textgym.errors import InvalidSetting, Names, require_positive
from textgym.texts import Texts, distinct, entropy, length, repetition

Metric: TypeAlias = Callable[..., float | None]


def self_bleu(texts: Texts, n: int = 4) -> float | None:
    """Return self-BLEU (Zhu et al., 2018, "Texygen", section 3.2.2): the mean BLEU-n of each text among all others.

    BLEU (Papineni et al., 2002) is sacrebleu's, of single texts (`effective_order`: of a text shorter than n, its own
    orders count), with its exponential smoothing; texts are compared token by token, whatever the tokens are. It costs
    the square of the number of texts.

    Returns:
        From 0, nothing in common, to 1, all alike; None of fewer than two texts. Higher is less diverse.

    Raises:
        ImportError: sacrebleu is not installed.
    """
    require_positive(n=n)
    if importlib.util.find_spec("sacrebleu") is None:
        raise ImportError('self-bleu needs sacrebleu: pip install "textgym[metrics]"')
    from sacrebleu.metrics.bleu import BLEU

    if len(texts) < 2:
        return None
    names = {token: str(i) for i, token in enumerate(dict.fromkeys(token for text in texts for token in text))}
    lines = [" ".join(names[token] for token in text) for text in texts]
    bleu = BLEU(tokenize="none", max_ngram_order=n, effective_order=True)
    scores = [bleu.sentence_score(line, lines[:i] + lines[i + 1 :]).score for i, line in enumerate(lines)]
    return float(sum(scores) / len(scores) / 100)


METRICS: Names[tuple[Metric, tuple[int, ...]]] = Names(
    "metric",
    **{
        "distinct": (distinct, (1, 2)),
        "self-bleu": (self_bleu, (4,)),
        "repetition": (repetition, (4,)),
        "length": (length, ()),
        "entropy": (entropy, (1,)),
    },
)
"""Each metric, and the n of n-grams that it is shown for where none is named, as in `distinct-3`."""

PERPLEXITY = "perplexity"  # of texts under a model: `likelihood.perplexity_under`


def chosen(names: Sequence[str]) -> dict[str, Callable[[Texts], float | None]]:
    """Return metrics by the names that they are shown by.

    Args:
        names: of METRICS; `-n` behind one counts n-grams of that n.

    Raises:
        UnknownName: there is no such metric.
        InvalidSetting: a metric that knows no n was given one; n is 0.
    """
    found: dict[str, Callable[[Texts], float | None]] = {}
    for name in names:
        stem, _, order = name.rpartition("-") if name.rpartition("-")[2].isdecimal() else (name, "", "")
        metric, orders = METRICS[stem]
        if order and (not orders or int(order) < 1):
            known = f"{stem}-1, {stem}-2, ..." if orders else stem
            raise InvalidSetting(f"no metric is called {name!r}. Write {known}.")
        for n in (int(order),) if order else orders:
            found[f"{stem}-{n}"] = _of(metric, n)
        if not orders:
            found[stem] = metric
    return found


@dataclass(frozen=True)
class Measures:
    """Metrics of the texts that were written in some episodes, end tokens left out but for perplexity.

    Args:
        metrics: by the names that they are shown by.
        under: the folder of the run under which perplexity is measured; None for no perplexity.
    """

    metrics: dict[str, Callable[[Texts], float | None]]
    under: Path | None = None

    @classmethod
    def read(cls, names: str, under: Path | None = None) -> Measures:
        """Return metrics named with commas between them.

        Raises:
            UnknownName: there is no such metric.
            InvalidSetting: perplexity without a model, or a model without perplexity.
        """
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        if (PERPLEXITY in wanted) != (under is not None):
            raise InvalidSetting(
                f"metrics={names!r} with under={None if under is None else str(under)!r}: perplexity is measured under "
                f"a model, and nothing else is. Give both, --metrics {PERPLEXITY} --under DIR, or neither."
            )
        return cls(chosen([name for name in wanted if name != PERPLEXITY]), under)

    def __call__(self, task: Task, rows: Episodes) -> dict[str, float | None]:
        """Return every metric of finished episodes; None where it cannot be said, or perplexity is infinite."""
        silent = (task.vocabulary.pad, task.vocabulary.eos_id)
        texts = [[token for token in text if token not in silent] for text in rows.completion.tolist()]
        found = {name: metric(texts) for name, metric in self.metrics.items()}
        if self.under is not None:
            from .likelihood import perplexity_under

            value = perplexity_under(self.under, task, rows)
            found[PERPLEXITY] = value if math.isfinite(value) else None
        return found


def _of(metric: Metric, n: int) -> Callable[[Texts], float | None]:
    def measure(texts: Texts) -> Any:
        return metric(texts, n)

    return measure
