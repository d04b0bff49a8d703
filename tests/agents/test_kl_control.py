"""KL control: what it costs, what it leads to, and what it is measured against."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents import AgentPolicy, categorical, evaluate, load, make, make_vec_env, save
from agents.categorical import divergence, log_probabilities
from agents.kl_control import KLControl
from agents.prefixes import Prefixes
from agents.reference import Frozen, Uniform, find_reference
from agents.settings import ControlledSettings
from textgym import Episodes, load_task, solve
from textgym.arrays import BoolArray
from textgym.errors import InvalidSetting, UnknownName

ON_POLICY = ("ppo", "a2c", "reinforce", "rloo", "grpo")
SMALL: Any = {"device": "cpu", "policy": {"d_model": 8, "n_layers": 1, "n_heads": 2}}
ESTIMATES = ("k1", "exact", "k3")


def not_the_newest(episodes: Episodes) -> BoolArray:
    allowed = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    if episodes.longest:
        allowed[np.arange(len(episodes)), episodes.newest] = False
    return allowed


TASK = load_task("TextGen-v0", target="ab", alphabet="abc")
MASKED = replace(load_task("TextGen-v0", target="aba", alphabet="abc"), mask=not_the_newest, state_key=None)


def made(name: str = "ppo", task: Any = TASK, coefficient: float = 0.1, **settings: Any) -> Any:
    env = make_vec_env(task, 8, seed=0)
    return make(name, env, seed=0, kl_coefficient=coefficient, **{**SMALL, **settings})


def collected(agent: Any) -> Any:
    """Collect one rollout; return its buffer."""
    _, callback = agent._setup_learn(10**6)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    return agent.rollout_buffer


def stirred(agent: Any, seed: int = 1) -> Any:
    """Move a policy far away from where it was."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        agent.policy.action_net.weight.mul_(4.0)
    return agent


def probabilities(policy: Any, prefixes: Prefixes, pad: int) -> Any:
    """Return what `AgentPolicy` says of each prefix, `(N, size)`, within masks."""
    rows = prefixes.tokens[prefixes.segment]
    real = rows != pad
    rows = rows.masked_fill(real.cumsum(dim=1) > prefixes.length[:, None], pad)
    masks = prefixes.masks
    size = policy.action_space.n
    allowed = np.ones((len(rows), size), np.bool_) if masks is None else masks.numpy()
    return AgentPolicy(policy)(rows.numpy(), allowed)


# What it costs


