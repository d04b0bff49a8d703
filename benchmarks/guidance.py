"""Did language help? True returns while PPO learns, with and without advisers of all kinds; about an hour on one core.

    python benchmarks/guidance.py                        # all runs, then the table and the picture
    python benchmarks/guidance.py --part 0/2             # every second run, for two processes side by side
    python benchmarks/guidance.py --report               # the table and the picture of the runs that are there
    python benchmarks/guidance.py --cost                 # what asking an adviser costs, in microseconds

Stable-Baselines3's PPO with its own MLP reads the state; 16 rows. Curves are what episodes earned while it learned, by
the environment's own rewards, in each fifteenth of a run; the final return is what greedy actions earn in 100 episodes
without guidance. A finished run is one line of benchmarks/results/guidance.jsonl, and is not run again.

agreement pays 1 for each step that follows the advice and costs 1 for each that does not; potential has the weight that
returns have in the task, for an adviser's opinion of a state goes from 0 to 1. All rewards are multiplied by a
constant, so that the network's values are near 1. *paid at the end*: an episode's own rewards come as one sum with its
last step, guidance comes at once; the discount is 0.999, for with 0.99 a sum of T at step T is worth most at T = 100.
*tokens*: what `textgym train TextGym/CartPole-v0 --seed N` does, with the best policy kept. Noise has another seed in
each run.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from guidance_report import report
from machine import machine
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecEnvWrapper
from torch import Tensor

from agents import make, make_vec_env
from agents.best import Best
from agents.control import evaluate_control
from agents.results import add, begin
from textgym import load_control
from textgym.advising import ADVISORS, Asked, Consultation
from textgym.scenes import cart_pole

RESULTS = Path(__file__).parent / "results"
ROWS, PARTS, EPISODES = 16, 15, 100
FEW = ("none", "expert", "noisy 0.3", "adversarial")
ALL = ("none", "expert", "noisy 0.1", "noisy 0.3", "noisy 0.5", "adversarial", "irrelevant", "language-model")
PPO_SETTINGS: dict[str, Any] = {"n_steps": 64, "batch_size": 256, "n_epochs": 6, "learning_rate": 1e-3}
FUSED = {"optimizer_kwargs": {"fused": True}}  # a kernel of Adam's for all parameters


@dataclass(frozen=True)
class Setting:
    """A task, and what PPO and guidance have on it."""

    id: str
    steps: int
    level: float  # a mean return: what is counted is the steps to it
    worth: float  # the weight of potential-based shaping: the size of the task's returns
    advisers: tuple[str, ...] = FEW
    gamma: float = 0.99
    scale: float = 0.02  # of all rewards
    at_end: bool = False
    tokens: bool = False
    seeds: int = 10
    ent_coef: float = 0.0
    sizes: tuple[float, ...] = ()  # of the state's numbers, which are divided by them
    kwargs: dict[str, Any] = field(default_factory=dict)


CART, CAR, LAKE = (f"TextGym/{name}-v0" for name in ("CartPole", "MountainCar", "FrozenLake"))
TASKS = {
    "CartPole": Setting(CART, 30_000, 475, 100, ALL),
    "CartPole, five times as long": Setting(CART, 150_000, 475, 100, ("none", "adversarial")),
    "CartPole, paid at the end": Setting(CART, 30_000, 100, 100, gamma=0.999, at_end=True),
    "MountainCar": Setting(CAR, 40_000, -150, 100, ent_coef=0.01, sizes=(1.2, 0.07)),
    "FrozenLake 8x8": Setting(LAKE, 50_000, 0.5, 1, scale=1.0, ent_coef=0.01, kwargs={"map_name": "8x8"}),
    "CartPole, tokens": Setting(CART, 200_000, 475, 100, ("none", "expert"), tokens=True, seeds=3),
}


@dataclass(frozen=True)
class Job:
    """One run."""

    task: str
    adviser: str
    shaping: str
    seed: int

    @property
    def guidance(self) -> dict[str, Any]:
        """Return the arguments that tell an environment of the guidance."""
        setting, (name, *noise) = TASKS[self.task], self.adviser.split()
        if name == "none":
            return {}
        weight = setting.worth if self.shaping == "potential" else 1.0
        kwargs: dict[str, Any] = {"guidance": name, "shaping": self.shaping, "weight": weight, "gamma": setting.gamma}
        return {**kwargs, "noise": float(noise[0]), "guidance_seed": self.seed} if noise else kwargs


def jobs() -> list[Job]:
    """Return all runs, seed by seed, so that what is interrupted has all settings; those that say least come last."""
    found = [
        Job(task, adviser, shaping, seed)
        for seed in range(max(setting.seeds for setting in TASKS.values()))
        for task, setting in TASKS.items()
        for adviser in (setting.advisers if seed < setting.seeds else ())
        for shaping in ([""] if adviser == "none" else ["agreement"] if setting.tokens else ["agreement", "potential"])
    ]
    return sorted(found, key=lambda job: (job.adviser == "irrelevant", job.adviser == "language-model"))


class Divided(FlattenExtractor):
    """The state's numbers, each divided by its size: MountainCar's speed, at most 0.07, would hardly be seen."""

    def __init__(self, space: Any, sizes: tuple[float, ...]) -> None:
        super().__init__(space)
        self.sizes = torch.tensor(sizes)

    def forward(self, observations: Tensor) -> Tensor:
        """Return features `(B, d)`."""
        return super().forward(observations) / self.sizes


class Paid(VecEnvWrapper):
    """Rows whose rewards are scaled, and whose own ones may come in one sum at the end of an episode.

    Args:
        venv: rows that report `true_reward`.
        scale: what all rewards are multiplied by.
        at_end: whether the rows' own rewards come at the end; a time limit is an end like another then.
    """

    def __init__(self, venv: Any, scale: float, at_end: bool) -> None:
        super().__init__(venv)
        self.scale, self.at_end = scale, at_end
        self.owed = np.zeros(self.num_envs)

    def reset(self) -> Any:
        """Begin in all rows."""
        self.owed[:] = 0.0
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Return what the rows' step brought."""
        observations, rewards, dones, infos = self.venv.step_wait()
        if self.at_end:
            own = np.array([info["true_reward"] for info in infos])
            self.owed += own
            rewards = rewards - own + np.where(dones, self.owed, 0.0)
            self.owed[dones] = 0.0
            for row in np.flatnonzero(dones):
                infos[row] = {**infos[row], "TimeLimit.truncated": False}
        return observations, (rewards * self.scale).astype(np.float32), dones, infos


