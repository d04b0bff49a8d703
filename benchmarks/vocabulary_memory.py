"""What a vocabulary's size costs in memory: the rollout buffer, a step of a rollout, and an update.

    python benchmarks/vocabulary_memory.py

`ppo` with a GPT-2 of 2 layers, 64 wide, fresh; 8 rows write 32 tokens, and an update reads the 256 transitions as one
minibatch. The buffer's arrays are counted. Peaks are the process's: the most that it holds while it writes or learns,
less what it held before, parameters, gradients and Adam's moments included; each size has a process of its own. Linux
alone says it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import make, make_vec_env, policies
from textgym import Prompt, Task, Vocabulary
from textgym.masks import Candidates
from textgym.prompts import ListedPrompts
from textgym.rewards import right_token

ROWS, TOKENS = 8, 32
AT_ONCE = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # so that glibc gives back what is freed
STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held(name: str) -> int:
    """Return a line of the process's status in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def peak(work: Callable[[], object]) -> int:
    """Return the bytes that some work takes at its peak."""
    PEAK.write_text("5")  # forget the peak so far
    before = held("VmRSS")
    work()
    return held("VmHWM") - before


def agent_of(size: int, masks: bool) -> Any:
    """Return an agent that writes over a vocabulary of this size, with or without a mask that leaves half of it."""
    vocabulary = Vocabulary(tuple(f"t{i}" for i in range(size)))
    target = np.arange(TOKENS, dtype=np.int32)
    prompts = ListedPrompts((Prompt(target[:0], target),))
    mask = Candidates(tuple(range(size // 2)), size) if masks else None
    env = make_vec_env(Task(vocabulary, prompts, right_token, TOKENS, mask=mask), ROWS, seed=0)
    model = {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 2}
    own: dict[str, Any] = {"n_steps": TOKENS, "batch_size": ROWS * TOKENS, "n_epochs": 1, "gamma": 0.9}
    return make("ppo", env, policy={"model": model}, seed=0, device="cpu", **own)


def measure(size: int, masks: bool, whole: bool) -> str:
    """Return one row's cells: bytes of the buffer a step, and the peaks of a step and an update in MiB."""
    if whole:  # as if every logit of a minibatch were there at once
        policies.LOGITS = 2**40
    agent = agent_of(size, masks)
    learned = agent._setup_learn(ROWS * TOKENS)[1]

    def roll() -> object:
        return agent.collect_rollouts(agent.env, learned, agent.rollout_buffer, TOKENS)

    roll(), agent.train()  # what is loaded and made once
    buffer = agent.rollout_buffer
    kept = sum(array.nbytes for array in vars(buffer).values() if isinstance(array, np.ndarray))
    cells = kept / (ROWS * TOKENS), peak(roll) / 2**20, peak(agent.train) / 2**20
    return f"{cells[0]:,.0f} | {cells[1]:.0f} | {cells[2]:.0f}"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 5_000, 50_000], metavar="V")
    parser.add_argument("--one", nargs=3, type=int, metavar=("V", "MASKS", "WHOLE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print(measure(options.one[0], bool(options.one[1]), bool(options.one[2])))
        return
    print("| V | masks | update | buffer, bytes a step | rollout, MiB | update, MiB | logits, MiB |")
    print("|" + " --- |" * 7)
    for size in options.sizes:
        logits = ROWS * TOKENS * size * 4 / 2**20
        for masks, whole in ((False, False), (True, False), (True, True)):
            told = [sys.executable, __file__, "--one", str(size), str(int(masks)), str(int(whole))]
            row = subprocess.run(told, check=True, capture_output=True, text=True, env=AT_ONCE).stdout.strip()
            names = "yes" if masks else "no", "whole" if whole else "in parts"
            print(f"| {size:,} | {names[0]} | {names[1]} | {row} | {logits:.1f} |", flush=True)


if __name__ == "__main__":
    main()
