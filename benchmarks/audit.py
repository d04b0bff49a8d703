"""Whether agents estimate the policy gradient rightly: their estimates against the exact gradient.

    python benchmarks/audit.py                                     # some three minutes on one thread
    python benchmarks/audit.py --agents a2c --tasks copy --repeats 200
    python benchmarks/audit.py --quick

On small tasks, with a policy and a critic that are partly trained, each agent writes many rollouts with the same
parameters, and what its loss gives its optimiser is compared with grad J of `agents.exact.expected_return` (gamma 1;
the policy's part of the loss alone; no normalised advantages, no clipping). A loss is a mean over transitions, and is
scaled to a sum over an episode's steps: see `agents/audit.py`. Where all episodes have one length, rollouts hold whole
ones; in copy and corners a row's last episode may be cut, and its estimate leans on the critic.

`of KL`: with 0.3 for each nat from uniform writing, against grad (J - 0.3 KL); k1 is a part of rewards, and unbiased;
exact and k3 are losses, and leave out what a token does to later states; k3's gradient is another divergence's besides.
rloo and grpo compare four completions of each prompt: leaving one out is unbiased, a mean of all four is short by a
quarter, and what is divided by deviations or lengths is the gradient of something else.

bias: of the mean estimate along the exact gradient, in its norms, and its standard error. expected: the same, exactly,
from an enumeration of all texts: what lambda below 1, an inexact critic and cut episodes must give. z: the largest
difference from what is expected along the exact gradient and three random directions, in standard errors. deviation:
the root of the variance's trace, in norms of the exact gradient. cosine: the mean, with the exact gradient. Estimators
that are wrong on purpose must be caught. The status is 1 where one is not, or where another differs from what is
expected by more than the limit that is printed: 1 in 100 whole tables of right estimators do. What changes a gradient
by a few hundredths, as lambda 0.95 for 1 does here, takes more than 40 rollouts to be seen: `--repeats`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from machine import machine

from agents import make, make_vec_env
from agents.audit import (
    DIRECTIONS,
    Estimator,
    action_dependent,
    estimates,
    judge,
    shifted,
    z_limit,
)
from agents.group_audit import Grouped
from agents.settings import Estimate
from textgym import load_task, solve

SIZES = {"d_model": 16, "n_layers": 1, "n_heads": 2}
EPISODES, CONTROL = (8, 64, 512), 64


@dataclass(frozen=True)
class Setting:
    """What is written."""

    id: str
    steps: int  # of each row in a rollout
    kwargs: dict[str, Any] = field(default_factory=dict)
    learned: int = 1000  # steps of PPO before


TASKS = {
    "我爱你": Setting("TextGen-v0", 3, learned=400),
    "我爱你, terminal": Setting("TextGen-v0", 6, {"reward": "terminal"}),
    "copy": Setting("TextGym/Copy-v0", 6, {"alphabet": "ab", "max_length": 2}),
    "corners": Setting("TextGym/Corners-v0", 6, {"step": 1.0, "horizon": 3}),
}

LAMBDAS = (1.0, 0.95, 0.5, 0.0)
BETA = 0.3  # what a nat from uniform writing costs
ESTIMATES: tuple[Estimate, ...] = ("k1", "exact", "k3")
ESTIMATORS: dict[str, Estimator | Grouped] = {
    "reinforce, no baseline": Estimator("reinforce", baseline=False),
    "reinforce": Estimator("reinforce"),
    **{f"{name}, lambda {share:g}": Estimator(name, share) for name in ("a2c", "ppo") for share in LAMBDAS},
    **{f"ppo, {kl} of KL": Estimator("ppo", kl=kl, kl_coefficient=BETA) for kl in ESTIMATES},
    "rloo": Grouped("rloo"),
    "rloo, per token": Grouped("rloo", per_token=True),
    "rloo, mean over a completion's tokens": Grouped("rloo", by_length=True),
    "grpo, no deviation": Grouped("grpo"),
    "grpo, deviation": Grouped("grpo", normalise_std=True),
    "grpo, deviation and mean over a completion's tokens": Grouped("grpo", normalise_std=True, by_length=True),
}
WRONG: dict[str, Estimator | Grouped] = {
    "*wrong: the next step's return*": Estimator("reinforce", baseline=False, spoil=shifted),
    "*wrong: a baseline of the action*": Estimator("reinforce", spoil=action_dependent),
}


def trained(setting: Setting) -> Mapping[str, Any]:
    """Return the parameters of a policy and a critic that have learned a little."""
    env = make_vec_env(setting.id, 8, seed=0, **setting.kwargs)
    agent = make("ppo", env, seed=0, device="cpu", policy=SIZES, reward_scale=1.0, gamma=1.0, n_steps=32)
    parameters: Mapping[str, Any] = agent.learn(setting.learned).policy.state_dict()
    return parameters


def rows(name: str, cells: dict[tuple[str, int], Estimator | Grouped], repeats: int, limit: float) -> list[bool]:
    """Print a task's rows; return of each whether it is as it should be."""
    setting = TASKS[name]
    task, parameters = load_task(setting.id, **setting.kwargs), trained(setting)
    verdicts = []
    for seed, ((label, episodes), estimator) in enumerate(cells.items()):
        policy = estimator.build(task, 4, setting.steps, 0, SIZES).policy
        policy.load_state_dict(parameters)
        exact = estimator.exact(policy, task)
        expected, begun = estimator.expected(policy, task, setting.steps)
        n = max(1, round(episodes / begun))
        agent = estimator.build(task, n, setting.steps, seed, SIZES)
        agent.policy.load_state_dict(parameters)
        found = judge(estimates(agent, repeats, begun, estimator.spoil), exact, expected)
        differs, wrong = found.z > limit, estimator.spoil is not None
        verdict = ("caught" if differs else "NOT CAUGHT") if wrong else ("DIFFERS" if differs else "as expected")
        verdicts.append(differs == wrong)
        print(
            f"| {name} | {label} | {n * begun:.0f} | {found.bias:+.3f} ± {found.error:.3f} | {found.expected:+.3f} "
            f"| {found.z:.1f} | {found.deviation:.2f} | {found.cosine:.2f} | {verdict} |",
            flush=True,
        )
    return verdicts


