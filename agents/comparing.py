"""Comparing: what a smaller or cheaper copy of an agent keeps of it, and what it costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from textgym import Task
from textgym import evaluate as evaluate_policy
from textgym.errors import InvalidSetting, require_positive

from . import evaluation
from .about import environment
from .categorical import at_once, divergence
from .likelihood import CHUNK
from .probabilities import AgentPolicy, network_of
from .problems import TEXTS
from .scoring import markdown_table
from .state import env_of
from .teachers import Teacher, seeded, texts
from .text_data import Corpus
from .vec_env import name_of

TURNS = 5  # in which speeds are measured


@dataclass(frozen=True)
class Worth:
    """What an agent earns and how often it succeeds, greedily or as it samples."""

    expected_return: float
    standard_error: float | None  # None where every text was followed: the return is exact
    success: float | None  # None where the task has no success

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.3f}"
        return f"{self.expected_return:.3f}{error}"


@dataclass(frozen=True)
class Figures:
    """One agent beside another."""

    name: str
    parameters: int  # numbers that the network which acts is made of
    bytes: int  # that they take
    sampled: Worth
    greedy: Worth
    agreement: float  # the share of states on the first agent's texts where both take the same action greedily
    kl: float  # KL(first || this) there, in nats a token
    tokens_per_second: float

    def cells(self) -> list[str]:
        """Return what a table's row shows."""
        success = "-" if self.greedy.success is None else f"{self.greedy.success:.1%}"
        worth = [str(self.sampled), str(self.greedy), success]
        near = [f"{self.agreement:.2%}", f"{self.kl:.4f}"]
        return [self.name, f"{self.parameters:,}", f"{self.bytes:,}", *worth, *near, f"{self.tokens_per_second:,.0f}"]


HEAD = ("agent", "parameters", "bytes", "return", "greedy return", "success", "agreement", "KL", "tokens/s")


@dataclass(frozen=True)
class Comparison:
    """Agents on one task, the first of them that which all are compared with."""

    agents: tuple[Figures, ...]
    states: int  # on the first agent's texts
    episodes: int  # written where a return is no exact one
    rows: int  # written side by side for the speeds
    threads: int

    def markdown(self) -> str:
        """Return a table, and how its figures were come by."""
        errors = [worth.standard_error for each in self.agents for worth in (each.sampled, each.greedy)]
        exact = all(error is None for error in errors)
        how = "exact" if exact else f"mean ± standard error of {self.episodes} episodes, exact where no error is shown"
        lines = [
            *markdown_table(HEAD, [figures.cells() for figures in self.agents]),
            "",
            f"Returns: {how}; success: of greedy writing. Agreement of greedy actions, and KL in nats a token, over "
            f"{self.states} states of texts of the first. Tokens/s: {self.rows} rows, {self.threads} "
            f"thread{'' if self.threads == 1 else 's'}, median of {TURNS} turns.",
        ]
        return "\n".join(lines)


def compare(
    agents: Mapping[str, Any],
    task: Task,
    *,
    episodes: int = 200,
    rows: int = 64,
    seed: int = 0,
    tau: float | None = None,
) -> Comparison:
    """Return what agents earn on a task, how far they agree with the first of them, their size and their speed.

    Args:
        agents: by name.
        task: the rules.
        episodes: written by the first, for agreement and KL; and by each, where its return cannot be had exactly.
        rows: written side by side in each of the turns in which speeds are measured.
        seed: of prompts and draws.
        tau: of the first agent, as `Teacher` has it, for KL.

    Raises:
        InvalidSetting: an agent does not say how likely its actions are, or is another environment's.
        InvalidSize: a number that is no positive integer.
    """
    require_positive(episodes=episodes, rows=rows)
    if not agents:
        raise InvalidSetting("there is no agent to compare. Give some by name, the one to compare with first.")
    first, *_ = agents.values()
    for name, agent in agents.items():
        check_same_env(env_of(first), env_of(agent), name)
    corpus = texts(Teacher(first, task, tau), episodes, seed)
    speeds = tokens_per_second(agents, task, rows, seed)
    found = []
    for name, agent in agents.items():
        share, kl = agreement(first, agent, corpus, tau)
        sampled, greedy = (worth(agent, task, deterministic, episodes, seed) for deterministic in (False, True))
        found.append(Figures(name, *footprint(agent), sampled, greedy, share, kl, speeds[name]))
    return Comparison(tuple(found), corpus.count, episodes, rows, torch.get_num_threads())


