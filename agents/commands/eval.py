"""`textgym eval RUN`: what a trained agent is worth."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="A folder that `textgym train --out` wrote.")],
    episodes: Annotated[int, typer.Option(help="How many to write.")] = 100,
    sample: Annotated[bool, typer.Option("--sample", help="Sample tokens instead of taking the likeliest.")] = False,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    agent: Annotated[str | None, typer.Option(help="The run's own agent, named again: package.module:make.")] = None,
    module: Annotated[str | None, typer.Option(help="Imported first; it registers the run's environment.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a run's mean return, success rate and sample completions."""
    from .. import control, evaluation, runs

    if module is not None:
        importlib.import_module(module)
    found = runs.read_run(run)
    loaded, config = runs.restore(found, agent=agent, device=device)[0], found.config
    rules: dict[str, Any] = {"episodes": episodes, "deterministic": not sample, "seed": seed}
    if config.is_control:
        result = control.evaluate_control(loaded, *config.control(), **rules)
    else:
        result = evaluation.evaluate(loaded, config.task(), **rules)
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    steps = found.manifest.get("steps")
    how = "sampled" if sample else "greedy"
    print(f"{config.env}, {config.agent}, {steps} steps, {how}, {episodes} episodes")
    print(f"mean return   {result.mean_return:.3f}")
    print(f"success rate  {'-' if result.success_rate is None else f'{result.success_rate:.1%}'}")
    print("\n".join(["samples", *[f"  {text}" for text in result.samples]]))
