"""What `textgym train TextGym/RewardModel-v0` learns, over several seeds, and how fast its reward model scores.

    python benchmarks/reward_model.py --seeds 0 1 2          # some minutes a seed on one core
    python benchmarks/reward_model.py --parts speed

Each seed is one training with nothing else said. Start and end are the same 1,024 prompts, sampled. Proxy and gold are
in deviations of the writer's own texts. The interval is Student's, 95 %, over seeds. Sequences per second are of
processor time.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from machine import machine

from agents.evaluation import write
from agents.training import fresh, plan
from textgym import Episodes, Task, load_task
from textgym.arrays import FloatArray
from textgym.rendering import ansi
from textgym.rollouts import rollout, write_random

ID = "TextGym/RewardModel-v0"
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # of 95 %, by the number of seeds
EPISODES, SHOWN, LAST = 1024, 6, 20


def judged(agent: Any, task: Task) -> tuple[dict[str, FloatArray], Episodes]:
    """Return the metrics of sampled texts, and the texts."""
    torch.manual_seed(0)
    rows, _ = write(agent, task, EPISODES, deterministic=False)
    return task.measure(rows), rows


def train(seed: int, steps: int | None) -> dict[str, float]:
    """Train with the defaults; print texts and return figures."""
    asked = {"env": ID, "seed": seed, **({} if steps is None else {"steps": steps})}
    config = plan(asked, {})
    start = time.perf_counter()
    agent = fresh(config, "cpu")
    task = config.task()
    before, first = judged(agent, task)
    distances: list[float] = []  # of each rollout

    def note(*_: Any) -> bool:
        measured = agent.kl_control.measured
        if measured is not None and measured not in distances[-1:]:
            distances.append(measured)
        return True

    learning = time.perf_counter()
    cpu = time.process_time()
    agent.learn(config.steps, callback=note)
    took = {"seconds": time.perf_counter() - learning, "processor": time.process_time() - cpu}
    after, last = judged(agent, task)
    rise = {name: float(after[name].mean() - before[name].mean()) for name in before}
    print(f"\nseed {seed}, {config.agent}, {config.steps} steps, all in all {time.perf_counter() - start:.0f} s")
    print("nats a text:", *[f"{distance:.1f}" for distance in distances[4::5]])
    for row in range(SHOWN):
        marks = [f"{m['proxy'][row]:+.2f} {m['gold'][row]:+.2f}" for m in (before, after)]
        print(f"    {marks[0]}  {ansi(first, row)}\n  → {marks[1]}  {ansi(last, row)}", flush=True)
    return {
        **took,
        "KL": float(np.mean(distances[-LAST:])),
        "proxy before": float(before["proxy"].mean()),
        "proxy deviation": float(before["proxy"].std()),
        "proxy rise": rise["proxy"],
        "in deviations": rise["proxy"] / float(before["proxy"].std()),
        "gold before": float(before["gold"].mean()),
        "gold rise": rise["gold"],
    }


def interval(values: list[float]) -> str:
    """Return a mean with its 95 % interval over seeds."""
    mean, n = float(np.mean(values)), len(values)
    if n not in STUDENT:
        return f"{mean:.2f}"
    return f"{mean:.2f} ± {STUDENT[n] * float(np.std(values, ddof=1)) / n**0.5:.2f}"


def learning(seeds: list[int], steps: int | None) -> None:
    """Print a table of trainings."""
    found = {seed: train(seed, steps) for seed in seeds}
    names = list(next(iter(found.values())))
    print(f"\n| seed | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}")
    for seed, figures in found.items():
        print(f"| {seed} | {' | '.join(f'{figures[name]:.2f}' for name in names)} |")
    print(f"| mean | {' | '.join(interval([figures[name] for figures in found.values()]) for name in names)} |")


def speed(turns: int = 5) -> None:
    """Print sequences per second of proxy and gold, medians of some turns."""
    task = load_task(ID)
    judges = {name: task.metrics[name] for name in ("proxy", "gold")}
    print("\n| rows | proxy, sequences/s | gold, sequences/s |\n| --- | --- | --- |")
    for n in (1, 64, 512):
        rates: dict[str, list[float]] = {name: [] for name in judges}
        for turn in range(turns + 1):
            _, rows = rollout(unpaid(task), write_random, n * max(1, 64 // n), seed=turn)
            for name, judge in judges.items():
                start = time.process_time()
                for first in range(0, len(rows), n):
                    judge(rows.take(np.arange(first, first + n)))
                if turn:  # the first one warms up
                    rates[name].append(len(rows) / (time.process_time() - start))
        print(f"| {n} | " + " | ".join(f"{np.median(rates[name]):,.0f}" for name in judges) + " |", flush=True)


def unpaid(task: Task) -> Task:
    """Return a task without rewards: writing its texts is not what is measured."""
    return Task(task.vocabulary, task.prompts, nothing, task.horizon, metrics={})


def nothing(episodes: Episodes) -> FloatArray:
    """Pay nothing."""
    return np.zeros(len(episodes))


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--parts", nargs="+", choices=("learning", "speed"), default=["learning", "speed"])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine("stable-baselines3", "torch", "transformers"), f"{arguments.threads} threads", sep=", ")
    if "learning" in arguments.parts:
        learning(arguments.seeds, arguments.steps)
    if "speed" in arguments.parts:
        speed()


if __name__ == "__main__":
    main()
