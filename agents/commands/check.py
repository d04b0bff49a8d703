"""`textgym check package.module:task`: the laws, on a task of the user's own."""

from __future__ import annotations

from typing import Annotated

import typer

from textgym import check_task


def check(
    task: Annotated[str, typer.Argument(help="'package.module:factory' or a registered id.")],
    seed: Annotated[int, typer.Option(help="Of the random episodes compared.")] = 0,
) -> None:
    """Check that a task keeps every law that agents, batches and the solver rely on."""
    for law in check_task(task, seed=seed):
        print(f"holds: {law.replace('_', ' ')}")
