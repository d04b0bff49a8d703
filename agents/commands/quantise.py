"""`textgym quantise RUN`: the same policy in int8, for inference on a CPU."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer


def quantise(
    run: Annotated[Path, typer.Argument(help="A folder that `textgym train --out` wrote.")],
    out: Annotated[Path, typer.Option(help="Where to keep the quantised run; `textgym eval` reads it.")],
    episodes: Annotated[int, typer.Option(help="Written for the comparison.")] = 200,
    rows: Annotated[int, typer.Option(help="Written side by side while speeds are measured.")] = 64,
    agent: Annotated[str | None, typer.Option(help="The run's own agent, named again: package.module:make.")] = None,
    module: Annotated[str | None, typer.Option(help="Imported first; it registers the run's environment.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Quantise a run's linear layers to int8, and compare the two."""
    if module is not None:
        importlib.import_module(module)
    from .. import smaller

    smaller.run_quantise(run, out, agent, overwrite, episodes, rows, as_json)
