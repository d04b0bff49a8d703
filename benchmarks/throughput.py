"""Environment steps per second: ours against a hand-written class under Gymnasium's and SB3's own vectorisation.

    python benchmarks/throughput.py            # the whole table, some five minutes
    python benchmarks/throughput.py --quick    # 1, 64 and 1024 rows, fewer slices

The hand-written class is what one writes in an afternoon: an array that is written into and copied. Every side
of a row of the table takes the same random actions; sides take turns in short slices, and the median slice counts, in
CPU seconds (Async: wall seconds, since its work is done in other processes). The tasks have 32 letters and 32 tokens:

    fixed    one target
    eos      one target and an end token, so that rows end at different times
    goals    one of 64 targets, drawn for each episode and shown as the prompt
    prompts  a random string to be copied, drawn letter by letter for each episode; the end token is never written
    both     the same, and the end token is written as often as any other
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from machine import machine
from stable_baselines3.common.env_util import make_vec_env as sb3_make_vec_env

from agents import make_vec_env
from textgym.arrays import IntArray

TASKS = ("fixed", "eos", "goals", "prompts", "both")
LENGTH, LETTERS = 32, 32
ALPHABET = "abcdefghijklmnopqrstuvwxyz012345"
ASYNC_ROWS = 16  # one process a row
Step = Callable[[IntArray], Any]


class HandWritten(gymnasium.Env[IntArray, np.int64]):
    """A text environment as one would write it for a single experiment: nothing refused, no state but its row."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.eos = LETTERS if task in ("eos", "prompts", "both") else None
        self.pad = LETTERS + (self.eos is not None)
        self.horizon = LENGTH
        self.goals = np.random.default_rng(0).integers(0, LETTERS, (64 if task == "goals" else 1, LENGTH))
        self.prompted = task in ("goals", "prompts", "both")
        self.start = LENGTH if self.prompted else 0
        width = self.horizon + self.start
        self.observation_space = spaces.Box(0, self.pad, (width,), np.int32)
        self.action_space = spaces.Discrete(self.pad)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[IntArray, dict[str, Any]]:
        """Draw a target."""
        super().reset(seed=seed)
        if self.task in ("prompts", "both"):
            self.target = self.np_random.integers(0, LETTERS, LENGTH - 1).tolist()
        else:
            goal = self.np_random.integers(len(self.goals)) if self.prompted else 0
            self.target = self.goals[goal].tolist()[: LENGTH - (self.eos is not None)]
        self.answer = self.target + ([] if self.eos is None else [self.eos])
        self.row = np.full(self.start + self.horizon, self.pad, np.int32)
        if self.prompted:
            self.row[LENGTH - len(self.target) : LENGTH] = self.target
        self.length, self.right = 0, 0
        return self.row.copy(), {}

    def step(self, action: np.int64) -> tuple[IntArray, float, bool, bool, dict[str, Any]]:
        """Write a token."""
        self.row[self.start + self.length] = action
        right = bool(self.answer[self.length] == action)
        self.length += 1
        self.right += right
        terminated = self.length == self.horizon or bool(action == self.eos)
        info = {"is_success": self.right == len(self.answer)} if terminated else {}
        return self.row.copy(), 1.0 if right else -1.0, terminated, False, info


def ours(task: str) -> tuple[str, dict[str, Any]]:
    """Return the id and arguments of our form of a task."""
    targets = ["".join(np.random.default_rng(i).choice(list(ALPHABET), LENGTH)) for i in range(64)]
    if task in ("prompts", "both"):
        return "TextGym/Copy-v0", {
            "alphabet": ALPHABET, "min_length": LENGTH - 1, "max_length": LENGTH - 1, "reward": "token"
        }  # fmt: skip
    if task == "eos":
        return "TextGen-v0", {"target": targets[0][:-1], "alphabet": ALPHABET, "eos": "$"}
    return "TextGen-v0", {"target": targets if task == "goals" else targets[0], "alphabet": ALPHABET}


