"""Learning curves: seeds are one line, what differs names it, and pictures are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.folder import read_files
from agents.metrics import read_metrics
from agents.plots import plot
from textgym.errors import InvalidSetting

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def runs(textgym: Run, tmp_path: Path) -> list[Path]:
    """Three seeds of Q-learning, and one run with another step size."""
    for name, more in (("a", ()), ("b", ("--seed", "1")), ("c", ("--seed", "2")), ("d", ("--set", "alpha=0.25"))):
        arguments = ("train", "TextGen-v0", "--agent", "q-learning", "--steps", "2000", "--out", name, *more)
        assert textgym(*arguments)[0] == 0
    return [tmp_path / name for name in "abcd"]


def curve(run: Path, column: str = "return") -> tuple[list[Any], list[Any]]:
    rows = read_metrics(read_files(run)[1]["metrics.csv"].decode())
    return [row["step"] for row in rows], [row[column] for row in rows]


def test_seeds_are_one_line_their_median_with_their_range(runs: list[Path]) -> None:
    (axes,) = plot(runs[:3]).axes
    (line,) = axes.lines
    steps, _ = curve(runs[0])
    values = np.array([curve(run)[1] for run in runs[:3]])
    np.testing.assert_array_equal(line.get_xdata(), steps)
    np.testing.assert_allclose(np.asarray(line.get_ydata()), np.median(values, axis=0))
    low, high = values.min(axis=0), values.max(axis=0)
    corners = axes.collections[0].get_paths()[0].vertices
    assert (np.asarray(corners)[:, 1].min(), np.asarray(corners)[:, 1].max()) == (low.min(), high.max())


def test_what_sets_runs_apart_is_named(runs: list[Path]) -> None:
    (axes,) = plot(runs).axes
    assert [str(line.get_label()) for line in axes.lines] == [
        "q-learning on TextGen-v0, alpha=0.5 (3 seeds)",
        "q-learning on TextGen-v0, alpha=0.25 (1 seed)",
    ]


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_command_writes_pictures(kind: str, start: bytes, runs: list[Path], textgym: Run, tmp_path: Path) -> None:
    status, out, err = textgym("plot", "a", "b", "--out", f"curves.{kind}", "--column", "success")
    assert (status, out, err) == (0, f"curves.{kind}\n", "")
    assert (tmp_path / f"curves.{kind}").read_bytes().startswith(start)


def test_what_cannot_be_drawn_is_refused(runs: list[Path], textgym: Run) -> None:
    with pytest.raises(InvalidSetting, match="no run was named"):
        plot([])
    with pytest.raises(InvalidSetting, match=r"column='returns' does not exist. Give one of \['seconds', 'return'"):
        plot(runs, "returns")
    with pytest.raises(InvalidSetting, match="a has noted no entropy"):
        plot(runs, "entropy")
    assert "a picture's name ends with one of .png, .svg, .pdf" in textgym("plot", "a", "--out", "curves.txt")[2]
    assert "FileNotFoundError: nowhere holds no run" in textgym("plot", "nowhere")[2]
