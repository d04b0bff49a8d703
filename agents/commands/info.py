"""`textgym info ID`: the environment's page."""

from __future__ import annotations

import inspect

from textgym import load_task
from textgym.env import observation_space
from textgym.registration import env_spec, load_factory


def info(id: str) -> None:
    """Show an environment's page, from its docstring."""
    spec, task = env_spec(id), load_task(id)
    from rich.console import Console
    from rich.markdown import Markdown

    factory = load_factory(spec.kwargs["task"])
    vocabulary = task.vocabulary
    shown = " ".join([*vocabulary.tokens[:40], *(["…"] if vocabulary.size > 40 else [])])
    defaults = {name: p.default for name, p in inspect.signature(factory).parameters.items()}
    given = {**defaults, **{name: value for name, value in spec.kwargs.items() if name != "task"}}
    lines = [
        f"# {id}",
        inspect.getdoc(factory) or "",
        "## As registered",
        f"- actions: `Discrete({task.size})`, tokens `{shown}`",
        f"- observation: `{observation_space(task)}`",
        f"- arguments: `{', '.join(f'{name}={value!r}' for name, value in given.items())}`",
    ]
    Console().print(Markdown("\n\n".join(lines[:3]) + "\n\n" + "\n".join(lines[3:])))