def check_same_env(ours: Any, theirs: Any, name: str) -> None:
    """Refuse an environment whose tokens, prompts or widths are not the teacher's; None is not known, and passes.

    Args:
        ours: the teacher's.
        theirs: of another agent.
        name: what that is called, for the message.

    Raises:
        InvalidSetting: it is another one; the message says in what.
    """
    if ours is None or theirs is None:
        return
    for field, value in environment(ours).items():
        if (given := environment(theirs)[field]) != value:
            raise InvalidSetting(
                f"{name} is about {name_of(theirs)} with {field}={given!r}; the teacher is about {name_of(ours)} with "
                f"{field}={value!r}. Both must have the same tokens, prompts and widths."
            )


def footprint(agent: Any) -> tuple[int, int]:
    """Return how many parameters the network that acts has, and how many bytes they take, scales of int8 included.

    Each counts once; a value head counts, a DQN's target network does not.

    Raises:
        InvalidSetting: the agent has no network.
    """
    network = network_of(agent)
    if network is None:
        raise InvalidSetting(f"{type(agent).__name__} has no network whose size could be told.")
    acts: nn.Module = network.q_net if hasattr(network, "q_net") else network
    kept = {id(tensor): (name, tensor) for name, tensor in acts.state_dict(keep_vars=True).items()}.values()
    many = sum(tensor.numel() for name, tensor in kept if name.rpartition(".")[2] != "scale")
    return many, sum(tensor.numel() * tensor.element_size() for _, tensor in kept)


def worth(agent: Any, task: Task, deterministic: bool, episodes: int = 200, seed: int = 0) -> Worth:
    """Return what an agent earns: exactly where all its texts can be followed, else over seeded episodes."""
    try:
        policy = AgentPolicy(agent, deterministic)
        exact = evaluate_policy(task, policy, limit=TEXTS * task.size)
        if exact.lower == exact.upper:
            success = exact.success_probability
            return Worth(exact.expected_return, None, None if np.isnan(success) else success)
    except InvalidSetting:
        pass  # its prompts cannot be listed
    with seeded(seed):
        found = evaluation.evaluate(agent, task, episodes, deterministic, seed)
    return Worth(found.mean_return, found.standard_error, found.success_rate)


def agreement(teacher: Any, student: Any, corpus: Corpus, tau: float | None = None) -> tuple[float, float]:
    """Return how far two agents agree on the states of some texts.

    Args:
        teacher: an agent, at the temperature tau (see `Teacher`).
        student: an agent, as it samples; a DQN at its own temperature of 0.01.
        corpus: the texts.
        tau: the teacher's; None as there.

    Returns:
        The share of states where both take the same action greedily, and the mean of KL(teacher || student) over
        states, in nats.
    """
    first = Teacher(teacher, corpus.task, tau)
    other = first if student is teacher else Teacher(student, corpus.task)
    same, total = 0, 0.0
    most = max(1, at_once(CHUNK, corpus.task.size) // corpus.tokens.shape[1])
    for start in range(0, len(corpus), most):
        prefixes, _ = corpus.take(np.arange(start, min(start + most, len(corpus)))).batch(torch.device("cpu"))
        p, q = first.every(prefixes), other.every(prefixes)
        same += int((p.argmax(dim=1) == q.argmax(dim=1)).sum())
        total += float(divergence(p, q).sum())
    return same / corpus.count, total / corpus.count


def tokens_per_second(agents: Mapping[str, Any], task: Task, rows: int, seed: int = 0) -> dict[str, float]:
    """Return how many tokens agents write in a second of the clock, sampling, all rows side by side.

    They take turns, so that what else the machine does falls on all alike; the median of the turns counts. The
    environment's own part, which is the same for all, is in it.
    """
    turns: dict[str, list[float]] = {name: [] for name in agents}
    with seeded(seed):
        for turn in range(-1, TURNS):  # one to warm up
            for name, agent in agents.items():
                start = time.perf_counter()
                written, _ = evaluation.write(agent, task, rows, deterministic=False, seed=seed)
                seconds = time.perf_counter() - start
                turns[name] += [float(written.length.sum()) / seconds] if turn >= 0 else []
    return {name: statistics.median(speeds) for name, speeds in turns.items()}
