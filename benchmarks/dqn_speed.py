"""Transitions learned from per second by DQN: SB3 used plainly, and episodes each read once.

    python benchmarks/dqn_speed.py
    python benchmarks/dqn_speed.py --lengths 16 --threads 2

All sides write the same task, T tokens of an alphabet of 64, 64 rows, with a transformer of 2 layers, 64 wide. An
update learns from a minibatch of 256 transitions; end to end is a step of all 64 rows and one such update, in turns, as
DQN learns with train_freq=1. plain: nn.TransformerEncoder over the padded prefix, SB3's make_vec_env and replay buffer,
DQN("MlpPolicy"); packed: CachedTransformerDQNPolicy and EpisodeReplayBuffer, whose minibatches are whole episodes with
256 transitions on average; whole: agents.make("dqn"). A ratio is the median over the turns; seconds are the
processor's on one thread, the clock's on several and on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from learning_speed import SIZES, seconds
from machine import device_option, machine
from sides import OFF_POLICY, ROWS, off_policy

MINIBATCH, UPDATES = 256, 8


def filled(name: str, length: int, device: str) -> Any:
    """Return an agent whose memory holds two episodes a row."""
    model = off_policy(name, length, SIZES["small"], MINIBATCH, device)
    model.learning_starts = 10**9
    model.learn(2 * length * ROWS)
    model.learning_starts = 0
    return model


def measure(model: Any, by_clock: bool) -> tuple[float, float]:
    """Return the seconds of an update, and of a step of all rows and an update."""
    update = seconds(lambda: model.train(UPDATES, MINIBATCH), by_clock) / UPDATES
    model.exploration_initial_eps = model.exploration_final_eps = 0.0
    steps = UPDATES * ROWS
    whole = seconds(lambda: model.learn(steps, reset_num_timesteps=False, log_interval=None), by_clock)
    return update, whole / UPDATES


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[16, 64], metavar="T")
    parser.add_argument("--pairs", type=int, default=5, help="how often the sides take turns")
    parser.add_argument("--threads", type=int, default=1)
    device_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    by_clock = options.threads > 1 or options.device != "cpu"
    print(machine("stable-baselines3", "torch"))
    print("| T | side | update, transitions/s | ratio | end to end, updates/s | ratio |\n|" + " --- |" * 6)
    for length in options.lengths:
        models = {name: filled(name, length, options.device) for name in OFF_POLICY}
        turns = [{name: measure(model, by_clock) for name, model in models.items()} for _ in range(options.pairs)]
        for name in models:
            speeds = [statistics.median(turn[name][part] for turn in turns) for part in (0, 1)]
            ratios = [statistics.median(turn["plain"][part] / turn[name][part] for turn in turns) for part in (0, 1)]
            cells = (MINIBATCH / speeds[0], ratios[0], 1 / speeds[1], ratios[1])
            print("| {} | {} | {:,.0f} | {:.1f}x | {:,.1f} | {:.1f}x |".format(length, name, *cells), flush=True)


if __name__ == "__main__":
    main()