@pytest.mark.parametrize("task", [TASK, MASKED], ids=["free", "masked"])
@pytest.mark.parametrize("near", ["start", "uniform"])
def test_each_estimate_agrees_with_probabilities_read_one_by_one(task: Any, near: str) -> None:
    for estimate in ESTIMATES:
        agent = made(task=task, reference=near, kl=estimate, n_steps=12)
        agent._setup_learn(10**6)
        before = AgentPolicy(find_reference("start", agent).policy)  # type: ignore[attr-defined]
        buffer = collected(stirred(agent))
        (batch,) = buffer.get(None)
        prefixes, pad = batch.observations, task.vocabulary.pad
        p = probabilities(agent.policy, prefixes, pad)
        allowed = np.ones_like(p) if prefixes.masks is None else prefixes.masks.numpy()
        q = allowed / allowed.sum(axis=1, keepdims=True)
        if near == "start":
            q = probabilities(before.agent, prefixes, pad)
        rows, actions = np.arange(len(p)), batch.actions[:, 0].long().numpy()
        log_ratio = np.log(q[rows, actions]) - np.log(p[rows, actions])
        with np.errstate(divide="ignore", invalid="ignore"):
            exact = np.where(p > 0, p * (np.log(p) - np.log(q)), 0).sum(axis=1)
        wanted = {"k1": -log_ratio, "exact": exact, "k3": np.exp(log_ratio) - 1 - log_ratio}[estimate]
        assert np.abs(wanted).max() > 0.1
        found = agent.kl_control.evaluated(agent.policy, prefixes, batch.actions[:, 0])
        torch.testing.assert_close(found[3].detach().double(), torch.as_tensor(wanted), atol=2e-5, rtol=1e-4)
        plain = agent.policy.evaluate_actions(prefixes, batch.actions[:, 0])
        assert all(torch.equal(one, other) for one, other in zip(found[:3], plain))
        assert agent.kl_control.measured == pytest.approx(wanted.sum() / buffer.episode_starts.sum(), rel=1e-3)


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_a_large_vocabulary_is_measured_in_small_parts(estimate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    sizes: list[int] = []
    for most in (2**25, 30):
        monkeypatch.setattr(categorical, "LOGITS", most)
        agent = stirred(made(kl=estimate, reference="uniform"))
        read = agent.kl_control.evaluated

        def noted(policy: Any, seen: Any, actions: Any, read: Any = read) -> Any:
            sizes.append(len(actions))
            return read(policy, seen, actions)

        monkeypatch.setattr(agent.kl_control, "evaluated", noted)
        torch.manual_seed(0)
        found.append(collected(agent) and agent.kl_control.measured)
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert (sizes[0], max(sizes[1:]) <= 12) == (8 * agent.n_steps, True)  # 30 numbers are 10 distributions over 3


@pytest.mark.parametrize("task", [TASK, MASKED], ids=["free", "masked"])
@pytest.mark.parametrize("name", ON_POLICY)
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_a_policy_is_at_distance_0_from_itself_exactly(name: str, estimate: str, task: Any) -> None:
    agent = made(name, task, kl=estimate)
    stirred(agent)
    buffer = collected(agent)
    assert agent.kl_control.measured == 0.0
    (batch,) = buffer.get(None)
    penalty = agent._evaluated(batch)[3]
    assert (penalty is None) == (estimate == "k1")
    assert penalty is None or not penalty.any()
    agent.learn(300)
    near = find_reference("start", agent)
    prefixes, actions = batch.observations, batch.actions[:, 0]
    assert torch.equal(near.chosen(prefixes, actions), agent.policy.evaluate_actions(prefixes, actions)[1])
    assert agent.kl_control.measured != 0.0


def test_what_is_taken_out_of_rewards_is_in_the_environments_own_size() -> None:
    first = collected(made(coefficient=0.0, reward_scale=0.5))
    second = collected(made(coefficient=0.3, reward_scale=0.5, reference="uniform"))
    np.testing.assert_array_equal(first.actions, second.actions)
    log_ratio = second.log_probs - np.log(1 / 3)
    np.testing.assert_allclose(first.rewards - second.rewards, 0.3 * 0.5 * log_ratio, atol=1e-6)


def test_a_divergence_worked_out_by_hand() -> None:
    p = log_probabilities(torch.tensor([[0.75, 0.25, 0.0]]).log(), torch.tensor([[True, True, False]]))
    q = log_probabilities(torch.tensor([[0.5, 0.5, 1e9]]).log(), torch.tensor([[True, True, False]]))
    found = divergence(p.requires_grad_(), q)
    assert found.item() == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert p.grad is not None
    assert p.grad.isfinite().all()


# What it leads to


@pytest.mark.parametrize("name", ON_POLICY)
def test_in_the_reward_it_leads_to_the_regularised_optimum(name: str) -> None:
    beta = 0.5
    told: Any = {"reference": "uniform", "ent_coef": 0.0, "gamma": 1.0, "policy": {}}
    agent = made(name, coefficient=beta, **told).learn(12_000)
    found = evaluate(agent, reference=lambda rows: np.full((len(rows), 3), 1 / 3))
    optimum = solve(TASK, kl_coefficient=beta)
    assert found.expected_return - beta * found.kl == pytest.approx(optimum.optimal_value, abs=0.01)
    assert found.kl == pytest.approx(optimum.kl, abs=0.2)
    assert found.expected_return < 1.97  # where greedy writing earns 2


@pytest.mark.parametrize(("name", "target", "gain"), [("ppo", 0.5, 0.3), ("ppo", 1.5, 0.3), ("rloo", 1.5, 0.1)])
def test_an_adaptive_coefficient_reaches_its_target(name: str, target: float, gain: float) -> None:
    told: Any = {"reference": "uniform", "kl_target": target, "kl_gain": gain, "ent_coef": 0.0, "policy": {}}
    agent = made(name, coefficient=0.5, **told).learn(12_000)
    found = evaluate(agent, reference=lambda rows: np.full((len(rows), 3), 1 / 3))
    assert found.kl == pytest.approx(target, rel=0.3)
    wanted = solve(TASK, kl_coefficient=agent.kl_control.coefficient).kl  # and is the one that this target asks for
    assert wanted == pytest.approx(target, rel=0.3)


def test_the_coefficient_moves_by_the_clipped_error() -> None:
    agent = made(coefficient=1.0, kl_target=2.0, reference="uniform", kl_gain=0.5)
    control = agent.kl_control
    for measured, factor in ((None, 1.0), (2.2, 1 + 0.5 * 0.1), (200.0, 1.1), (0.0, 0.9)):
        control.coefficient, control.measured = 1.0, measured
        collected(agent)
        assert control.coefficient == pytest.approx(factor)


def test_what_is_logged() -> None:
    seen: dict[str, float] = {}

    def note(own: dict[str, Any], outer: Any) -> bool:
        seen.update(agent.logger.name_to_value)
        return True

    agent = made(coefficient=0.2, reference="uniform")
    agent.learn(1000, callback=note, log_interval=1000)
    assert {"train/kl", "train/kl_coefficient", "rollout/kl", "train/entropy_loss"} <= seen.keys()
    assert seen["train/kl_coefficient"] == 0.2
    assert seen["rollout/kl"] == pytest.approx(2 * seen["train/kl"], rel=1e-5)  # texts of two tokens


# What it is measured against


def test_the_reference_stays_where_it_was() -> None:
    agent = made()
    start = {name: tensor.clone() for name, tensor in agent.policy.state_dict().items()}
    for _ in range(2):
        agent.learn(500)
        kept = agent.kl_control.reference.policy.state_dict()
        assert all(torch.equal(kept[name], tensor) for name, tensor in start.items())
    assert not any(parameter.requires_grad for parameter in agent.kl_control.reference.policy.parameters())
    assert not torch.equal(agent.policy.state_dict()["action_net.weight"], start["action_net.weight"])


def test_a_run_is_a_reference_of_its_own_size_and_is_kept(tmp_path: Path) -> None:
    old = make("a2c", make_vec_env(TASK, 4, seed=0), seed=5, device="cpu", policy={"d_model": 16, "n_heads": 4})
    save(stirred(old.learn(100)), tmp_path / "old")
    agent = made(reference=str(tmp_path / "old"), kl="exact")
    chance = torch.get_rng_state()
    env = make_vec_env(TASK, 2, seed=0)
    agent.kl_control.begin(agent)
    assert agent.env.unwrapped._seeds == [0, 1, 2, 3, 4, 5, 6, 7]
    assert torch.equal(chance, torch.get_rng_state())
    rows = env.reset()
    masks = np.ones((2, 3), np.bool_)
    near = agent.kl_control.reference
    np.testing.assert_array_equal(AgentPolicy(near.policy)(rows, masks), AgentPolicy(old)(rows, masks))
    save(agent.learn(200), tmp_path / "new")
    shutil.rmtree(tmp_path / "old")
    again = load(tmp_path / "new", env=make_vec_env(TASK, 8))
    kept = again.kl_control.reference.policy
    np.testing.assert_array_equal(AgentPolicy(kept)(rows, masks), AgentPolicy(old)(rows, masks))
    again.learn(200, reset_num_timesteps=False)


@pytest.mark.parametrize("cut", [{}, {"top_k": 2}], ids=["whole", "cut"])
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_a_run_whose_distribution_was_cut_is_a_reference_all_the_same(
    estimate: str, cut: dict[str, Any], tmp_path: Path
) -> None:
    env, model = make_vec_env(TASK, 8, seed=0), {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2}
    run = make("a2c", env, seed=0, policy={"model": model, "top_k": 1, "temperature": 0.5}, device="cpu").learn(8)
    save(run, tmp_path)
    policy = {"model": model, **cut}
    agent = made("rloo", kl=estimate, reference=str(tmp_path), policy=policy)
    (batch,) = collected(agent).get(None)
    prefixes = batch.observations
    logits = run.policy.action_net(run.policy.features_extractor.read_prefixes(prefixes)) / 0.5
    wanted = log_probabilities(logits, prefixes.masks)
    torch.testing.assert_close(agent.kl_control.reference.every(prefixes), wanted, atol=1e-4, rtol=1e-4)
    assert np.isfinite(agent.kl_control.measured)


def test_a_run_that_was_interrupted_keeps_its_reference(tmp_path: Path) -> None:
    agent = make("ppo", make_vec_env("TextGen-v0", 8, seed=0), seed=0, kl_coefficient=0.1, **SMALL).learn(300)
    save(agent, tmp_path, exact=False)
    kept, own = (one.kl_control.reference.policy.state_dict() for one in (load(tmp_path), agent))
    assert all(torch.equal(kept[name], tensor) for name, tensor in own.items())


# What is refused


def test_what_cannot_be_a_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made(reference=str(tmp_path / "nothing")).learn(10)
    save(make("q-learning", make_vec_env("TextGen-v0", 4), seed=0).learn(10), tmp_path / "table")
    with pytest.raises(InvalidSetting, match=r"trained by q-learning, which has no probabilities to stay near to"):
        make("ppo", make_vec_env("TextGen-v0", 4), kl_coefficient=1.0, reference=tmp_path / "table").learn(10)
    save(make("ppo", make_vec_env("TextGen-v0", 4), seed=0, **SMALL).learn(10), tmp_path / "other")
    with pytest.raises(InvalidSetting, match=r"was trained on 'TextGen-v0' with \w+=.*this environment"):
        made(reference=str(tmp_path / "other")).learn(10)


def test_a_run_that_is_not_there_is_refused_before_anything_is_written(textgym: Any, tmp_path: Path) -> None:
    near = ("--set", "kl_coefficient=0.1", "--set", "reference=nothing")
    status, _, err = textgym("train", "TextGen-v0", "--steps", "100", "--out", "run", *near)
    assert status != 0
    assert "nothing holds no run" in err
    assert not (tmp_path / "run").exists() or not [*(tmp_path / "run").iterdir()]


def test_a_target_without_a_coefficient_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"ppo: kl_target=6\.0 is refused: it adapts a kl_coeff.*is 0"):
        make("ppo", make_vec_env("TextGen-v0", 4), kl_target=6.0)


