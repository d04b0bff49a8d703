"""Kills runs at random moments, lets them go on, and prints what became of them: `python killing.py AGENT=KILLS ...`.

A program of its own, because it forks: everything is imported once, and every run is a child. A child says in shared
memory what it is doing, so that the parent knows what a kill hit.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard

from agents import Config, keeper, make, make_vec_env, save, training
from agents.folder import read_files
from agents.metrics import Metrics

SMALL = {"policy": {"d_model": 8, "n_layers": 1, "n_heads": 1}}
RUNS: dict[str, tuple[dict[str, Any], int, int]] = {  # settings, steps, steps between checkpoints
    "q-learning": ({}, 5000, 400),
    "sarsa": ({}, 5000, 400),
    "dqn": ({**SMALL, "learning_starts": 32, "buffer_size": 200}, 480, 40),
    "a2c": (SMALL, 960, 60),
    "ppo": ({**SMALL, "n_steps": 16, "batch_size": 32, "n_epochs": 2}, 960, 60),
    "reinforce": (SMALL, 960, 60),
}
NOW = mmap.mmap(-1, 1)  # what the child is doing: b"." starting, b"r" rollout, b"u" update, b"s" save
DOING = {".": "start", "r": "rollout", "u": "update", "s": "save"}


class Said(Metrics):
    """Metrics that say whether a rollout or an update is under way."""

    def _on_rollout_start(self) -> None:
        super()._on_rollout_start()
        NOW[:] = b"r"

    def _on_rollout_end(self) -> None:
        NOW[:] = b"u"


def said(done: Callable[..., None]) -> Callable[..., None]:
    def saves(*arguments: Any, **more: Any) -> None:
        NOW[:] = b"s"
        done(*arguments, **more)
        NOW[:] = b"r"

    return saves


setattr(training, "Metrics", Said)  # noqa: B010 (names that these modules imported for themselves)
setattr(training, "save", said(save))  # noqa: B010
setattr(keeper, "save", said(save))  # noqa: B010


def child(work: Callable[[], None]) -> int:
    """Do something in another process; return its number."""
    NOW[:] = b"."
    number = os.fork()
    if number:
        return number
    try:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (it stays open as long as the process lives)
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)


def finish(number: int) -> None:
    if os.waitpid(number, 0)[1]:
        raise SystemExit("a run that was not killed failed")


def killed(number: int, seconds: float) -> str | None:
    """Kill a child after some time; return what it was doing, or None where it had ended before."""
    time.sleep(seconds)
    os.kill(number, signal.SIGKILL)
    status = os.waitpid(number, 0)[1]
    if os.WIFSIGNALED(status):
        return DOING[NOW[:].decode()]
    if status:
        raise SystemExit("a run failed before it was killed")
    return None


def digest(folder: Path) -> str:
    return hashlib.sha256(read_files(folder)[1]["policy.safetensors"]).hexdigest()


def main(name: str, kills: int, seed: int) -> None:
    """Print the digest of an undisturbed run, and of each disturbed one its digest and what its kills hit."""
    settings, steps, every = RUNS[name]
    config = Config(env="TextGen-v0", agent=name, settings=settings, steps=steps, n_envs=4)
    home, chance = Path(tempfile.mkdtemp()), random.Random(seed)

    def begin(folder: Path) -> None:
        training.train(config, folder, "cpu", overwrite=True, checkpoint_every=every, texts=0)

    def go_on(folder: Path) -> None:
        training.resume(folder, device="cpu", checkpoint_every=every, texts=0)

    make(name, make_vec_env("TextGen-v0", 4), device="cpu", **settings).learn(64)  # what is imported late, once
    start = time.monotonic()
    finish(child(lambda: begin(home / "whole")))
    lasts, hit, runs = time.monotonic() - start, list[str](), list[str]()
    while len(hit) < kills and len(runs) < 3 * kills:
        folder = home / str(len(runs))
        number = child(lambda: begin(folder))  # noqa: B023 (the child runs at once)
        while (doing := killed(number, chance.uniform(0, lasts))) is not None:
            hit.append(doing)
            begun = any((folder / name).exists() for name in ("manifest.json", "manifest.json.next"))
            if begun:
                read_files(folder)  # raises unless the run is whole
            number = child(lambda: (go_on if begun else begin)(folder))  # noqa: B023
            if len(hit) >= kills or chance.random() < 0.4:
                finish(number)
                break
        runs.append(digest(folder))
    print(json.dumps({"whole": digest(home / "whole"), "runs": runs, "hit": hit}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed, argument in enumerate(sys.argv[1:]):
        agent, _, number = argument.partition("=")
        main(agent, int(number), seed)
