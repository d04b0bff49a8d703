"""`textgym inspect RUN`: what a policy thought of every token."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated

import typer


def inspect_run(
    run: Annotated[Path, typer.Argument(help="A folder that `textgym train --out` wrote.")],
    prompt: Annotated[str | None, typer.Option(help="What is to be continued; drawn by --seed if left out.")] = None,
    completion: Annotated[
        str | None, typer.Option(help="Look at this text, its end token added, not at what the policy writes.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many completions.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of prompts and samples.")] = 0,
    sample: Annotated[bool, typer.Option("--sample", help="Sample tokens instead of taking the likeliest.")] = False,
    reference: Annotated[
        str | None, typer.Option(help="What divergences are to: start, uniform, or a run's folder.")
    ] = None,
    alternatives: Annotated[int, typer.Option(min=1, help="How many of the likeliest tokens are kept.")] = 5,
    html: Annotated[Path | None, typer.Option(help="Write one page with everything to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    agent: Annotated[str | None, typer.Option(help="The run's own agent, named again: package.module:make.")] = None,
    module: Annotated[str | None, typer.Option(help="Imported first; it registers the run's environment.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Show each token's probability, entropy, value, advantage, reward, divergence and attention."""
    from textgym.errors import InvalidSetting

    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise InvalidSetting(f"--html {html}: give the name of a file in a folder that exists.")
    if module is not None:
        importlib.import_module(module)
    from .. import inspection_page, inspection_table, looking

    found = looking.inspect_completions(
        run,
        n,
        prompt=prompt,
        completion=completion,
        seed=seed,
        sample=sample,
        reference=reference,
        alternatives=alternatives,
        agent=agent,
        device=device,
    )
    if html is not None:
        html.write_text(inspection_page.page(found), encoding="utf-8")
    if as_json:
        print(json.dumps({"completions": [one.to_dict() for one in found]}, ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:  # a file has no width
        console.width = 240
    console.print(inspection_table.origin(found[0]))
    for one in found:
        console.print()
        console.print(inspection_table.rendered(one))
    if html is not None:
        print(f"\nThe page is in {html}.")
