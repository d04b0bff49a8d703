"""`textgym list`: every environment at a glance."""

from __future__ import annotations

from typing import Annotated

import typer

from textgym import Task, env_ids
from textgym.registration import env_spec, load_factory, load_task
from textgym.rollouts import random_return, target_return

COLUMNS = ("id", "task", "vocabulary", "horizon", "target", "random")


def list_environments(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """List every environment: id, task, vocabulary, horizon, return of writing the target and of random writing."""
    rows = table()
    if markdown:
        print("\n".join(as_markdown(rows)))
        return
    for id, task, *figures in (COLUMNS, *rows):
        print("{:22}{:>12}{:>9}{:>9}  {}".format(id, *figures))
        print(f"    {task}")


def table() -> list[tuple[str, ...]]:
    """Return one row of text for each registered id, in the order of COLUMNS."""
    return [_row(id, load_task(id)) for id in env_ids()]


def as_markdown(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [("id", *COLUMNS[1:]), ("---",) * len(COLUMNS), *[(f"`{row[0]}`", *row[1:]) for row in rows]]
    return [f"| {' | '.join(line)} |" for line in lines]


def _row(id: str, task: Task) -> tuple[str, ...]:
    summary = (load_factory(env_spec(id).kwargs["task"]).__doc__ or "").strip().partition("\n")[0]
    best = target_return(task)
    mean, error = random_return(task)
    return (
        id,
        summary,
        str(task.size),
        str(task.horizon),
        "" if best is None else f"{best:.3f}",
        f"{mean:.3f} ± {error:.3f}",
    )
