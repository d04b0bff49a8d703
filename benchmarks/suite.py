"""The whole diagnostic suite: every agent on every experiment, into benchmarks/results/, with tables and pictures.

    python benchmarks/suite.py            # within an hour on two cores; goes on where it was interrupted

It is `textgym bench` with the files that the README shows. `textgym reproduce benchmarks/results/suite.jsonl` runs its
runs again, one by one.
"""

from __future__ import annotations

from pathlib import Path

from machine import machine

from agents.commands.bench import bench

RESULTS = Path(__file__).parent / "results"

if __name__ == "__main__":
    print(machine("gymnasium", "stable-baselines3", "torch", "numpy"))
    bench(out=RESULTS / "suite.jsonl", report=RESULTS)
