"""`textgym distill RUN --into small.json`: a small policy that does what a large one does."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from .settings import parse_settings


def distill(
    run: Annotated[Path, typer.Argument(help="The teacher: a folder that `textgym train --out` wrote.")],
    into: Annotated[
        Path, typer.Option(help="JSON with the student's d_model, n_layers and n_heads; also agent, settings.")
    ],
    out: Annotated[Path, typer.Option(help="Where to keep the student, an ordinary run.")],
    fit: Annotated[
        list[str] | None,
        typer.Option(
            "--fit",
            metavar="KEY=VALUE",
            help="tau, student_share, episodes, reads, batch_size, learning_rate, max_grad_norm, rounds, patience, "
            "close, held_out, seed.",
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Written for the comparison.")] = 200,
    rows: Annotated[int, typer.Option(help="Written side by side while speeds are measured.")] = 64,
    agent: Annotated[str | None, typer.Option(help="The run's own agent, named again: package.module:make.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    module: Annotated[str | None, typer.Option(help="Imported first; it registers the run's environment.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Distil a run's policy into a small transformer, and compare the two."""
    if module is not None:
        importlib.import_module(module)
    from .. import smaller

    smaller.run_distill(run, into, out, parse_settings(fit), agent, device, overwrite, episodes, rows, as_json)
