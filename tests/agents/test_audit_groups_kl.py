"""The audit of groups and of KL control: what is expected is right by brute force, and agents estimate it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from test_audit import TASKS, WHOLE, Table, built, odd
from torch import Tensor

from agents.audit import Estimator, estimates, judge, z_limit
from agents.expected_gradient import exact_gradient, expected_gradient
from agents.group_audit import Grouped, expected_group_gradient
from textgym import Task, load_task

TASK = load_task("TextGen-v0", target="aa", alphabet="a", eos="$", reward="shaped")  # ragged: $, a$, aa, aa$
EQUAL = load_task("TextGen-v0", target="ab", alphabet="ab")  # all texts have two tokens


def texts(policy: Any, task: Task) -> list[tuple[float, int, Tensor]]:
    """Return the return, the length and the log-probability of every text of a task of one prompt."""
    found = []

    def write(rows: Any, earned: float, length: int, log: Any) -> None:
        seen = torch.as_tensor(rows.tokens).long()
        for action in range(task.size):
            chosen = log + policy(seen).log_softmax(dim=1)[0, action]
            after = rows.take(np.array([0]))
            paid = earned + float(task.step(after, np.array([action]))[0])
            if after.finished[0]:
                found.append((paid, length + 1, chosen))
            else:
                write(after, paid, length + 1, chosen)

    rows = task.blank(1)
    rows.begin(..., task.prompts.support()[0])  # type: ignore[attr-defined]
    write(rows, 0.0, 0, 0.0)
    return found


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("g", [2, 3])
def test_what_is_expected_of_groups_agrees_with_all_groups_one_by_one(g: int, by_length: bool) -> None:
    table = Table()
    for one_out, deviation in ((True, False), (False, False), (False, True)):
        every = texts(table, TASK)
        assert len({length for _, length, _ in every}) > 1
        total = torch.zeros((), dtype=torch.float64)
        for group in itertools.product(every, repeat=g):
            returns = np.array([paid for paid, _, _ in group])
            chance = float(torch.stack([log for _, _, log in group]).sum().detach().exp())
            for i, (paid, length, log) in enumerate(group):
                others = np.delete(returns, i).mean() if one_out else returns.mean()
                advantage = (paid - others) / (returns.std(ddof=1) + 1e-4 if deviation else 1.0)
                total = total + chance * advantage * log / g / (length if by_length else 1)
        (wanted,) = torch.autograd.grad(total, [table.logits])
        told: Any = {"leave_one_out": one_out, "normalise_std": deviation, "by_length": by_length}
        found = expected_group_gradient(table, TASK, g, **told)
        torch.testing.assert_close(found, wanted.flatten(), atol=1e-10, rtol=0)
        if not deviation and not by_length:
            exact = exact_gradient(table, TASK)
            torch.testing.assert_close(found, exact * (1.0 if one_out else 1 - 1 / g), atol=1e-10, rtol=0)


@pytest.mark.parametrize("task", ["prompts", "masked", "ragged"])
def test_leaving_one_out_is_unbiased_and_a_mean_is_short_by_a_known_factor(task: str) -> None:
    policy = built(Estimator("ppo"), task, 1).policy.double()
    exact = exact_gradient(policy, TASKS[task])
    for agent, factor in (("rloo", 1.0), ("grpo", 0.75)):
        found, _ = Grouped(agent).expected(policy, TASKS[task], 0)
        assert (found - factor * exact).norm() < 1e-9
    for wrong in (Grouped("grpo", normalise_std=True), Grouped("rloo", by_length=True)):
        found, _ = wrong.expected(policy, TASKS[task], 0)
        cosine = torch.cosine_similarity(found, exact, dim=0)
        assert (cosine < 0.999) == (task == "ragged" or wrong.normalise_std)  # where all texts are as long, a factor


GROUPED = [
    (Grouped("rloo"), "prompts"),
    (Grouped("rloo", 2), "ragged"),
    (Grouped("rloo", per_token=True), "ragged"),
    (Grouped("grpo"), "masked"),
    (Grouped("grpo", per_token=True), "token"),
    (Grouped("grpo", normalise_std=True), "prompts"),
    (Grouped("grpo", normalise_std=True, by_length=True), "ragged"),
]


@pytest.mark.parametrize(("estimator", "task"), GROUPED, ids=str)
def test_agents_of_groups_estimate_what_is_expected_of_them(estimator: Grouped, task: str) -> None:
    agent = built(estimator, task, 32)  # type: ignore[arg-type]
    expected, begun = estimator.expected(agent.policy, TASKS[task], 0)
    exact = estimator.exact(agent.policy, TASKS[task])
    verdict = judge(estimates(agent, 40, begun), exact, expected)
    assert verdict.z < z_limit(4 * len(GROUPED), 40)
    assert verdict.cosine > 0
    if estimator.normalise_std:
        assert abs(verdict.expected) > 0.5  # a bias that shows


# KL control

BETA = 0.7


@pytest.mark.parametrize("task", WHOLE)
def test_in_the_reward_divergence_is_differentiated_whole(task: str) -> None:
    policy = built(Estimator("ppo"), task, 1).policy.double()
    exact = exact_gradient(policy, TASKS[task], kl_coefficient=BETA)
    assert (exact - exact_gradient(policy, TASKS[task])).norm() > 1e-2
    found, _ = expected_gradient(policy, TASKS[task], 3, critic=odd, kl="k1", kl_coefficient=BETA)
    assert (found - exact).norm() < 1e-9


@pytest.mark.parametrize("kl", ["exact", "k3"])
def test_as_a_loss_it_is_the_gradient_of_each_state_alone(kl: Any) -> None:
    table = Table()
    total = torch.zeros((), dtype=torch.float64)

    def visit(rows: Any, chance: float) -> None:
        nonlocal total
        logs = table(torch.as_tensor(rows.tokens).long()).log_softmax(dim=1)[0]
        p, q = logs.exp().detach(), torch.full((2,), 0.5, dtype=torch.float64)
        if kl == "exact":
            total = total - chance * (logs.exp() * (logs - q.log())).sum()
        else:  # E[grad (r - 1 - log r)], action by action
            ratio = (q.log() - logs).exp()
            total = total - chance * (p * (ratio - 1 - ratio.log())).sum()
        for action in range(2):
            after = rows.take(np.array([0]))
            EQUAL.step(after, np.array([action]))
            if not after.finished[0]:
                visit(after, chance * float(p[action]))

    rows = EQUAL.blank(1)
    rows.begin(..., EQUAL.prompts.support()[0])  # type: ignore[attr-defined]
    visit(rows, 1.0)
    (wanted,) = torch.autograd.grad(total, [table.logits])
    with_it, begun = expected_gradient(table, EQUAL, 2, kl=kl, kl_coefficient=1.0)
    assert begun == 1.0
    found = with_it - expected_gradient(table, EQUAL, 2)[0]
    torch.testing.assert_close(found, wanted.flatten(), atol=1e-10, rtol=0)


KL_CASES = [(agent, kl) for agent in ("reinforce", "a2c", "ppo") for kl in ("k1", "exact", "k3")]


@pytest.mark.parametrize(("agent", "kl"), KL_CASES)
def test_agents_estimate_what_is_expected_of_divergence(agent: str, kl: Any) -> None:
    estimator = Estimator(agent, kl=kl, kl_coefficient=BETA)
    task = "masked" if agent == "ppo" else "terminal"
    writer = built(estimator, task, 32)
    expected, begun = estimator.expected(writer.policy, TASKS[task], 3)
    exact = estimator.exact(writer.policy, TASKS[task])
    verdict = judge(estimates(writer, 40, begun), exact, expected)
    assert verdict.z < z_limit(4 * len(KL_CASES), 40)
    if kl == "k1":
        assert abs(verdict.expected) < 1e-4
    else:
        assert (expected - exact).norm() > 0.005 * exact.norm()