def main() -> int:
    """Print the table as Markdown; return the status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    agents = ("reinforce", "a2c", "ppo", "rloo", "grpo")
    parser.add_argument("--agents", nargs="+", choices=agents, default=agents)
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS])
    parser.add_argument("--repeats", type=int, default=40, help="rollouts of each row, at least 10")
    parser.add_argument("--quick", action="store_true", help=f"rollouts of {CONTROL} episodes alone, 20 of each row")
    options = parser.parse_args()
    repeats = 20 if options.quick else options.repeats
    if repeats < 10:
        parser.error(f"--repeats {repeats} says little about a variance. Give at least 10.")
    torch.set_num_threads(1)
    chosen = {label: one for label, one in ESTIMATORS.items() if one.agent in options.agents}
    sizes = (CONTROL,) if options.quick else EPISODES
    cells = {(label, size): one for label, one in chosen.items() for size in sizes}
    controls = {(label, CONTROL): one for label, one in WRONG.items()}
    limit = z_limit(len(options.tasks) * len(cells) * DIRECTIONS, repeats)
    print(machine("stable-baselines3", "torch", "numpy"))
    for name in options.tasks:
        setting = TASKS[name]
        print(f"{name}: optimum {solve(setting.id, **setting.kwargs).optimal_return:g}")
    print(f"{repeats} rollouts a row; what is as expected differs by at most z = {limit:.1f}.\n")
    print("| task | estimator | episodes | bias | expected | z | deviation | cosine | verdict |\n" + "| --- " * 9 + "|")
    verdicts = [right for name in options.tasks for right in rows(name, {**cells, **controls}, repeats, limit)]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
