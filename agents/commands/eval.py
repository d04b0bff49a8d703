"""`textgym eval RUN`: what a trained agent is worth."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from textgym.errors import InvalidSetting


def evaluate(
    run: Annotated[Path, typer.Argument(help="A folder that `textgym train --out` wrote.")],
    episodes: Annotated[int, typer.Option(help="How many to write.")] = 100,
    sample: Annotated[bool, typer.Option("--sample", help="Sample tokens instead of taking the likeliest.")] = False,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    agent: Annotated[str | None, typer.Option(help="The run's own agent, named again: package.module:make.")] = None,
    module: Annotated[str | None, typer.Option(help="Imported first; it registers the run's environment.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    metrics: Annotated[
        str,
        typer.Option(help="Of the texts: distinct,self-bleu,repetition,length,entropy,perplexity."),
    ] = "",
    under: Annotated[
        Path | None,
        typer.Option(help="The run, pretrained policy or language model under which perplexity is measured."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a run's mean return, success rate and sample completions."""
    from .. import control, evaluation, runs, text_metrics

    measure = text_metrics.Measures.read(metrics, under)
    if module is not None:
        importlib.import_module(module)
    found = runs.read_run(run)
    loaded, config = runs.restore(found, agent=agent, device=device)[0], found.config
    rules: dict[str, Any] = {"deterministic": not sample, "seed": seed}
    result: Any
    figures: dict[str, float | None] = {}
    if config.is_control:
        if metrics:
            raise InvalidSetting(f"--metrics={metrics}: {config.env} is a control task, which writes no text.")
        result = control.evaluate_control(loaded, *config.control(), episodes=episodes, **rules)
    else:
        task = config.task()
        rows, returns = evaluation.write(loaded, task, episodes, **rules)
        result, figures = evaluation.summarise(task, rows, returns), measure(task, rows)
    if as_json:
        print(json.dumps({**result.to_dict(), **({"metrics": figures} if metrics else {})}, ensure_ascii=False))
        return
    steps = found.manifest.get("steps")
    how = "sampled" if sample else "greedy"
    print(f"{config.env}, {config.agent}, {steps} steps, {how}, {episodes} episodes")
    print(f"mean return   {result.mean_return:.3f}")
    print(f"success rate  {'-' if result.success_rate is None else f'{result.success_rate:.1%}'}")
    for name, value in figures.items():
        print(f"{name:13} {'-' if value is None else f'{value:.3f}'}")
    print("\n".join(["samples", *[f"  {text}" for text in result.samples]]))
