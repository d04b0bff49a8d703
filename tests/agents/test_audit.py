"""The audit of gradient estimators: what is expected of them is exact, right ones pass, and wrong ones are caught."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agents import AgentPolicy
from agents.audit import Estimator, action_dependent, estimates, judge, shifted, z_limit
from agents.expected_gradient import Critic, critic_of, exact_gradient, expected_gradient
from textgym import Episodes, Task, load_task
from textgym.arrays import BoolArray, FloatArray, IntArray

SIZES: Any = {"d_model": 8, "n_layers": 1, "n_heads": 2}


def not_the_newest(episodes: Episodes) -> BoolArray:
    allowed = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    if episodes.longest:
        allowed[np.arange(len(episodes)), episodes.newest] = False
    return allowed


TASKS: dict[str, Task] = {
    "token": load_task("TextGen-v0"),
    "terminal": load_task("TextGen-v0", reward="terminal"),
    "prompts": load_task("TextGen-v0", target=["aba", "bba"], reward="shaped"),
    "masked": replace(load_task("TextGen-v0", target="aba", alphabet="abc"), mask=not_the_newest, state_key=None),
    "ragged": load_task("TextGym/Copy-v0", alphabet="ab", max_length=2),
}
WHOLE = ["token", "terminal", "prompts", "masked"]  # all texts have 3 tokens


def built(estimator: Estimator, task: str, n: int, steps: int = 3, seed: int = 0) -> Any:
    """Return an agent whose policy is far from uniform and whose critic is far from right."""
    agent = estimator.build(TASKS[task], n, steps, seed, SIZES)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        agent.policy.value_net.bias.fill_(0.4)
    return agent


def odd(observations: IntArray) -> FloatArray:
    """A critic that is wrong everywhere."""
    codes = (observations * np.arange(1, observations.shape[1] + 1)).sum(axis=1)
    values: FloatArray = 2.0 * np.sin(codes) - 1.0
    return values


def perfect(policy: Any, task: Task) -> Critic:
    """Return V of a policy: what it earns on average after each text, by plain recursion."""
    reads, known = AgentPolicy(policy), dict[bytes, float]()

    def value(rows: Episodes) -> float:
        p, total = reads(rows.tokens, task.action_mask(rows))[0], 0.0
        for action in np.flatnonzero(p):
            after = rows.take(np.array([0]))
            total += p[action] * float(task.step(after, np.array([action]))[0])
            total += 0.0 if after.finished[0] else p[action] * value(after)
        known[rows.tokens.tobytes()] = total
        return total

    for prompt in task.prompts.support()[0]:  # type: ignore[attr-defined]
        rows = task.blank(1)
        rows.begin(..., [prompt])
        value(rows)
    return lambda observations: np.array([known[row.tobytes()] for row in observations])


@pytest.mark.parametrize("task", WHOLE)
@pytest.mark.parametrize("steps", [3, 6])
def test_with_lambda_1_the_gradient_is_expected_whatever_the_critic(task: str, steps: int) -> None:
    policy = built(Estimator("ppo"), task, 1).policy.double()
    exact = exact_gradient(policy, TASKS[task])
    assert exact.norm() > 1e-2
    for critic, baseline in itertools.product((None, odd), (True, False)):
        found, begun = expected_gradient(policy, TASKS[task], steps, 1.0, critic=critic, baseline=baseline)
        assert begun == pytest.approx(steps / 3)
        assert (found - exact).norm() < 1e-9


@pytest.mark.parametrize("task", WHOLE)
@pytest.mark.parametrize("share", [1.0, 0.95, 0.5, 0.0])
def test_with_a_perfect_critic_the_gradient_is_expected_whatever_lambda_is(task: str, share: float) -> None:
    policy = built(Estimator("ppo"), task, 1).policy.double()
    exact = exact_gradient(policy, TASKS[task])
    critic = perfect(policy, TASKS[task])
    assert (expected_gradient(policy, TASKS[task], 3, share, critic=critic)[0] - exact).norm() < 1e-9
    wrong = (expected_gradient(policy, TASKS[task], 3, share, critic=odd)[0] - exact).norm()
    assert (wrong < 1e-9) == (share == 1.0)


class Table(nn.Module):
    """Logits of a and $ for each number of tokens written."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([[0.4, -0.3], [-0.8, 0.9], [0.1, 0.7]], dtype=torch.float64))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits[(tokens != 2).sum(dim=1)]


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_episodes_that_end_early_and_are_cut_agree_with_all_windows_one_by_one(
    steps: int, share: float, baseline: bool
) -> None:
    task, gamma, table = load_task("TextGen-v0", target="aa", alphabet="a", eos="$", reward="token"), 0.9, Table()
    total, begun = torch.zeros((), dtype=torch.float64), 0.0
    prompt = task.prompts.support()[0]  # type: ignore[attr-defined]
    for actions in itertools.product((0, 1), repeat=steps):
        rows, seen, paid, ends, logs = task.blank(1), [], [], [], []
        rows.begin(..., prompt)
        starts = 0
        for action in actions:
            if rows.finished[0]:
                rows.begin(..., prompt)
            starts += int(rows.length[0] == 0)
            seen.append(rows.tokens[0].copy())
            logs.append(table(torch.as_tensor(seen[-1])[None]).log_softmax(dim=1)[0, action])
            paid.append(float(task.step(rows, np.array([action]))[0]))
            ends.append(bool(rows.finished[0]))
        seen.append(rows.tokens[0].copy())
        values = odd(np.array(seen))
        last, weights = 0.0, np.zeros(steps)  # SB3's own recursion, from the last step to the first
        for t in range(steps - 1, -1, -1):
            onward = 0.0 if ends[t] else 1.0
            last = paid[t] + gamma * values[t + 1] * onward - values[t] + gamma * share * onward * last
            weights[t] = last + (0.0 if baseline else values[t])
        chance = float(torch.stack(logs).sum().detach().exp())
        begun += chance * starts
        total = total + chance * sum(weight * log for weight, log in zip(weights, logs))
    (wanted,) = torch.autograd.grad(total, [table.logits])
    found, starts_expected = expected_gradient(table, task, steps, share, critic=odd, gamma=gamma, baseline=baseline)
    assert starts_expected == pytest.approx(begun)
    torch.testing.assert_close(found, wanted.flatten() / begun, atol=1e-12, rtol=0)


