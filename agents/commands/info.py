"""`textgym info ID`: the environment's page, and how hard it is."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace

from textgym import control_ids, difficulty, load_control, load_task
from textgym.control import Options
from textgym.env import observation_space
from textgym.errors import InvalidSetting
from textgym.registration import env_spec, load_factory

from .list import learned


def info(id: str) -> None:
    """Show an environment's page, from its docstring, and how hard it is."""
    from rich.console import Console
    from rich.markdown import Markdown

    spec = env_spec(id)
    if spec.id in control_ids():
        Console().print(Markdown("\n\n".join(_control(spec.id))))
        return
    task = load_task(id)
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
    lists = ["\n".join(lines[3:]), "## Difficulty", "\n".join(f"- {line}" for line in _difficulty(id))]
    Console().print(Markdown("\n\n".join([*lines[:3], *lists])))


def _control(id: str) -> list[str]:
    """Return the parts of a control task's page."""
    spec, (control, options) = env_spec(id), load_control(id)
    factory = load_factory(spec.kwargs["control"])
    given = {name: value for name, value in spec.kwargs.items() if name != "control"}
    names = [names[0] for names in control.scene.speeches[options.language].actions]
    tokens = replace(options.view(control), observation="tokens").space
    shared = (inspect.getdoc(Options) or "").partition("\n\n")[2].partition("Raises:")[0]
    registered = [
        f"- actions: `Discrete({control.actions})`, {', '.join(names)}",
        f"- observation: `{tokens}` of tokens, `{control.space}` of the state",
        f"- arguments: {f'`{given}`' if given else 'the defaults'}",
    ]
    lists = ["## As registered", "\n".join(registered), "## Difficulty", "not computed: a control task has no Task."]
    return [f"# {id}", inspect.getdoc(factory) or "", shared, *lists]


def _difficulty(id: str) -> list[str]:
    """Return how hard an environment is, in sentences."""
    if learned(load_task(id)):
        return ["not computed: the reward is what a model says of a text, and there are too many to ask it about each"]
    try:
        found = difficulty(id)
    except InvalidSetting as error:
        return [f"not computed: {error}"]
    succeeds = "succeeds" if found.has_metric else "earns the optimal return"
    search = f"random search needs {_count(found.random_episodes)} episodes on average"
    fewest, most = found.optimal_completions
    many = _count(fewest) if fewest == most else f"{_count(fewest)} to {_count(most)}"
    lines = [
        f"a uniform writer {succeeds} with probability {found.random_success:.2g}: {search}"
        if found.random_success
        else f"a uniform writer never {succeeds}",
        f"optimal return {found.optimal_return:.3f}, of uniform writing {found.random_return:.3f}",
        f"optimal completions of a prompt: {many}",
        f"paid nothing: {found.sparsity:.1%} of a uniform writer's steps",
        f"lookahead with which greedy writing is optimal, leaves valued by uniform writing: {found.lookahead}",
    ]
    if not math.isnan(found.effective_horizon):  # where chance has no part in the reward
        lines.append(f"effective horizon: at most {found.effective_horizon:.1f}")
    return lines if found.exact else [*lines, "of 256 prompts drawn with seed 0, which stand for all"]


def _count(number: float) -> str:
    """Return a number of things as text, short however large it is."""
    if isinstance(number, int) and number.bit_length() > 50:
        return f"about 10^{int(number.bit_length() * 0.30103)}"  # log10(2): there are more digits than a float holds
    return f"{number:,.0f}" if number < 1e9 else f"{number:.1e}"