class Curve(BaseCallback):
    """Notes what episodes earned without guidance: the mean of those that ended in each part of a run, if any did."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.every = self._next = steps / PARTS
        self.points: list[tuple[int, float]] = []
        self._ended: list[float] = []

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self._ended += [infos[row]["metrics"]["true_return"] for row in np.flatnonzero(self.locals["dones"])]
        if self.num_timesteps >= self._next:
            self._next += self.every
            self.points += [(self.num_timesteps, round(float(np.mean(self._ended)), 4))] if self._ended else []
            self._ended = []
        return True


def run(job: Job) -> dict[str, Any]:
    """Return the record of a run."""
    setting, start = TASKS[job.task], time.process_time()
    curve = Curve(setting.steps)
    kind = {} if setting.tokens else {"observation": "state"}
    judged = load_control(setting.id, **kind, **setting.kwargs)
    # row i is seeded with seed + i: seeds a batch apart share no row; those of `textgym train` are as they are typed
    seed = job.seed if setting.tokens else ROWS * job.seed
    env = make_vec_env(setting.id, ROWS, seed=seed, **kind, **setting.kwargs, **job.guidance)
    agent: Any
    if setting.tokens:
        agent, best = make("ppo", env, seed=job.seed, device="cpu"), Best(*judged, setting.steps)
        agent.learn(setting.steps, [curve, best])
        best.restore(agent)
    else:
        own: dict[str, Any] = {"gamma": setting.gamma, "ent_coef": setting.ent_coef}
        divided = {"features_extractor_class": Divided, "features_extractor_kwargs": {"sizes": setting.sizes}}
        policy = {**FUSED, **divided} if setting.sizes else FUSED
        paid = Paid(env, setting.scale, setting.at_end)
        agent = PPO("MlpPolicy", paid, seed=job.seed, device="cpu", policy_kwargs=policy, **PPO_SETTINGS, **own)
        agent.learn(setting.steps, curve)
    seconds = round(time.process_time() - start, 2)
    final = evaluate_control(agent, *judged, EPISODES, seed=2_000_000, samples=0).mean_return
    counts: dict[str, int] = {}
    if job.guidance:
        counts = env.env.unwrapped.rows.guided.guidance.consultation.counts  # type: ignore[attr-defined]
        if counts["failed"]:
            raise RuntimeError(f"{job}: the adviser failed, so that the run says nothing about it: {counts}")
    found = {"steps": setting.steps, "final": final, "seconds": seconds, "asked": counts, "curve": curve.points}
    return {**asdict(job), **found}


def cost(texts: int = 400) -> None:
    """Print what each adviser costs for a text that it has not heard, and for one that it has."""
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (texts, 4)) * [2.4, 2.0, 0.21, 2.0]
    print("| adviser | asked, us | remembered, us |\n| --- | --- | --- |")
    for name, maker in ADVISORS.items():
        describer = cart_pole.SCENE.describers["english" if name == "language-model" else "compact"]
        said = list(dict.fromkeys(describer.texts(states)))
        parts = [said[at : at + ROWS] for at in range(0, len(said), ROWS)]
        consultation = Consultation(maker(Asked(cart_pole.SCENE, describer)))
        consultation(["x16 v16 a16 w16" if name != "language-model" else said.pop()])  # what is loaded once
        figures = []
        for _ in ("asked", "remembered"):
            start = time.process_time()
            for part in parts:
                consultation(part)
            figures.append(f"{(time.process_time() - start) / len(said) * 1e6:.1f}")
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


def main() -> None:
    """Run what has not been run, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--part", default="0/1", help="K/N: the K-th of N equal parts of the runs, from 0")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so many")
    parser.add_argument("--out", type=Path, default=RESULTS / "guidance.jsonl")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--cost", action="store_true", help="what asking costs, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.distributions.Distribution.set_default_validate_args(False)
    print(machine("gymnasium", "stable-baselines3", "torch", "numpy"))
    if options.cost:
        return cost()
    begin(options.out)
    records = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {Job(**{name: record[name] for name in Job.__dataclass_fields__}) for record in records}
    part, parts = map(int, options.part.split("/"))
    until = time.monotonic() + 60 * options.minutes
    own = [] if options.report else [job for job in jobs()[part::parts] if job.task in options.tasks]
    for job in own:
        if job not in done and time.monotonic() < until:
            record = run(job)
            add(options.out, record)
            print(job, record["final"], f"{record['seconds']} s", flush=True)
    records = [json.loads(line) for line in options.out.read_text().splitlines()]
    if options.report or len(records) == len(jobs()):
        report(records, {name: setting.level for name, setting in TASKS.items()}, options.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
