"""The memory of a rollout of 64 rows, T tokens each: SB3's buffer, TextGym's, and what the policy remembers.

    python benchmarks/rollout_memory.py

Sizes are counted, not timed: the arrays that a filled buffer holds, the keys and values of a transformer of 2 layers,
64 wide, and the bits of an action mask over 64 tokens beside SB3-contrib's floats.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from learning_speed import SIZES
from sides import LETTERS, ROWS, environment, on_policy

from agents import EpisodeRolloutBuffer


def size(held: Any) -> int:
    """Return the bytes of all arrays that an object holds."""
    return sum(value.nbytes for value in vars(held).values() if isinstance(value, np.ndarray))


def filled(length: int) -> Any:
    """Return an agent after a rollout."""
    model = on_policy("packed", length, SIZES["small"], 256, "cpu")
    _, callback = model._setup_learn(ROWS * length)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, length)
    return model


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[32, 128, 512], metavar="T")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| T | RolloutBuffer, MiB | EpisodeRolloutBuffer, MiB | keys and values, MiB | masks as floats | as bits |")
    print("|" + " --- |" * 6)
    for length in options.lengths:
        model = filled(length)
        assert isinstance(model.rollout_buffer, EpisodeRolloutBuffer)
        observations = (
            np.dtype(np.int32).itemsize * ROWS * length * environment(length, True).observation_space.shape[0]
        )
        ours = size(model.rollout_buffer)
        plain = observations + sum(
            getattr(model.rollout_buffer, name).nbytes
            for name in ("actions", "rewards", "returns", "episode_starts", "values", "log_probs", "advantages")
        )
        cache = model.policy.features_extractor._followed
        memory = sum(block.memory.nbytes for held in cache._held for block in held._blocks)
        masks = ROWS * length * 4 * LETTERS, ROWS * length * LETTERS // 8
        cells = [f"{number / 2**20:.1f}" for number in (plain, ours, memory, *masks)]
        print(f"| {length} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
