"""`textgym train ID`: teach an agent to write."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from .settings import EnvSettings, parse_settings, read_yaml

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

    given = {"env": id, "agent": agent, "steps": steps, "seed": seed, "n_envs": n_envs}
    asked = {name: value for name, value in given.items() if value is not None}
    if checkpoint_every is not None:
        require_positive(checkpoint_every=checkpoint_every)
    if module is not None:
        importlib.import_module(module)
    from .. import training

    if resume is not None:
        extra = [name for name in asked if name not in ("agent", "steps")]
        if extra or env or set_ or config or out or overwrite or explain:
            raise InvalidSetting(
                f"--resume {resume} goes on with what the run says; besides it there can be --steps (more than "
                "before), --agent (to name your own again), --device, --checkpoint-every and --texts."
            )
        training.resume(resume, agent, steps, device, checkpoint_every, texts)
        return
    layers = {**(read_yaml(config) if config else {}), **asked}
    if env:
        layers["env_kwargs"] = {**layers.get("env_kwargs", {}), **parse_settings(env)}
    if layers.get("env") is None:
        raise InvalidSetting(
            "no environment was named: textgym train TextGen-v0, or one in --config. See textgym list."
        )
    for name in ("steps", "n_envs"):
        if name in layers:
            if isinstance(layers[name], float) and layers[name].is_integer():  # steps: 1e5
                layers[name] = int(layers[name])
            require_positive(**{name: layers[name]})
    if id is not None:
        layers["env"] = env_spec(id).id  # its module was imported; a run must not name it
    plan = training.plan(layers, parse_settings(set_, dotted=True))
    if explain:
        training.explain(plan)
        return
    training.train(plan, out, device, overwrite, checkpoint_every, texts)
