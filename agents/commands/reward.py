"""`textgym reward`: models of what is good, learned from preferences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .settings import parse_settings

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]

reward = typer.Typer(help="Learn what is good from preferences, and score texts.", no_args_is_help=True)


@reward.command("train")
def train(
    data: Annotated[
        Path,
        typer.Argument(help="JSON lines: prompt, chosen, rejected; or prompt, ranking; or prompt, completion, label."),
    ],
    out: Annotated[Path, typer.Option(help="Where to keep it, as save_pretrained does, with its figures.")],
    loss: Annotated[
        str | None,
        typer.Option(
            help="bradley-terry (if none is given), bradley-terry-margin, bradley-terry-smoothed, plackett-luce; of "
            "labels: regression, binary-cross-entropy."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, as d_model=128, learning_rate=1e-3, epochs=10."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Begin with this classifier or pretrained model: a folder, or a hub's name.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of a hub's model: a branch, tag or commit.")] = None,
    held_out: Annotated[Path | None, typer.Option(help="A file like DATA to hold out, instead of a share.")] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Texts on which scores have mean 0 and deviation 1; else the held-out ones."),
    ] = None,
    members: Annotated[int, typer.Option(help="How many to train; several are an ensemble.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Of split, parameters and order; 0 if none is given.")] = None,
    skip: Annotated[bool, typer.Option("--skip", help="Leave out, and count, records that are too long.")] = False,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a reward model that is there.")] = False,
) -> None:
    """Fit a reward model to preferences, and show what it is worth on those held out."""
    from .. import rewarding

    named = {name: value for name, value in (("loss", loss), ("seed", seed)) if value is not None}
    settings = {**parse_settings(set_), **named}
    rewarding.train(
        data, out, settings, held_out, reference, base, revision, members, skip, device=device, overwrite=overwrite
    )


@reward.command("score")
def score(
    name: Annotated[str, typer.Argument(help="A folder of `textgym reward train --out`, or any such classifier.")],
    text: Annotated[list[str] | None, typer.Option(help="A text to score; may be given often.")] = None,
    data: Annotated[Path | None, typer.Option(help="Texts, one a line; or .jsonl: prompt and completion.")] = None,
    combination: Annotated[str, typer.Option(help="Of an ensemble: mean, worst, penalised.")] = "mean",
    penalty: Annotated[float, typer.Option(help="What a unit of variance costs, where it is penalised.")] = 1.0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the score of texts; on the reference texts scores have mean 0 and deviation 1."""
    from textgym.errors import InvalidSetting

    from .. import rewarding

    if not text and data is None:
        raise InvalidSetting("no text was given: textgym reward score DIR --text ..., or --data FILE.")
    rewarding.score(name, text or [], data, combination, penalty, device, as_json)
