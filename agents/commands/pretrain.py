"""`textgym pretrain DATA`: a language model to begin with."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from .settings import EnvSettings, parse_settings, with_model


def pretrain(
    data: Annotated[Path, typer.Argument(help="Texts, one a line; or .jsonl: prompt and completion in each line.")],
    out: Annotated[Path, typer.Option(help="Where to keep it; `textgym train ID --init DIR` begins with it.")],
    task: Annotated[
        str | None,
        typer.Option(
            help="The environment whose vocabulary, prompts and horizon it is for; left out, TextGen-v0 with the "
            "model's tokenizer, as long as the longest text."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A Hugging Face causal language model to fit: a folder, or a name.")
    ] = None,
    env: EnvSettings = None,
    agent: Annotated[str, typer.Option(help="Whose policy: ppo, a2c, reinforce, rloo, grpo.")] = "ppo",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the agent, as policy.d_model=32."),
    ] = None,
    fit: Annotated[
        list[str] | None,
        typer.Option(
            "--fit",
            metavar="KEY=VALUE",
            help="learning_rate, batch_size, epochs, patience, held_out, max_grad_norm.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of parameters, split and order.")] = 0,
    skip: Annotated[bool, typer.Option("--skip", help="Leave out, and count, texts that do not fit.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    module: Annotated[str | None, typer.Option(help="Imported first; it registers the environment.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
) -> None:
    """Fit an agent's policy to text, so that learning by rewards begins from a language model."""
    from textgym.registration import env_spec

    id = None if task is None else env_spec(task).id
    if module is not None:
        importlib.import_module(module)
    from .. import supervised

    asked = {"env": id, "env_kwargs": parse_settings(env), "agent": agent, "seed": seed}
    settings, fitting = with_model(parse_settings(set_, dotted=True), model), parse_settings(fit)
    supervised.run(data, out, asked, settings, fitting, skip, device, overwrite)
