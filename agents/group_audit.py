"""Auditing agents that compare completions of one prompt: what their estimates are on average, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import factorial, prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textgym import Task
from textgym.arrays import FloatArray, IntArray
from textgym.errors import InvalidSetting
from textgym.following import Step, follow
from textgym.frontier import paid_on_average
from textgym.solving import LIMIT, support

from .audit import Spoil
from .exact import Recorded
from .expected_gradient import exact_gradient, gradient
from .group_relative import advantages
from .making import make_vec_env
from .table import make

WHOLE = 10**9  # transitions: a minibatch of all


@dataclass(frozen=True)
class Grouped:
    """An estimate of the gradient from groups of completions, at the first step after a rollout.

    Args:
        agent: `rloo` or `grpo`.
        group_size: the completions of a prompt.
        per_token: as in the agent's settings; without deviations alone.
        normalise_std: of `grpo`.
        by_length: whether each completion is averaged over its tokens, as `length_normalisation="episode"`.
        spoil: what makes it wrong.
    """

    agent: str
    group_size: int = 4
    per_token: bool = False
    normalise_std: bool = False
    by_length: bool = False
    spoil: Spoil | None = None

    def build(self, task: Task, n: int, steps: int, seed: int, policy: dict[str, Any]) -> Any:
        """Return the agent, on n rows, in whole groups, which write one completion each between updates."""
        settings: dict[str, Any] = {
            "length_normalisation": "episode" if self.by_length else "none",
            **({"normalise_std": self.normalise_std} if self.agent == "grpo" else {}),
            **{"group_size": self.group_size, "episodes": 1, "batch_size": WHOLE, "n_epochs": 1},
            **{"per_token": self.per_token, "ent_coef": 0.0, "max_grad_norm": 1e9, "reward_scale": 1.0, "gamma": 1.0},
        }
        n = self.group_size * max(1, round(n / self.group_size))
        return make(self.agent, make_vec_env(task, n, seed=seed), seed=seed, device="cpu", policy=policy, **settings)

    def exact(self, policy: Any, task: Task) -> Tensor:
        """Return the gradient that is to be estimated, `(parameters,)`."""
        return exact_gradient(policy, task)

    def expected(self, policy: Any, task: Task, steps: int) -> tuple[Tensor, float]:
        """Return what an estimate is on average, `(parameters,)`, and how many completions a row writes, 1."""
        one_out = self.agent == "rloo"
        if self.per_token:
            if self.normalise_std or self.by_length:
                raise InvalidSetting("what is expected of weights for each token is known without normalisation alone.")
            return exact_gradient(policy, task) * (1.0 if one_out else 1 - 1 / self.group_size), 1.0
        told = {"leave_one_out": one_out, "normalise_std": self.normalise_std, "by_length": self.by_length}
        return expected_group_gradient(policy, task, self.group_size, **told), 1.0


@dataclass
class _Depth:
    """All steps of one depth, and the whole returns of those that end."""

    step: Step
    chosen: Tensor  # (m,) log-probabilities of the actions, with their graph
    flow: FloatArray  # (m,) how likely each is
    prompt: IntArray  # (m,)
    earned: FloatArray  # (m,) up to and with the action


def expected_group_gradient(
    policy: Any, task: Task, group_size: int, *, leave_one_out: bool, normalise_std: bool, by_length: bool = False
) -> Tensor:
    """Return E[A_i / L_i grad log pi(y_i | x)], by enumeration of all texts and of all returns of the others.

    Given a prompt, the other completions' returns are independent draws of the policy's; so that the expected advantage
    of a completion depends on its own return R alone, and is a sum over the multisets of g - 1 returns.

    Args:
        policy: as `agents.exact.expected_return` takes it.
        task: whose texts can be enumerated.
        group_size: g.
        leave_one_out: as `agents.group_relative.advantages` has it.
        normalise_std: likewise.
        by_length: whether a completion's tokens count 1 / L_i each, else 1.

    Returns:
        `(parameters,)` float64, in the order of `policy.parameters()`.
    """
    levels = _followed(policy, paid_on_average(task))
    ends = [known.step.ended for known in levels]
    prompts, returns, flows = (
        np.concatenate([getattr(known, name)[ended] for known, ended in zip(levels, ends)])
        for name in ("prompt", "earned", "flow")
    )
    weights = np.zeros(len(flows))
    for prompt in np.unique(prompts):
        mine = prompts == prompt
        found, inverse = np.unique(returns[mine].round(9), return_inverse=True)
        p = np.bincount(inverse.reshape(-1), flows[mine])
        told = {"leave_one_out": leave_one_out, "normalise_std": normalise_std}
        weights[mine] = _expected_advantages(found, p / p.sum(), group_size, **told)[inverse.reshape(-1)]
    onward, surrogate, last = np.zeros(0), torch.zeros((), dtype=torch.float64), len(weights)
    for depth in range(len(levels) - 1, -1, -1):
        known, ended = levels[depth], ends[depth]
        through = np.zeros(len(known.flow))  # (m,) of all completions that go on with the action, flow times weight
        through[known.step.going] = onward
        through[ended] = known.flow[ended] * weights[last - len(ended) : last] / (depth + 1 if by_length else 1)
        last -= len(ended)
        surrogate = surrogate + torch.as_tensor(through) @ known.chosen.cpu()
        onward = np.bincount(known.step.rows, through, len(known.step.texts)).astype(np.float64)
    return gradient(policy, surrogate)


def _expected_advantages(returns: FloatArray, p: FloatArray, group_size: int, **told: Any) -> FloatArray:
    """Return the expected advantage of a completion with each of some returns `(k,)`, of probabilities `(k,)`."""
    others = np.array([*combinations_with_replacement(range(len(returns)), group_size - 1)])  # (c, g - 1)
    counts = np.stack([(others == i).sum(axis=1) for i in range(len(returns))], axis=1)  # (c, k)
    ways = np.array([factorial(group_size - 1) / prod(factorial(int(n)) for n in row) for row in counts])
    chance = ways * (p**counts).prod(axis=1)  # (c,)
    weights = np.zeros(len(returns))
    for i, own in enumerate(returns):
        groups = np.concatenate([np.full((len(others), 1), own), returns[others]], axis=1)  # (c, g)
        found = advantages(groups.reshape(-1, 1), group_size, **told).reshape(groups.shape)
        weights[i] = chance @ found[:, 0]
    return weights


def _followed(policy: Any, task: Task) -> list[_Depth]:
    """Return all that may be written, depth by depth."""
    recorded, drawn = Recorded(policy), support(task, None)
    mass, prompt, earned = drawn[1], np.arange(len(drawn[0])), np.zeros(len(drawn[0]))
    levels = []
    for step in follow(task, recorded, 1.0, drawn, 0.0, LIMIT):
        if len(step.gone):
            raise InvalidSetting("there are more texts than can be followed. Give a shorter horizon, fewer prompts.")
        flow = mass[step.rows] * step.probabilities[step.rows, step.actions]
        prompt, earned = prompt[step.rows], earned[step.rows] + step.rewards
        levels.append(_Depth(step, recorded.latest[step.rows, step.actions], flow, prompt, earned))
        mass, prompt, earned = flow[step.going], prompt[step.going], earned[step.going]
    return levels
