"""Exact values of agents and exact policy gradients: against sampled texts, and against finite differences."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import textgym
from agents import AGENTS, AgentPolicy, evaluate, exact, make, make_vec_env, save
from agents.evaluation import evaluate as sampled
from textgym import Episodes, Task, load_task
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidSetting

TINY: Any = {"device": "cpu", "policy": {"d_model": 8, "n_layers": 1, "n_heads": 2}}
DEEP = ("a2c", "dqn", "grpo", "ppo", "reinforce", "rloo")


def not_the_newest(episodes: Episodes) -> BoolArray:
    """All letters but the one just written; never the end token (the last) first."""
    allowed = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    if episodes.longest:
        allowed[np.arange(len(episodes)), episodes.newest] = False
    else:
        allowed[:, -1] = False
    return allowed


TASKS: dict[str, Task] = {
    "three": load_task("TextGen-v0"),
    "ending": load_task("TextGen-v0", target="ab", alphabet="abc", eos="$", reward="shaped"),
    "prompts": load_task("TextGym/Copy-v0", alphabet="ab", max_length=2),
    "masked": replace(load_task("TextGym/Copy-v0", alphabet="abc", max_length=2), mask=not_the_newest, state_key=None),
    "walk": load_task("TextGym/Corners-v0", step=1.0, horizon=3),
}


def settings(name: str) -> Any:
    return TINY if name in DEEP else {}


def policy_of(task: Task, seed: int = 0) -> Any:
    """Return an actor-critic policy in double precision, its logits far from uniform."""
    policy = make("ppo", make_vec_env(task, 2, seed=0), seed=seed, **TINY).policy.double()
    with torch.no_grad():
        policy.action_net.weight.mul_(8.0)
    return policy


# What agents are worth


@pytest.mark.parametrize("task", ["three", "masked"])
@pytest.mark.parametrize("name", [*AGENTS])
def test_an_agent_is_worth_what_its_episodes_earn(name: str, task: str) -> None:
    rules = TASKS[task]
    agent = make(name, make_vec_env(rules, 4, seed=0), seed=0, **settings(name)).learn(120)
    n = 4000
    found = evaluate(agent)
    assert found.lower == found.upper
    assert found.followed == pytest.approx(1.0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (SB3's DQN draws from it)
    if name == "dqn":  # it explores with all rows of a batch or with none, so that a batch is one draw
        drawn = [sampled(agent, rules, 1, False, seed) for seed in range(150)]
        returns = np.array([one.mean_return for one in drawn])
        mean, error = returns.mean(), returns.std() / math.sqrt(len(returns))
    else:
        mean, error = sampled(agent, rules, n, False).mean_return, _deviation(agent, rules) / math.sqrt(n)
    assert abs(found.expected_return - mean) < 3 * error + 1e-9
    greedy = evaluate(agent, deterministic=True)
    assert greedy.entropy == 0.0
    if rules.prompts.max_length == 0:
        assert greedy.expected_return == sampled(agent, rules, 1, True).mean_return
        assert greedy.success_probability == sampled(agent, rules, 1, True).success_rate
    else:
        mean = sampled(agent, rules, n, True).mean_return
        assert abs(greedy.expected_return - mean) < 3 / math.sqrt(n)  # returns lie within 0 and 1


def _deviation(agent: Any, task: Task) -> float:
    """Return the standard deviation of an agent's return, from its second moment over all texts."""
    first, second = 0.0, 0.0
    drawn, probabilities = task.prompts.support()  # type: ignore[attr-defined]
    policy = AgentPolicy(agent)
    for prompt, share in zip(drawn, probabilities):
        for mass, total in _texts(task, policy, prompt):
            first, second = first + share * mass * total, second + share * mass * total**2
    return math.sqrt(max(second - first**2, 0.0))


