"""How fast the exact answer comes: (state, action) pairs per second of `textgym.solve`, and its memory.

    python benchmarks/solving.py

tree: a text of 6 of 10 letters, every text a state, 100,000 of them side by side at the end. merged: Copy, 37,448
prompts, two states of each at every length. 16 of 100: a text of 16 tokens over an alphabet of 100. arithmetic: all
sums of two numbers below 100. Seconds are the median of some runs on one thread; memory is what NumPy holds at most.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

from machine import machine

from textgym import Task, load_task, solve

LETTERS = "abcdefghij"
HUNDRED = [chr(ord("一") + i) for i in range(100)]


def tree() -> Task:
    """Return a task without a key."""
    return replace(load_task("TextGen-v0", target="abcdef", alphabet=LETTERS), state_key=None)


CASES: dict[str, Callable[[], Task]] = {
    "tree": tree,
    "merged": lambda: load_task("TextGym/Copy-v0", max_length=5),
    "16 of 100": lambda: load_task("TextGen-v0", target="".join(HUNDRED[5:85:5]), alphabet=HUNDRED, horizon=16),
    "arithmetic": lambda: load_task("TextGym/Arithmetic-v0"),
}


def measured(task: Task, runs: int) -> tuple[int, int, float, float]:
    """Return states, pairs, seconds, and MiB."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        solution = solve(task)
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    solve(task)
    memory = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return solution.states, solution.states * task.size, statistics.median(seconds), memory


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=[*CASES], default=[*CASES])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(machine("numpy"))
    print("| task | states | pairs | seconds | pairs per second | memory, MiB |\n|" + " --- |" * 6)
    for name in options.cases:
        states, pairs, seconds, memory = measured(CASES[name](), options.runs)
        rate = f"{pairs / seconds / 1e6:.1f} M"
        print(f"| {name} | {states:,} | {pairs:,} | {seconds:.3f} | {rate} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
