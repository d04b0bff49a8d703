"""Tokens learned from per second: SB3 used plainly, and the steps towards reading each token once, one by one.

    python benchmarks/learning_speed.py                                 # T = 16, 32, 64; some minutes
    python benchmarks/learning_speed.py --lengths 128 --sides plain whole --pairs 3
    python benchmarks/learning_speed.py --size large --threads 2 --minibatch best

All sides write the same task, T tokens of an alphabet of 64, 64 rows, and learn from one rollout with PPO, 4 epochs,
minibatches of 256 transitions; each in a process of its own, so that its memory can be told apart. They take turns.
A ratio is the median over the turns of the plain side's seconds by another's; the speeds are medians. Seconds are the
processor's on one thread, the clock's on several and on a GPU. The sides:

    plain     what one writes: nn.TransformerEncoder over the padded prefix, SB3's make_vec_env, PPO("MlpPolicy")
    batched   TextGym's make_vec_env
    ours      TransformerExtractor too
    cached    CachedTransformerPolicy: while acting, each row costs its newest token
    packed    EpisodeRolloutBuffer too: in the update, each episode costs one pass
    whole     agents.make("ppo")

The last columns say which share of the rate at which this machine multiplies matrices of 1024 x 1024 the side reaches
in the update and in the rollout, counting the multiplications that a token needs once; and how much memory the process
took at its peak beyond what it had before the rollout.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from machine import device_option, machine
from sides import EPOCHS, LETTERS, ON_POLICY, PACKED, ROWS, on_policy

SIZES = {"small": {"d_model": 64, "n_layers": 2, "n_heads": 4}, "large": {"d_model": 128, "n_layers": 4, "n_heads": 4}}
SPEEDS = ("T", "side", "rollout, tokens/s", "update, tokens/s", "end to end, tokens/s", "ratio")
HEAD = (*SPEEDS, "update / GEMM", "rollout / GEMM", "memory, MiB")


class Turn(NamedTuple):
    """What one rollout and the update after it took."""

    rollout: float  # seconds
    update: float
    memory: float  # MiB
    gemm: float  # floating-point operations per second of this machine at that time

    @property
    def seconds(self) -> float:
        """Return the seconds of both."""
        return self.rollout + self.update


def seconds(work: Callable[[], Any], by_clock: bool) -> float:
    """Return the seconds that some work takes, the processor's or the clock's."""
    clock = time.perf_counter if by_clock else time.process_time
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def peak() -> float:
    """Return the most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def gemm(device: str, by_clock: bool) -> float:
    """Return the operations per second of a matrix product."""
    a = torch.ones(1024, 1024, device=device)
    return 2 * 1024**3 / min(seconds(lambda: a @ a, by_clock) for _ in range(5))


def serve(pipe: Connection, name: str, length: int, options: argparse.Namespace) -> None:
    """Take a turn each time that the other end of a pipe asks for one."""
    torch.set_num_threads(options.threads)
    by_clock = options.threads > 1 or options.device != "cpu"
    minibatch = (1024 if name in PACKED else 64) if options.minibatch == "best" else int(options.minibatch)
    model = on_policy(name, length, SIZES[options.size], minibatch, options.device)
    _, callback = model._setup_learn(ROWS * length)
    env, buffer, before = model.env, model.rollout_buffer, peak()

    def collect() -> None:
        model.collect_rollouts(env, callback, buffer, length)

    while pipe.recv():
        rate = gemm(options.device, by_clock)
        rollout = seconds(collect, by_clock)
        pipe.send(Turn(rollout, seconds(model.train, by_clock), peak() - before, rate))


def taken(length: int, options: argparse.Namespace) -> dict[str, list[Turn]]:
    """Return the turns of each side."""
    context, pipes, processes = multiprocessing.get_context("spawn"), {}, []
    for name in options.sides:
        pipes[name], other = context.Pipe()
        process = context.Process(target=serve, args=(other, name, length, options), daemon=True)
        process.start()
        processes.append(process)
    turns: dict[str, list[Turn]] = {name: [] for name in options.sides}
    for turn in range(options.pairs + 1):
        for name in options.sides:
            if turn == 0 and name == "plain" and length > 32:
                continue  # the first turn is for warming up, which would take this side minutes and changes nothing
            pipes[name].send(True)
            found = pipes[name].recv()
            turns[name] += [found] if turn else []
    for name, process in zip(options.sides, processes):
        pipes[name].send(False)
        process.join()
    return turns


def operations(length: int, size: str) -> float:
    """Return the multiplications and additions of one token's pass through the network, in the middle of a text."""
    sizes = SIZES[size]
    d, layers = sizes["d_model"], sizes["n_layers"]
    return layers * (24 * d * d + 4 * d * length / 2) + 2 * d * (LETTERS + 1)


def line(length: int, name: str, turns: list[Turn], plain: list[Turn] | None, size: str) -> str:
    """Return a row of the table."""
    tokens, needed = ROWS * length, operations(length, size)
    rollout, update, whole = (
        statistics.median(values)
        for values in zip(*((tokens / t.rollout, tokens / t.update, tokens / t.seconds) for t in turns))
    )
    ratio = "" if plain is None else f"{statistics.median(p.seconds / t.seconds for p, t in zip(plain, turns)):.1f}x"
    rate = statistics.median(turn.gemm for turn in turns)
    shares = [
        f"{100 * speed * cost / rate:.0f} %" for speed, cost in ((update, 3 * EPOCHS * needed), (rollout, needed))
    ]
    memory = f"{max(turn.memory for turn in turns):,.0f}"
    cells = (length, name, f"{rollout:,.0f}", f"{update:,.0f}", f"{whole:,.0f}", ratio, *shares, memory)
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[16, 32, 64], metavar="T")
    parser.add_argument("--sides", nargs="+", choices=ON_POLICY, default=list(ON_POLICY))
    parser.add_argument("--size", choices=list(SIZES), default="small", help="2 layers, 64 wide; or 4 layers, 128 wide")
    parser.add_argument("--minibatch", default="256", help="transitions; or best: plain 64, packed and whole 1024")
    parser.add_argument("--pairs", type=int, default=5, help="how often the sides take turns")
    parser.add_argument("--threads", type=int, default=1)
    device_option(parser)
    options = parser.parse_args()
    print(machine("stable-baselines3", "torch"))
    print(f"{options.size} network, {options.threads} thread(s), minibatch {options.minibatch}, {options.device}\n")
    print("| " + " | ".join(HEAD) + " |\n|" + " --- |" * len(HEAD))
    for length in options.lengths:
        turns = taken(length, options)
        for name in options.sides:
            print(line(length, name, turns[name], turns.get("plain"), options.size), flush=True)


if __name__ == "__main__":
    main()