def _texts(task: Task, policy: AgentPolicy, prompt: Any) -> Iterator[tuple[float, float]]:
    """Yield the probability and return of every text that follows a prompt, one at a time."""
    rows = task.blank(1)
    rows.begin(..., [prompt])
    unfinished = [(rows, 1.0, 0.0)]
    while unfinished:
        rows, mass, total = unfinished.pop()
        p = policy(rows.tokens, task.action_mask(rows))[0]
        for action in np.flatnonzero(p):
            after = rows.take(np.array([0]))
            paid = float(task.step(after, np.array([action]))[0])
            if after.finished[0]:
                yield mass * p[action], total + paid
            else:
                unfinished.append((after, mass * p[action], total + paid))


def test_texts_written_one_by_one_add_up_to_the_same() -> None:
    task = TASKS["masked"]
    agent = make("ppo", make_vec_env(task, 2, seed=0), seed=0, **TINY)
    drawn, probabilities = task.prompts.support()  # type: ignore[attr-defined]
    texts = [
        (p * mass, r) for prompt, p in zip(drawn, probabilities) for mass, r in _texts(task, AgentPolicy(agent), prompt)
    ]
    assert sum(mass for mass, _ in texts) == pytest.approx(1.0)
    assert evaluate(agent).expected_return == pytest.approx(sum(mass * r for mass, r in texts), abs=1e-6)


@pytest.mark.parametrize("name", ["q-learning", "ppo", "dqn"])
def test_a_run_is_worth_what_its_agent_is_and_leaves_chance_as_it_was(name: str, tmp_path: Path) -> None:
    agent = make(name, make_vec_env("TextGen-v0", 4, seed=0), seed=0, **settings(name)).learn(200)
    save(agent, tmp_path / "run")
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    wanted = random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    for deterministic in (True, False):
        found = evaluate(tmp_path / "run", deterministic=deterministic, reference=str(tmp_path / "run"))
        assert found.expected_return == evaluate(agent, deterministic=deterministic).expected_return
        assert deterministic == (found.kl > 1e-6)  # the reference is read as it samples
    assert (random.random(), np.random.random(), torch.rand(1)) == wanted  # noqa: NPY002


def test_a_scaled_reward_is_the_agents_own_affair() -> None:
    agent = make("ppo", make_vec_env("TextGen-v0", 4, seed=0), seed=0, reward_scale=0.01, **TINY)
    plain = make("ppo", make_vec_env("TextGen-v0", 4, seed=0), seed=0, **TINY)
    assert evaluate(agent).expected_return == evaluate(plain).expected_return
    assert evaluate(agent).expected_return == evaluate(agent, "TextGen-v0").expected_return
    assert abs(evaluate(agent).expected_return) > 0.5


def uniform(observations: IntArray) -> FloatArray:
    return np.full((len(observations), 3), 1 / 3)


def test_the_divergence_is_from_any_reference() -> None:
    agent = make("ppo", make_vec_env("TextGen-v0", 4, seed=0), seed=0, **TINY).learn(200)
    other = make("reinforce", make_vec_env("TextGen-v0", 4, seed=1), seed=1, **TINY)
    found = evaluate(agent, reference=uniform)
    assert found.kl == pytest.approx(3 * math.log(3) - found.entropy, abs=1e-9)
    assert math.isnan(evaluate(agent).kl)
    assert evaluate(agent, reference=agent).kl == pytest.approx(0.0, abs=1e-9)
    wanted = evaluate(agent, reference=AgentPolicy(other)).kl
    assert evaluate(agent, reference=other).kl == wanted > 0
    assert evaluate(agent, reference=other.policy).kl == wanted
    assert textgym.evaluate("TextGen-v0", AgentPolicy(agent), reference=AgentPolicy(other)).kl == wanted


def test_prompts_discounts_and_tolerance_reach_the_evaluation() -> None:
    task = TASKS["prompts"]
    agent = make("a2c", make_vec_env(task, 4, seed=0), seed=0, **TINY)
    drawn = task.prompts.support()[0]  # type: ignore[attr-defined]
    found = [evaluate(agent, gamma=0.5, prompts=[prompt]).expected_return for prompt in drawn]
    assert evaluate(agent, gamma=0.5, prompts=drawn).expected_return == pytest.approx(np.mean(found))
    rough = evaluate(agent, tolerance=0.4)
    assert rough.lower < evaluate(agent).expected_return < rough.upper
    other = evaluate(agent, "TextGym/Copy-v0", alphabet="ab", max_length=2, reward="terminal")
    assert other.expected_return == pytest.approx(other.success_probability)