def test_observations_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"kl_coefficient=0\.1 compares policies token by token"):
        make("ppo", make_vec_env("CartPole-v1", 4), kl_coefficient=0.1, device="cpu").learn(10)


@pytest.mark.parametrize(
    "change",
    [
        {"coefficient": float("nan")},
        {"coefficient": -1.0},
        {"coefficient": "much"},
        {"measured": float("inf")},
        {"reference": {"sizes": {"d_model": 16_384}, "parameters": {}}},
        {"reference": {"sizes": {"depth": 3}, "parameters": {}}},
        {
            "reference": {
                "sizes": {"d_model": 8, "n_layers": 1, "n_heads": 2},
                "parameters": {"begin": torch.zeros(999)},
            }
        },
    ],
)
def test_a_hostile_state_is_refused(change: dict[str, Any]) -> None:
    agent = made()
    with pytest.raises((InvalidSetting, KeyError, UnknownName)):
        agent.kl_control.set_state({"coefficient": 0.1, "measured": None, "reference": None, **change}, agent.policy)


def test_a_uniform_reference_shares_what_masks_leave() -> None:
    masks = torch.tensor([[True, True, False], [False, False, True]])
    prefixes = Prefixes(torch.zeros(1, 3).long(), torch.zeros(2).long(), torch.zeros(2).long(), masks)
    found = Uniform(3).every(prefixes).exp()
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    assert isinstance(find_reference("start", made()), Frozen)
    assert KLControl(ControlledSettings(kl_coefficient=1.0)).reference is None
