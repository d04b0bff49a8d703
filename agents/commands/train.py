"""`textgym train ID`: teach an agent to write."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .settings import EnvSettings, parse_settings


def train(
    id: str,
    agent: Annotated[str, typer.Option(help="ppo, q-learning, or your own as package.module:make.")] = "ppo",
    steps: Annotated[int, typer.Option(help="Environment steps, rows counted one by one.")] = 4_000,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    n_envs: Annotated[int, typer.Option(help="Rows written side by side.")] = 8,
    env: EnvSettings = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Where to keep the run; `textgym eval` reads it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
) -> None:
    """Train an agent, show its progress, and print the text that it then writes."""
    from textgym import load_task
    from textgym.errors import require_positive
    from textgym.registration import env_spec

    env_kwargs = parse_settings(env)
    require_positive(steps=steps, n_envs=n_envs)
    task = load_task(id, **env_kwargs)
    id = env_spec(id).id  # without the module before it, which a run must not name
    from .. import make, make_vec_env
    from ..device import check_device
    from ..evaluation import evaluate
    from ..runs import Config, check_free, check_saveable, save

    if out is not None and not (overwrite and out.is_dir()):
        check_free(out)
    learner = make(agent, make_vec_env(id, n_envs, seed=seed, **env_kwargs), seed=seed, device=check_device(device))
    if out is not None:
        check_saveable(learner)
    start = time.perf_counter()
    learner.learn(steps, progress_bar=True)
    seconds = time.perf_counter() - start
    if out is not None:
        save(learner, out, Config(id, agent, seed, steps, n_envs, env_kwargs))
    result = evaluate(learner, task)
    print(f"Trained for {seconds:.1f} s. Greedy writing now earns {result.mean_return:.2f}", end="")
    print("" if result.success_rate is None else f", success {result.success_rate:.0%}", end=":\n")
    print("\n".join(result.samples[:1] if len(set(result.samples)) == 1 else result.samples))
    if out is not None:
        print(f"The run is in {out}: textgym eval {out}")