def test_an_agent_without_a_task_is_asked_for_one() -> None:
    with pytest.raises(InvalidSetting, match='Say what it is to write: evaluate\\(agent, "TextGen-v0"\\)'):
        evaluate(policy_of(TASKS["three"]))
    with pytest.raises(FileNotFoundError, match="holds no run"):
        evaluate("nothing/here")


# The exact gradient

CASES = [  # task, discount, coefficient
    ("three", 1.0, 0.0),
    ("ending", 0.7, 0.0),
    ("prompts", 0.9, 0.0),
    ("masked", 1.0, 0.0),
    ("walk", 0.9, 0.0),
    ("prompts", 0.8, 0.3),
    ("masked", 0.9, 0.5),
]


def leaning(observations: IntArray, action_masks: BoolArray) -> FloatArray:
    weights = np.where(
        action_masks, 1.0 + (observations.sum(axis=1, keepdims=True) + np.arange(action_masks.shape[1])) % 3, 0
    )
    shares: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return shares


leaning.takes_masks = True  # type: ignore[attr-defined]


@pytest.mark.parametrize(("task", "gamma", "beta"), CASES)
def test_the_value_is_the_evaluations_and_the_gradient_that_of_finite_differences(
    task: str, gamma: float, beta: float
) -> None:
    rules = TASKS[task]
    policy = policy_of(rules)
    told: Any = {"reference": leaning, "kl_coefficient": beta} if beta else {}

    value = exact.expected_return(policy, rules, gamma, **told)
    assert value.dtype == torch.float64
    found = textgym.evaluate(rules, AgentPolicy(policy), gamma, reference=leaning)
    assert value.item() == pytest.approx(found.expected_return - beta * found.kl, abs=1e-12)

    value.backward()  # type: ignore[no-untyped-call]
    chance, largest = torch.Generator().manual_seed(0), 0.0
    for name, parameter in policy.named_parameters():
        if name.startswith("value_net"):
            assert parameter.grad is None
            continue
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        places = {int(gradient.abs().argmax()), *torch.randint(len(flat), (2,), generator=chance).tolist()}
        for place in places:
            before, ends = flat[place].item(), []
            for step in (1e-5, -1e-5):
                flat[place] = before + step
                with torch.no_grad():
                    ends.append(exact.expected_return(policy, rules, gamma, **told).item())
            flat[place] = before
            assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8, rel=1e-6)
            largest = max(largest, abs(ends[0] - ends[1]) / 2e-5)
    assert largest > 1e-3  # there was something to find


def test_a_uniform_reference_and_agents_as_references() -> None:
    task = TASKS["prompts"]
    policy, other = policy_of(task), policy_of(task, seed=1)
    spread = textgym.evaluate(task, AgentPolicy(policy), reference=AgentPolicy(other))
    plain = exact.expected_return(policy, task).item()
    for reference in (other, AgentPolicy(other)):
        value = exact.expected_return(policy, task, reference=reference, kl_coefficient=2.0)
        assert value.item() == pytest.approx(plain - 2.0 * spread.kl, abs=1e-12)
    even = textgym.evaluate(task, AgentPolicy(policy), reference=lambda rows: np.full((len(rows), 3), 1 / 3))
    assert exact.expected_return(policy, task, kl_coefficient=2.0).item() == pytest.approx(plain - 2 * even.kl)


