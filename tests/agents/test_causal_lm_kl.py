"""A language model near a reference: of the distribution that was drawn from, temperature, top-k and top-p included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import GPT2

from agents import CausalLMPolicy, load, make, make_vec_env, save
from agents.categorical import divergence
from agents.reference import Frozen
from agents.state import parameters
from textgym import load_task
from textgym.errors import InvalidSetting

WORDS: dict[str, Any] = {"target": "ab", "alphabet": "abcdef"}
TASK = load_task("TextGen-v0", **WORDS)
CUT: dict[str, Any] = {"model": GPT2, "temperature": 0.7, "top_k": 4, "top_p": 0.9}
AGENTS = ("ppo", "a2c", "reinforce", "rloo", "grpo")


def made(name: str, policy: dict[str, Any] = CUT, **settings: Any) -> Any:
    env = make_vec_env("TextGen-v0", 8, seed=0, **WORDS)
    return make(name, env, seed=0, device="cpu", policy=policy, **{"kl_coefficient": 0.1, **settings})


def stirred(agent: Any) -> Any:
    """Move a policy away from where it was."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return agent


def collected(agent: Any) -> Any:
    """Collect one rollout, measured against the reference; return all of it as one minibatch."""
    _, callback = agent._setup_learn(10**6)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    (batch,) = agent.rollout_buffer.get(None)
    return batch


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("estimate", ["k1", "exact", "k3"])
def test_a_model_is_at_distance_0_from_itself_exactly(name: str, estimate: str) -> None:
    agent = stirred(made(name, kl=estimate))
    penalty = agent._evaluated(collected(agent))[3]
    assert agent.kl_control.measured == 0.0
    assert penalty is None or not penalty.any()


def test_what_is_compared_is_what_was_drawn_from() -> None:
    agent = made("ppo", kl="exact")
    agent._setup_learn(10**6)
    agent.kl_control.begin(agent)
    start = agent.kl_control.reference.policy
    batch = collected(stirred(agent))
    prefixes, rows = batch.observations, torch.arange(len(batch.actions))
    assert prefixes.masks.sum(dim=1).max() <= 4  # top-k, of 6 letters; the tokens that stayed are kept with the rollout
    found = []
    for policy in (agent.policy, start):  # each prefix read anew, its logits cut by hand
        tokens = prefixes.tokens[prefixes.segment]
        kept = (tokens != TASK.vocabulary.pad).cumsum(dim=1) <= prefixes.length[:, None]
        seen = tokens.masked_fill(~kept, TASK.vocabulary.pad)
        with torch.no_grad():
            logits = policy.action_net(policy.extract_features(seen, policy.pi_features_extractor)) / 0.7
        found.append(torch.log_softmax(logits.masked_fill(~prefixes.masks, -torch.inf), dim=1))
    p, q = (one.exp() for one in found)
    wanted = torch.where(p > 0, p * (p / q).log(), 0.0).sum(dim=1)
    assert wanted.max() > 0.05
    _, log_prob, _, kl = agent.kl_control.evaluated(agent.policy, prefixes, batch.actions[:, 0])
    torch.testing.assert_close(kl, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(log_prob, found[0][rows, batch.actions[:, 0].long()], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["ppo", "rloo"])
def test_a_run_keeps_the_model_it_stays_near_to(name: str, tmp_path: Path) -> None:
    agent = made(name, kl="exact", kl_target=0.2)
    agent.learn(200)
    save(agent, tmp_path / "run")
    again = load(tmp_path / "run")
    again.learn(200, reset_num_timesteps=False)
    load(tmp_path / "run")  # sets all chance to what it was
    agent.learn(200, reset_num_timesteps=False)
    assert agent.kl_control.measured == again.kl_control.measured != 0.0
    assert agent.kl_control.coefficient == again.kl_control.coefficient
    own, other = parameters(agent), parameters(again)
    assert all(torch.equal(own[key], other[key]) for key in own)


def test_a_small_transformer_near_a_language_models_run_and_the_other_way_round(tmp_path: Path) -> None:
    save(made("ppo").learn(100), tmp_path / "model")
    small: dict[str, Any] = {"d_model": 8, "n_layers": 1, "n_heads": 2}
    save(made("ppo", small).learn(100), tmp_path / "small")
    for policy, near in ((small, "model"), (CUT, "small")):
        agent = made("a2c", policy, reference=str(tmp_path / near)).learn(100)
        assert isinstance(agent.kl_control.reference, Frozen)
        assert isinstance(agent.kl_control.reference.policy, CausalLMPolicy) == (near == "model")
        save(agent, tmp_path / f"near-{near}")
        again = load(tmp_path / f"near-{near}")
        batch = collected(agent)
        every = [one.kl_control.reference.every(batch.observations) for one in (agent, again)]
        assert not divergence(*every).any()


def test_a_reference_that_its_parameters_cannot_fill_is_refused(tmp_path: Path) -> None:
    agent = made("ppo").learn(100)
    state = agent.kl_control.get_state()
    state["reference"]["sizes"]["model"] = {**GPT2, "n_embd": 2**14}
    with pytest.raises(InvalidSetting, match=r"the reference.*has more than the .* parameters there"):
        made("ppo").kl_control.set_state(state, agent.policy)


def test_kl_control_holds_a_model_back() -> None:
    near, free = made("ppo", kl_coefficient=100.0), made("ppo", kl_coefficient=1e-6)
    for agent in (near, free):
        agent.learn(1500)
    assert near.kl_control.measured < 0.2 * free.kl_control.measured
    assert np.isfinite(near.kl_control.measured)
