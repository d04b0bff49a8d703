"""The diagnostic suite as data: what is asked of every agent, grouped by what it needs to be good at.

In the manner of bsuite (Osband et al., 2020, "Behaviour Suite for Reinforcement Learning"): an experiment is a
registered task, settings of it from easy to hard, and a number of steps. Agents bring their own defaults; they are told
nothing of the experiment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textgym.errors import Names

CAPABILITIES = (
    "basics",
    "exploration",
    "credit assignment",
    "memory",
    "generalisation",
    "noise",
    "scale",
    "KL control",
)


@dataclass(frozen=True)
class Experiment:
    """One question to an agent.

    Args:
        capability: one of CAPABILITIES.
        id: of the environment.
        question: what a good score shows.
        settings: arguments of the environment, one run each.
        steps: of learning, rows counted one by one.
        n_envs: rows written side by side.
        held_out: the share of prompts that is kept from learning; the score is on them alone.
        kl_coefficient: beta of the objective return - beta KL(pi || uniform), which then is what is scored, of the
            policy as it samples; 0 for the return of the likeliest texts.
    """

    capability: str
    id: str
    question: str
    settings: tuple[dict[str, Any], ...] = ({},)
    steps: int = 10_000
    n_envs: int = 8
    held_out: float = 0.0
    kl_coefficient: float = 0.0


LETTERS = "abcdefghijklmnopqrstuvwxyz"

EXPERIMENTS: Names[Experiment] = Names(
    "experiment",
    word=Experiment(
        "basics",
        "TextGen-v0",
        "write one text, every token paid",
        ({}, {"target": "hello", "alphabet": LETTERS}),
    ),
    corners=Experiment("basics", "TextGym/Corners-v0", "walk home on a grid"),
    increasing=Experiment("basics", "TextGym/IncreasingNumbers-v0", "write numbers that rise"),
    dates=Experiment("basics", "TextGym/Dates-v0", "write a valid date, within a mask"),
    walks=Experiment("basics", "TextGym/RandomWalks-v0", "find shortest paths in a graph"),
    lock=Experiment(
        "exploration",
        "TextGym/Lock-v0",
        "find a text that nothing leads to, one among 10 to 10,000",
        ({"length": 1}, {"length": 2}, {"length": 3}, {"length": 4}),
    ),
    trap=Experiment(
        "exploration",
        "TextGym/Trap-v0",
        "leave a small reward at hand for a large one",
        ({"target": "ban"}, {"target": "banana"}),
    ),
    delay=Experiment(
        "credit assignment",
        "TextGym/Delay-v0",
        "learn which token a late reward was for",
        ({"delay": 0}, {"delay": 3}, {"delay": 7}),
    ),
    brackets=Experiment("credit assignment", "TextGym/Brackets-v0", "close what was opened, paid at the end"),
    recall=Experiment(
        "memory",
        "TextGym/Recall-v0",
        "answer from a fact in the prompt, near or far",
        ({"facts": 2}, {"facts": 2, "gap": 8}),
        steps=20_000,
    ),
    copy=Experiment(
        "memory",
        "TextGym/Copy-v0",
        "write the prompt again",
        ({"alphabet": "abcd", "max_length": 3},),
        steps=20_000,
    ),
    sort=Experiment(
        "generalisation",
        "TextGym/Sort-v0",
        "sort texts that were never seen",
        ({"alphabet": "abcd", "max_length": 3},),
        steps=20_000,
        held_out=0.5,
    ),
    arithmetic=Experiment(
        "generalisation",
        "TextGym/Arithmetic-v0",
        "answer sums that were never asked",
        ({"digits": 1},),
        steps=20_000,
        held_out=0.5,
    ),
    noise=Experiment(
        "noise",
        "TextGym/Noise-v0",
        "learn from rewards that are mostly noise",
        ({"noise": 0.1}, {"noise": 1.0}),
    ),
    scale=Experiment(
        "scale",
        "TextGym/Scale-v0",
        "learn whatever the unit of reward",
        ({"factor": 1e-3}, {"factor": 1.0}, {"factor": 1e3}),
    ),
    restraint=Experiment(
        "KL control",
        "TextGym/Repeat-v0",
        "earn without repeating one word for ever: stay near the reference",
        kl_coefficient=0.03,
    ),
    closeness=Experiment(
        "KL control",
        "TextGen-v0",
        "write a text no more surely than it is paid for",
        ({"target": "abcab", "alphabet": "abc"},),
        kl_coefficient=1.0,
    ),
)

QUICK = ("word", "lock", "delay", "noise", "scale", "closeness")
"""The experiments of `textgym bench --quick`: with their first settings, one seed and fewer steps."""
