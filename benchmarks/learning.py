"""How soon each agent solves each environment, with its defaults: environment steps and seconds, over seeds.

    python benchmarks/learning.py                                   # the whole table, under an hour on one core
    python benchmarks/learning.py --agents ppo q-learning --tasks 我爱你 hello --seeds 3

A run is solved at the first step at which greedy writing succeeds in every one of the episodes looked at: one where
there is one prompt, 200 fresh ones where prompts are drawn, of which 95 in 100 suffice. It is looked at every 64 steps
where a run is short, rarer where it is long, and looking is not counted. A cell shows the median and the range over
seeds, of steps and of CPU seconds on one thread; `2 of 5` where not every seed was solved within the task's limit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from machine import machine
from stable_baselines3.common.callbacks import BaseCallback

from agents import AGENTS, make, make_vec_env
from agents.evaluation import evaluate
from textgym import Task, load_task

LETTERS = "abcdefghijklmnopqrstuvwxyz"
HUNDRED = "".join(chr(ord("一") + i) for i in range(100))
SMALL = tuple(AGENTS)
STRONG = ("q-learning", "dqn", "a2c", "ppo")


@dataclass(frozen=True)
class Setting:
    """What is to be solved, and within how many steps."""

    id: str
    limit: int
    agents: tuple[str, ...] = SMALL
    kwargs: dict[str, Any] = field(default_factory=dict)
    n_envs: int = 8
    episodes: int = 1
    enough: float = 1.0


TASKS = {
    "我爱你": Setting("TextGen-v0", 20_000),
    "我爱你, terminal": Setting("TextGen-v0", 20_000, kwargs={"reward": "terminal"}),
    "corners": Setting("TextGym/Corners-v0", 40_000, episodes=40),
    "hello": Setting("TextGen-v0", 40_000, kwargs={"target": "hello", "alphabet": LETTERS}),
    "16 of 100": Setting("TextGen-v0", 40_000, STRONG, {"alphabet": HUNDRED}),
    "copy": Setting("TextGym/Copy-v0", 300_000, ("q-learning", "ppo"), episodes=200, enough=0.95),
    "reverse": Setting("TextGym/Reverse-v0", 300_000, ("q-learning", "ppo"), episodes=200, enough=0.95),
}


class UntilSolved(BaseCallback):
    """Ends learning once greedy writing succeeds; `seconds` leaves out the time spent looking."""

    def __init__(self, task: Task, setting: Setting) -> None:
        super().__init__()
        self.task, self.setting = task, setting
        self.every = max(64, setting.limit // 300)
        self.solved, self.looking, self._next = False, 0.0, self.every

    def _on_step(self) -> bool:
        if self.num_timesteps < self._next:
            return True
        start = time.process_time()
        self._next = self.num_timesteps + self.every
        rate = evaluate(self.model, self.task, self.setting.episodes, seed=1).success_rate
        self.solved = rate is not None and rate >= self.setting.enough
        self.looking += time.process_time() - start
        return not self.solved


def run(agent: str, setting: Setting, seed: int, **settings: Any) -> tuple[int, float] | None:
    """Return the steps and seconds until a run was solved; None where it was not."""
    kwargs = dict(setting.kwargs)
    if setting.kwargs.get("alphabet") == HUNDRED:
        kwargs["target"] = "".join(np.random.default_rng(seed).choice(list(HUNDRED), 16))
    env = make_vec_env(setting.id, setting.n_envs, seed=seed, **kwargs)
    start = time.process_time()
    learner = make(agent, env, seed=seed, device="cpu", **settings)
    until = UntilSolved(load_task(setting.id, **kwargs), setting)
    learner.learn(setting.limit, until)
    return (learner.num_timesteps, time.process_time() - start - until.looking) if until.solved else None


def cell(results: list[tuple[int, float] | None]) -> str:
    """Return a cell of the table."""
    solved = [result for result in results if result is not None]
    if not solved:
        return f"0 of {len(results)}"
    steps, seconds = zip(*solved)
    missing = "" if len(solved) == len(results) else f"{len(solved)} of {len(results)}: "
    low, middle, high = (_short(pick(steps)) for pick in (min, statistics.median, max))
    return f"{missing}{middle} ({low} to {high}), {_rounded(statistics.median(seconds))} s"


def _rounded(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"


def _short(steps: float) -> str:
    return f"{steps:.0f}" if steps < 1000 else f"{steps / 1000:.2g} k" if steps < 10_000 else f"{steps / 1000:.0f} k"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=[*AGENTS], default=[*AGENTS])
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("gymnasium", "stable-baselines3", "torch", "numpy"))
    print(f"| agent | {' | '.join(arguments.tasks)} |\n{'| --- ' * (1 + len(arguments.tasks))}|")
    for agent in arguments.agents:
        cells = []
        for name in arguments.tasks:
            seeds = range(arguments.seeds if agent in TASKS[name].agents else 0)
            cells.append(cell([run(agent, TASKS[name], seed) for seed in seeds]) if seeds else "")
        print(f"| `{agent}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
