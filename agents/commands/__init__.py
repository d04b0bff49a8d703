"""The `textgym` command: one file a command, and their table."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import typer

from textgym.agreement import LawBroken

from .check import check
from .eval import evaluate
from .info import info
from .list import list_environments
from .play import play
from .train import train

app = typer.Typer(
    help="Write text as a Markov decision process: see environments, play them, train agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(list_environments)
app.command("info")(info)
app.command("play")(play)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("check")(check)


def main() -> None:
    """Run the command line; an error that a user can mend is one message, without a traceback."""
    sys.path.append(str(Path.cwd()))  # a user's own task or agent is often a module in the folder they are in
    try:
        app()
    except (ValueError, TypeError, ImportError, OSError, LawBroken, gymnasium.error.Error) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
