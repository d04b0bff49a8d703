"""`textgym plot RUN...`: learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `textgym train --out` wrote.")],
    out: Annotated[Path, typer.Option(help="The picture: .png, .svg or .pdf.")] = Path("curves.png"),
    column: Annotated[str, typer.Option(help="return, success, length, entropy, loss, steps_per_second.")] = "return",
) -> None:
    """Draw runs' learning curves: seeds of one setting as their median, with the range around it."""
    from textgym.errors import InvalidSetting

    from .. import plots

    kinds = (".png", ".svg", ".pdf")
    if out.suffix not in kinds:
        raise InvalidSetting(f"--out {out}: a picture's name ends with one of {', '.join(kinds)}.")
    plots.plot(runs, column).savefig(out, dpi=150)
    print(out)