def sides(task: str, rows: int) -> dict[str, Step]:
    """Return what is compared, each as a function that takes one step of all rows."""
    id, kwargs = ours(task)
    if rows == 1:
        mine, theirs = gymnasium.make(id, **kwargs), gymnasium.make("HandWritten-v0", task=task)
        return {"hand-written": _single(theirs), "ours": _single(mine)}
    hand = [lambda: HandWritten(task)] * rows
    found = {
        "DummyVecEnv + Monitor": _reset(sb3_make_vec_env(lambda: HandWritten(task), rows)),
        "ours, SB3 bridge": _reset(make_vec_env(id, rows, **kwargs)),
        "SyncVectorEnv": _reset(gymnasium.vector.SyncVectorEnv(hand, autoreset_mode="SameStep")),
        "ours, VectorEnv": _reset(
            gymnasium.make_vec(id, rows, vectorization_mode="vector_entry_point", autoreset_mode="SameStep", **kwargs)
        ),
    }
    if rows <= ASYNC_ROWS:
        found["AsyncVectorEnv"] = _reset(gymnasium.vector.AsyncVectorEnv(hand, autoreset_mode="SameStep"))
    return found


def _reset(env: Any) -> Step:
    env.reset()
    return env.step  # type: ignore[no-any-return]


def _single(env: gymnasium.Env[Any, Any]) -> Step:
    env.reset()

    def step(actions: IntArray) -> None:
        _, _, terminated, _, _ = env.step(actions[0])
        if terminated:
            env.reset()

    return step


def measure(found: dict[str, Step], rows: int, size: int, slices: int, seconds: float) -> dict[str, float]:
    """Return each side's median steps per second over slices taken in turns."""
    actions = list(np.random.default_rng(0).integers(0, size, (256, rows)))
    rates: dict[str, list[float]] = {name: [] for name in found}
    count = {name: _enough(step, actions, seconds, _clock(name)) for name, step in found.items()}
    for _ in range(slices):
        for name, step in found.items():
            clock = _clock(name)
            start = clock()
            for i in range(count[name]):
                step(actions[i % 256])
            rates[name].append(count[name] * rows / (clock() - start))
    return {name: statistics.median(rate) for name, rate in rates.items()}


def _clock(name: str) -> Callable[[], float]:
    return time.perf_counter if name.startswith("Async") else time.process_time


def _enough(step: Step, actions: list[IntArray], seconds: float, clock: Callable[[], float]) -> int:
    """Return how many steps take about this long, found by warming up."""
    start, done = clock(), 0
    while clock() - start < seconds or done < 40:
        step(actions[done % 256])
        done += 1
    return done


def main() -> None:
    """Print every side's figures, then the README's table: ours against the first side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1, 64 and 1024 rows, fewer slices")
    parser.add_argument("--task", choices=TASKS, action="append", help="only this one; may be given several times")
    given = parser.parse_args()
    quick = given.quick
    gymnasium.register("HandWritten-v0", lambda **kwargs: HandWritten(**kwargs))
    print(machine("gymnasium", "stable-baselines3", "numpy"), end="\n\n")
    print("| task | rows | side | steps/s | ratio |\n| --- | --- | --- | --- | --- |")
    tasks, sizes = given.task or TASKS, (1, 64, 1024) if quick else (1, 16, 64, 256, 1024, 4096)
    ours_against: dict[tuple[str, int], str] = {}
    for task in tasks:
        for rows in sizes:
            size = LETTERS + (task in ("eos", "both"))
            rates = measure(sides(task, rows), rows, size, 5 if quick else 9, 0.1 if quick else 0.2)
            (_, base), (_, mine), *_ = rates.items()
            ours_against[task, rows] = f"{mine / 1e6:.2f} M ({mine / base:.2g}x)"
            for name, rate in rates.items():
                print(f"| {task} | {rows} | {name} | {rate:,.0f} | {rate / base:.2f} |", flush=True)

    print(f"\n| rows | {' | '.join(tasks)} |\n| --- |{' --- |' * len(tasks)}")
    for rows in sizes:
        print(f"| {rows} | {' | '.join(ours_against[task, rows] for task in tasks)} |")


if __name__ == "__main__":
    main()