CASES = [
    (Estimator("reinforce", baseline=False), "terminal", 3),
    (Estimator("reinforce"), "prompts", 6),
    (Estimator("reinforce", baseline=False), "ragged", 5),
    (Estimator("a2c", 0.5), "token", 3),
    (Estimator("a2c", 0.95), "ragged", 5),
    (Estimator("a2c", 0.0), "masked", 2),
    (Estimator("ppo", 1.0), "masked", 3),
    (Estimator("ppo", 0.5), "ragged", 5),
    (Estimator("ppo", 0.0), "token", 4),
]


def name_of(case: Any) -> str:
    return f"{case.agent}-{case.gae_lambda}-{case.baseline}" if isinstance(case, Estimator) else str(case)


def audited(estimator: Estimator, task: str, steps: int, repeats: int = 40) -> Any:
    agent = built(estimator, task, 32, steps)
    policy = agent.policy
    told: dict[str, Any] = {"critic": critic_of(policy), "baseline": estimator.baseline}
    exact = exact_gradient(policy, TASKS[task])
    expected, begun = expected_gradient(policy, TASKS[task], steps, estimator.gae_lambda, **told)
    kept = [parameter.clone() for parameter in policy.parameters()]
    found = estimates(agent, repeats, begun, estimator.spoil)
    assert found.shape == (repeats, len(exact))
    assert all(torch.equal(one, other) for one, other in zip(policy.parameters(), kept))
    return judge(found, exact, expected)


@pytest.mark.parametrize(("estimator", "task", "steps"), CASES, ids=name_of)
def test_agents_estimate_what_is_expected_of_them(estimator: Estimator, task: str, steps: int) -> None:
    verdict = audited(estimator, task, steps)
    assert verdict.z < z_limit(4 * len(CASES), 40)
    assert abs(verdict.bias - verdict.expected) < 5 * verdict.error
    if estimator.gae_lambda == 1 and task in WHOLE and steps % 3 == 0:
        assert abs(verdict.expected) < 1e-4  # unbiased
        assert verdict.cosine > 0


@pytest.mark.parametrize("spoil", [shifted, action_dependent])
@pytest.mark.parametrize("task", ["token", "prompts"])
def test_wrong_estimators_are_caught(spoil: Callable[[Any], None], task: str) -> None:
    assert audited(Estimator("reinforce", baseline=False, spoil=spoil), task, 3).z > 2 * z_limit(36, 40)


def test_a_verdict_worked_out_by_hand() -> None:
    exact = torch.tensor([2.0, 0.0], dtype=torch.float64)
    found = torch.tensor([[3.0, 1.0], [3.0, -1.0], [5.0, 0.0], [5.0, 0.0]], dtype=torch.float64)
    verdict = judge(found, exact, torch.tensor([3.0, 0.0], dtype=torch.float64))
    assert (verdict.bias, verdict.expected) == (1.0, 0.5)  # the mean is 4, and 3 were expected, where 2 is exact
    assert verdict.error == pytest.approx((4 / 3) ** 0.5 / 2 / 2)
    assert verdict.z >= 1.0 / ((4 / 3) ** 0.5 / 2) - 1e-9
    assert verdict.deviation == pytest.approx((4 / 3 + 2 / 3) ** 0.5 / 2)
    assert verdict.cosine == pytest.approx((2 * 3 / 10**0.5 + 2) / 4)


def test_the_limit_is_students_and_grows_with_the_comparisons() -> None:
    assert z_limit(1, 10**9) == pytest.approx(2.5758, abs=1e-4)
    assert z_limit(1, 21) == pytest.approx(2.8453, abs=2e-3)  # 20 degrees of freedom, 1 in 100, both sides
    assert z_limit(480, 41) == pytest.approx(4.81, abs=0.05)
