"""Candidates of a language model: the likeliest tokens of what it began as, in sampling, scores and updates alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import GPT2, saved
from stable_baselines3 import PPO

from agents import CausalLMPolicy, evaluate, load, make, make_vec_env, pretrain, save
from agents import policies as module
from agents.categorical import unpacked
from agents.sampling import Sampling
from textgym.errors import InvalidSetting, InvalidSize


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model"), GPT2, [*"我爱你"])


def agent_of(model: Any, agent: str = "ppo", rows: int = 4, env: dict[str, Any] | None = None, **policy: Any) -> Any:
    task = {"tokenizer": model, "eos": True, "prompt": "我"} if env is None else env
    cut = {"candidates": 3, **policy}
    own = {"n_steps": 8} if agent == "ppo" else {"group_size": 2, "episodes": 2}
    return make(agent, make_vec_env("TextGen-v0", rows, seed=0, **task), policy={"model": model, **cut}, seed=0, **own)


def rows_of(agent: Any) -> torch.Tensor:
    pad, width = agent.observation_space.high[0], agent.observation_space.shape[0]
    rows = torch.full((6, width), int(pad))
    rng = np.random.default_rng(0)
    for row in range(6):
        rows[row, : 1 + row % 4] = torch.as_tensor(rng.integers(250, size=1 + row % 4))
    return rows


def allowed(agent: Any, rows: torch.Tensor) -> Any:
    with torch.no_grad():
        return (agent.policy.scores(rows) > -1e30).numpy()


def test_they_are_the_likeliest_tokens_of_the_model_and_the_end_token(model: str) -> None:
    agent, plain = agent_of(model), agent_of(model, candidates=None)
    rows = rows_of(agent)
    with torch.no_grad():
        logits = plain.policy.scores(rows).numpy()
    end = agent.env.get_attr("task")[0].vocabulary.eos_id
    for found, own in zip(allowed(agent, rows), logits):
        assert {*np.flatnonzero(found).tolist()} == {*np.argsort(-own)[:3].tolist(), end}
    actions = agent.predict(rows.numpy(), deterministic=False)[0]
    assert all(found[action] for found, action in zip(allowed(agent, rows), actions))


def test_they_stay_the_same_while_the_policy_learns(model: str) -> None:
    agent = agent_of(model)
    rows = rows_of(agent)
    before = allowed(agent, rows)
    frozen = [parameter.clone() for parameter in agent.policy.start.parameters()]
    with torch.no_grad():
        scores = agent.policy.scores(rows).clone()
    agent.learn(64)
    assert (allowed(agent, rows) == before).all()
    assert all(torch.equal(a, b) for a, b in zip(frozen, agent.policy.start.parameters()))
    with torch.no_grad():
        assert not torch.allclose(agent.policy.scores(rows), scores)


@pytest.mark.parametrize("kind", ["ppo", "grpo"])
@pytest.mark.parametrize("policy", [{}, {"candidates": None, "top_k": 2}, {"top_p": 0.6, "temperature": 2.0}])
def test_what_is_drawn_from_is_kept_and_scored_alike(kind: str, policy: dict[str, Any], model: str) -> None:
    agent = agent_of(model, kind, **policy)
    _, callback = agent._setup_learn(32)
    assert agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, 8)
    buffer = agent.rollout_buffer
    for batch in buffer.get(16):
        prefixes = batch.observations
        with torch.no_grad():
            _, log_prob, _ = agent.policy.evaluate_actions(prefixes, batch.actions.flatten())
        assert torch.allclose(log_prob, batch.old_log_prob, atol=1e-4)
        for place in range(len(prefixes.segment)):  # recomputed one by one, from the frozen start and the policy
            row = prefixes.tokens[prefixes.segment[place]].clone()
            real = (row != agent.policy.features_extractor.transformer.pad).cumsum(0)
            row[real > prefixes.length[place]] = agent.policy.features_extractor.transformer.pad
            assert (prefixes.masks[place].numpy() == allowed(agent, row[None])[0]).all()
    size = int(agent.action_space.n)
    assert unpacked(buffer.masks, size, torch.device("cpu")).sum(-1).max() <= 4


def test_they_are_chosen_within_the_environments_masks(model: str) -> None:
    words = ["我爱你", "zq"]
    agent = agent_of(model, env={"tokenizer": model, "eos": True, "candidates": words}, candidates=1)
    task = agent.env.get_attr("task")[0]
    row = task.action_mask(task.blank(1))
    rows = rows_of(agent)[:, : task.horizon]
    with torch.no_grad():
        found = (agent.policy.scores(rows, torch.as_tensor(np.repeat(row, 6, axis=0))) > -1e30).numpy()
    assert (found <= row).all()
    end = task.vocabulary.eos_id
    assert found[:, end].all()
    assert (np.delete(found, end, axis=1).sum(axis=1) <= 1).all()  # the likeliest of them besides the end token
    agent.learn(64)


def test_the_divergence_from_the_start_is_0_at_the_start(model: str) -> None:
    env = make_vec_env("TextGen-v0", 4, seed=0, tokenizer=model, eos=True)
    for kl in ("k1", "exact", "k3"):
        agent = make("ppo", env, policy={"model": model, "candidates": 4}, kl_coefficient=0.5, kl=kl, n_steps=8, seed=0)
        _, callback = agent._setup_learn(32)
        agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, 8)
        assert agent.kl_control.measured == pytest.approx(0, abs=1e-5)


def test_a_run_keeps_them_and_goes_on_exactly(model: str, tmp_path: Path) -> None:
    first = agent_of(model).learn(32)
    save(first, tmp_path / "run")
    second = load(tmp_path / "run", device="cpu")
    rows = rows_of(first)
    assert (allowed(first, rows) == allowed(second, rows)).all()
    second.learn(32, reset_num_timesteps=False)
    load(tmp_path / "run", device="cpu")  # sets all chance to what it was
    first.learn(32, reset_num_timesteps=False)
    vectors = [torch.nn.utils.parameters_to_vector(a.policy.parameters()) for a in (first, second)]
    assert torch.equal(*vectors)


def test_a_policy_that_begins_with_a_run_has_that_runs_likeliest_tokens(model: str, tmp_path: Path) -> None:
    plain = agent_of(model, candidates=None).learn(256)
    save(plain, tmp_path / "run")
    env = make_vec_env("TextGen-v0", 4, seed=0, tokenizer=model, eos=True, prompt="我")
    agent = make("ppo", env, policy={"candidates": 3}, init=str(tmp_path / "run"), seed=1)
    rows = rows_of(agent)
    with torch.no_grad():
        wanted = Sampling(top_k=3).candidates(plain.policy.scores(rows))
    assert wanted is not None
    wanted[:, agent.policy.start.end] = True
    assert (allowed(agent, rows) == wanted.numpy()).all()


def test_exact_values_and_sb3s_own_ppo_know_them() -> None:
    env = make_vec_env("TextGen-v0", 4)
    cut = make("ppo", env, policy={"model": GPT2, "candidates": 1}, seed=3)
    assert evaluate(cut).expected_return == pytest.approx(evaluate(cut, deterministic=True).expected_return)
    ppo = PPO(CausalLMPolicy, env, n_steps=8, batch_size=16, policy_kwargs={"model": GPT2, "candidates": 2}, seed=0)
    ppo.learn(32)
    rows = torch.tensor([[0, 1, 3], [3, 3, 3]])
    policy: Any = ppo.policy
    probabilities = policy.get_distribution(rows).distribution.probs
    assert ((probabilities > 0).sum(dim=1) == 2).all()


@pytest.mark.parametrize("many", [0, -1, True, 1.5, "3"])
def test_numbers_that_are_none(many: Any) -> None:
    env = make_vec_env("TextGen-v0", 2)
    with pytest.raises(InvalidSize, match="candidates="):
        PPO(CausalLMPolicy, env, policy_kwargs={"model": GPT2, "candidates": many})
    with pytest.raises(InvalidSetting, match=r"policy\.candidates"):
        make("ppo", env, policy={"model": GPT2, "candidates": many})


def test_texts_are_fitted_without_them(model: str) -> None:
    with pytest.raises(InvalidSetting, match=r"policy\.candidates cuts the policy"):
        pretrain(agent_of(model), ["ab", "cd"])


def test_logits_made_in_parts_give_the_same_loss_and_gradients(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of(model, candidates=None, top_k=9, temperature=1.5)
    _, callback = agent._setup_learn(32)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, 8)
    batch = next(iter(agent.rollout_buffer.get(32)))
    found = []
    for most in (2**22, 1000):  # all at once, and by threes
        monkeypatch.setattr(module, "LOGITS", most)
        agent.policy.zero_grad()
        values, log_prob, spread = agent.policy.evaluate_actions(batch.observations, batch.actions.flatten())
        (values.sum() + log_prob.sum() - 0.1 * spread.sum()).backward()
        gradient = torch.cat([p.grad.flatten() for p in agent.policy.parameters() if p.grad is not None])
        with torch.no_grad():
            again = agent.policy.evaluate_actions(batch.observations, batch.actions.flatten())[1]
        found.append((log_prob.detach(), spread.detach(), gradient))
        assert torch.allclose(again, log_prob, atol=1e-6)
    for whole, parts in zip(*found):
        assert torch.allclose(whole, parts, atol=1e-5)
