"""`textgym train ID`: teach an agent to write."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from .settings import EnvSettings, parse_settings, read_yaml, with_model

Default = typer.Option(show_default=False)


def train(
    id: Annotated[str | None, typer.Argument(help="The environment; --config and --resume know it.")] = None,
    agent: Annotated[str | None, typer.Option(help="A name (ppo if none is given), or package.module:make.")] = None,
    steps: Annotated[int | None, typer.Option(help="Environment steps, rows counted one by one.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random; 0 if none is given.")] = None,
    n_envs: Annotated[int | None, typer.Option(help="Rows written side by side; 8 if none is given.")] = None,
    env: EnvSettings = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the agent, as policy.d_model=8."),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Begin with this run's policy, as `textgym pretrain` or `train` left it.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A Hugging Face causal language model to begin with: a folder, or a name.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML or JSON: a run's config.json, or settings.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    module: Annotated[str | None, typer.Option(help="Imported first; it registers the environment.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to keep the run; `textgym eval` reads it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run, as if it had never stopped.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Save the run every so many steps.")] = None,
    texts: Annotated[int, typer.Option(min=0, help="Show texts every so many updates; 0 for none.")] = 10,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every setting and why it is so; do not train.")
    ] = False,
) -> None:
    """Train an agent, show its progress, and print the text that it then writes."""
    from textgym.errors import InvalidSetting, require_positive
    from textgym.registration import env_spec

    # a module before the id is imported, and not named in what is kept; a file's id has none
    given = {
        "env": None if id is None else env_spec(id).id,
        "agent": agent,
        "steps": steps,
        "seed": seed,
        "n_envs": n_envs,
        "init": None if init is None else str(init),
    }
    asked = {name: value for name, value in given.items() if value is not None}
    if checkpoint_every is not None:
        require_positive(checkpoint_every=checkpoint_every)
    if module is not None:
        importlib.import_module(module)
    from .. import training

    if resume is not None:
        extra = [name for name in asked if name not in ("agent", "steps")]
        if extra or env or set_ or model or config or out or overwrite or explain:
            raise InvalidSetting(
                f"--resume {resume} goes on with what the run says; besides it there can be --steps (more than "
                "before), --agent (to name your own again), --device, --checkpoint-every and --texts."
            )
        training.resume(resume, agent, steps, device, checkpoint_every, texts)
        return
    wanted = {**(read_yaml(config) if config else {}), **asked}
    if env:
        wanted["env_kwargs"] = {**(wanted.get("env_kwargs") or {}), **parse_settings(env)}
    plan = training.plan(_counted(wanted), with_model(parse_settings(set_, dotted=True), model))
    if explain:
        training.explain(plan)
        return
    training.train(plan, out, device, overwrite, checkpoint_every, texts)


def _counted(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what is wanted with whole numbers of steps and rows; YAML reads 1e5 as none."""
    from textgym.errors import InvalidSetting, require_positive

    if wanted.get("env") is None:
        raise InvalidSetting(
            "no environment was named: textgym train TextGen-v0, or one in --config. See textgym list."
        )
    counts: dict[str, Any] = {name: wanted[name] for name in ("steps", "n_envs") if name in wanted}
    for name, count in counts.items():
        counts[name] = int(count) if isinstance(count, float) and count.is_integer() else count
    require_positive(**counts)
    return {**wanted, **counts}
