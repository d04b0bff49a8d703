"""`textgym list`: every environment at a glance."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from textgym import Task, control_ids, difficulty, env_ids, load_control, load_task
from textgym.errors import InvalidSetting
from textgym.registration import env_spec, load_factory

COLUMNS = ("id", "task", "vocabulary", "horizon", "optimal", "random", "success", "effective horizon")


def list_environments(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """List every environment: its size, the optimal return, what random writing earns, and how hard it is."""
    rows = table()
    if markdown:
        print("\n".join(as_markdown(rows)))
        return
    for id, task, *figures in (COLUMNS, *rows):
        print("{:26}{:>12}{:>9}{:>9}{:>9}{:>10}{:>19}".format(id, *figures))
        print(f"    {task}")


def table() -> list[tuple[str, ...]]:
    """Return one row of text for each registered id, in the order of COLUMNS."""
    return [_row(id) for id in env_ids()]


def as_markdown(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a Markdown table."""
    from ..scoring import markdown_table

    return markdown_table(COLUMNS, [(f"`{row[0]}`", *row[1:]) for row in rows])


def _row(id: str) -> tuple[str, ...]:
    kwargs = env_spec(id).kwargs
    factory = load_factory(kwargs["control" if id in control_ids() else "task"])
    summary = (factory.__doc__ or "").strip().partition("\n")[0]
    if id in control_ids():  # what it is worth cannot be computed: its states are not texts
        control, _ = load_control(id)
        return id, summary, str(control.actions), str(control.max_steps), *[""] * 4
    task = load_task(id)
    figures = [""] * 4 if learned(task) else _figures(id)  # what a model thinks of every text is not computed here
    return id, summary, str(task.size), str(task.horizon), *figures


def learned(task: Task) -> bool:
    """Return whether a task's reward is what a model says of a text."""
    return bool(getattr(task.reward, "fingerprints", ()))


def _figures(id: str) -> list[str]:
    """Return the last four columns, ≈ before them where drawn prompts stand for all; empty what cannot be computed."""
    try:
        found = difficulty(id)
    except InvalidSetting:
        return [""] * 4
    horizon = "" if math.isnan(found.effective_horizon) else f"{found.effective_horizon:.1f}"
    shown = f"{found.optimal_return:.3f}", f"{found.random_return:.3f}", f"{found.random_success:.2g}", horizon
    return [figure if found.exact or not figure else f"≈{figure}" for figure in shown]
