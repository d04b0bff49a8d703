"""The `textgym` command: one file a command, and their table."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gymnasium
import typer

from textgym.agreement import LawBroken
from textgym.errors import NotFinite

from .bench import bench
from .check import check
from .distill import distill
from .eval import evaluate
from .info import info
from .inspect import inspect_run
from .list import list_environments
from .play import play
from .plot import plot
from .pretrain import pretrain
from .quantise import quantise
from .reproduce import reproduce
from .reward import reward
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
app.command("pretrain")(pretrain)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("inspect")(inspect_run)
app.command("distill")(distill)
app.command("quantise")(quantise)
app.command("plot")(plot)
app.command("check")(check)
app.command("bench")(bench)
app.command("reproduce")(reproduce)
app.add_typer(reward, name="reward")

AGENTS = (
    "torch",
    "stable_baselines3",
    "sb3_contrib",
    "transformers",
    "tokenizers",
    "safetensors",
    "rich",
    "pydantic",
    "yaml",
    "jinja2",
)
EXTRAS = {**dict.fromkeys(AGENTS, "agents"), "matplotlib": "all", "moviepy": "all"}
"""Packages that not every install has, and the extra that brings each."""

KNOWN = (ValueError, TypeError, ImportError, OSError, MemoryError, NotFinite, LawBroken, gymnasium.error.Error)


def main() -> None:
    """Run the command line; an error that a user can mend is one message; TEXTGYM_DEBUG=1 shows its traceback."""
    sys.path.append(str(Path.cwd()))  # a user's own task or agent is often a module in the folder they are in
    try:
        app()
    except KNOWN as error:
        if os.environ.get("TEXTGYM_DEBUG"):
            raise
        extra = EXTRAS.get(str(getattr(error, "name", "")))
        hint = "" if extra is None else f'. pip install "textgym[{extra}]"'
        print(f"{type(error).__name__}: {error}{hint}", file=sys.stderr)
        sys.exit(1)