class Table(nn.Module):
    """Logits of the first token, and of all that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.later = nn.Parameter(torch.tensor([0.3, -0.2])), nn.Parameter(torch.tensor([1.0, 0.5]))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.where((tokens == 2).all(dim=1, keepdim=True), self.first, self.later)


def test_a_gradient_worked_out_by_hand() -> None:
    # two letters, right with probabilities p and q: J = (2p - 1) + gamma (2q - 1)
    table = Table()
    value = exact.expected_return(table, "TextGen-v0", 0.5, target="ab")
    value.backward()  # type: ignore[no-untyped-call]
    p, q = 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.5))
    assert value.item() == pytest.approx(2 * p - 1 + 0.5 * (2 * q - 1))
    assert table.first.grad is not None
    assert table.later.grad is not None
    np.testing.assert_allclose(table.first.grad, [2 * p * (1 - p), -2 * p * (1 - p)], rtol=1e-6)
    np.testing.assert_allclose(table.later.grad, [-q * (1 - q), q * (1 - q)], rtol=1e-6)


@pytest.mark.parametrize("task", ["three", "prompts", "masked", "walk"])
def test_bounds_hold_the_value_and_meet_where_all_is_followed(task: str) -> None:
    rules = replace(TASKS[task], state_key=TASKS["prompts"].state_key) if task == "masked" else TASKS[task]
    policy = policy_of(rules)
    value = exact.expected_return(policy, rules, 0.9)
    for tolerance in (0.02, 0.3, 1.0):
        lower, upper = exact.bounds(policy, rules, 0.9, tolerance=tolerance)
        assert lower.item() - 1e-12 <= value.item() <= upper.item() + 1e-12
        found = textgym.evaluate(rules, AgentPolicy(policy), 0.9, tolerance=tolerance)
        assert (lower.item(), upper.item()) == pytest.approx((found.lower, found.upper), abs=1e-12)
    assert lower is not upper
    assert lower.item() < upper.item()
    lower, upper = exact.bounds(policy, rules, 0.9)
    assert lower is upper


def test_too_many_texts_are_refused_and_the_likeliest_followed_instead() -> None:
    task = load_task("TextGen-v0", target="abcde" * 3, alphabet="abcde")
    policy = policy_of(task)
    with pytest.raises(InvalidSetting, match=r"more texts than limit=500 allows.*agents.exact.bounds"):
        exact.expected_return(policy, task, limit=500)
    lower, upper = exact.bounds(policy, task, limit=500)
    assert -15 <= lower.item() < upper.item() <= 15
    (lower + upper).backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(policy.action_net.weight.grad).all()


@pytest.mark.parametrize("name", ["dqn", "q-learning"])
def test_what_has_no_gradient_is_refused(name: str) -> None:
    agent = make(name, make_vec_env("TextGen-v0", 2), **settings(name))
    with pytest.raises(InvalidSetting, match="is no torch policy with probabilities that a gradient flows through"):
        exact.expected_return(agent, "TextGen-v0")


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"gamma": 1.5}, "gamma=1.5 is no number from 0 to 1"),
        ({"tolerance": -0.1}, "tolerance=-0.1 is no number from 0 to 1"),
        ({"kl_coefficient": math.nan}, "kl_coefficient=nan is no number of at least 0"),
        ({"kl_coefficient": -1.0}, "kl_coefficient=-1.0 is no number of at least 0"),
        ({"kl_coefficient": True}, "kl_coefficient=True is no number of at least 0"),
        ({"kl_coefficient": "much"}, "kl_coefficient='much' is no number of at least 0"),
        ({"kl_coefficient": 1.0, "reference": 7}, "int does not say how likely its actions are"),
        ({"prompts": []}, "is no prompt at all"),
    ],
)
def test_what_means_nothing_is_refused(told: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidSetting, match=match):
        exact.bounds(policy_of(TASKS["three"]), "TextGen-v0", **told)


def test_what_the_reference_never_does_diverges_without_end() -> None:
    with pytest.raises(InvalidSetting, match="the divergence is infinite"):
        exact.expected_return(
            policy_of(TASKS["three"]),
            "TextGen-v0",
            reference=lambda rows: np.eye(3)[np.zeros(len(rows), int)],
            kl_coefficient=0.1,
        )
