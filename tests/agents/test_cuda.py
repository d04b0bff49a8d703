"""Language models on one GPU: cached, packed, adapted, halved, near a reference, saved and read back, as on the CPU.

Skipped where there is no GPU. Each test compares with the CPU, or with what must hold on any device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import ARCHITECTURES, saved

from agents import evaluate, load, make, make_vec_env, memory, pretrain, save
from agents.memory import estimate
from textgym.errors import InvalidSetting

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
architectures = pytest.mark.parametrize("kind", ARCHITECTURES.keys())
TUNINGS: dict[str, dict[str, Any]] = {
    "all": {},
    "lora": {"lora": {"r": 4}},
    "frozen": {"train_layers": 1},
    "checkpointed": {"lora": {"r": 4}, "gradient_checkpointing": True},
}
tunings = pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS.keys())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a saved model of each architecture."""
    place, letters = tmp_path_factory.mktemp("models"), [*"我爱你"]
    return {kind: saved(place / kind, own, letters, initializer_range=0.2) for kind, own in ARCHITECTURES.items()}


def made(model: Any, agent: str = "ppo", policy: dict[str, Any] | None = None, **settings: Any) -> Any:
    device = settings.pop("device", "cuda")
    small = {"dqn": {"learning_starts": 16}, "grpo": {}, "rloo": {}}.get(agent, {"n_steps": 7})
    env = make_vec_env("TextGen-v0", 8, seed=0)
    return make(agent, env, policy={"model": model, **(policy or {})}, seed=0, device=device, **{**small, **settings})


def stirred(agent: Any) -> Any:
    """Move what learns away from where it was, alike on every device."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return agent


def collected(agent: Any) -> Any:
    """Collect two rollouts, the second ragged from its beginning; return all of that as one minibatch."""
    _, callback = agent._setup_learn(10**6)
    for _ in range(2):
        agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    agent.policy.set_training_mode(True)
    (batch,) = agent.rollout_buffer.get(None)
    return batch


def gradients(policy: Any, batch: Any) -> torch.Tensor:
    policy.zero_grad()
    values, log_prob, entropy = policy.evaluate_actions(batch.observations, batch.actions.flatten())
    (values.square().mean() + log_prob.mean() - 0.1 * entropy.mean()).backward()
    return torch.cat([p.grad.flatten().cpu() for p in policy.parameters() if p.grad is not None])


@architectures
@tunings
def test_an_update_sees_what_the_rollout_did(kind: str, tuning: dict[str, Any], folders: dict[str, str]) -> None:
    agent = stirred(made(folders[kind], policy=tuning))
    assert {p.device.type for p in agent.policy.parameters()} == {"cuda"}
    batch = collected(agent)
    values, log_prob, _ = agent.policy.evaluate_actions(batch.observations, batch.actions.flatten())
    torch.testing.assert_close(values[:, 0], batch.old_values, atol=1e-4, rtol=0)
    torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-3, rtol=0)
    agent.train()
    assert all(parameter.isfinite().all() for parameter in agent.policy.parameters())


@architectures
@tunings
def test_log_probabilities_and_gradients_are_the_cpus(
    kind: str, tuning: dict[str, Any], folders: dict[str, str]
) -> None:
    near = stirred(made(folders[kind], policy=tuning, device="cpu"))
    far = made(folders[kind], policy=tuning)
    far.policy.load_state_dict(near.policy.state_dict())
    batch = collected(near)
    moved = batch._replace(
        observations=type(batch.observations)(*[None if x is None else x.cuda() for x in batch.observations]),
        actions=batch.actions.cuda(),
    )
    torch.testing.assert_close(gradients(near.policy, batch), gradients(far.policy, moved), atol=1e-3, rtol=1e-2)
    with torch.no_grad():
        own = near.policy.evaluate_actions(batch.observations, batch.actions.flatten())[1]
        other = far.policy.evaluate_actions(moved.observations, moved.actions.flatten())[1]
    torch.testing.assert_close(own, other.cpu(), atol=1e-3, rtol=0)


@architectures
@pytest.mark.parametrize("tuning", [{}, {"lora": {"r": 4}}], ids=["all", "lora"])
def test_bfloat16_is_near_and_learns_in_float32(kind: str, tuning: dict[str, Any], folders: dict[str, str]) -> None:
    exact, half = (made(folders[kind], policy={**tuning, "dtype": dtype}) for dtype in ("float32", "bfloat16"))
    half.policy.load_state_dict(exact.policy.state_dict())
    batch = collected(half)
    with torch.no_grad():
        own, other = (one.policy.evaluate_actions(batch.observations, batch.actions.flatten()) for one in (exact, half))
    torch.testing.assert_close(own[1], other[1], atol=0.15, rtol=0)
    torch.testing.assert_close(other[1], batch.old_log_prob, atol=0.15, rtol=0)
    assert {tensor.dtype for tensor in other} == {torch.float32}
    assert {p.dtype for p in half.policy.parameters() if p.requires_grad} == {torch.float32}
    half.learn(112)
    assert all(p.isfinite().all() for p in half.policy.parameters())


@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce", "rloo", "grpo"])
@pytest.mark.parametrize("estimate", ["k1", "exact", "k3"])
def test_the_start_is_at_distance_0_and_shares_the_model(name: str, estimate: str, folders: dict[str, str]) -> None:
    agent = made(folders["gpt2"], name, {"lora": {"r": 4}}, kl_coefficient=0.1, kl=estimate, micro_batch_size=10)
    _, callback = agent._setup_learn(10**6)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    assert agent.kl_control.measured == 0.0
    own = dict(agent.policy.named_parameters())
    start = agent.kl_control.reference.policy
    assert all(p is own[n] for n, p in start.named_parameters() if ".body." in n and "lora_" not in n)
    agent.train()


@pytest.mark.parametrize("name", ["ppo", "dqn", "grpo"])
@tunings
def test_a_run_goes_on_and_is_read_on_either_device(
    name: str, tuning: dict[str, Any], folders: dict[str, str], tmp_path: Path
) -> None:
    agent = made(folders["llama"], name, tuning).learn(128)
    save(agent, tmp_path / "run")
    for device in ("cuda", "cpu"):
        again = load(tmp_path / "run", device=device)
        one, other = (dict(a.policy.named_parameters()) for a in (agent, again))
        assert all(torch.equal(p.cpu(), other[n].cpu()) for n, p in one.items())
        assert (
            evaluate(again, deterministic=True).expected_return == evaluate(agent, deterministic=True).expected_return
        )
    again = load(tmp_path / "run", device="cuda").learn(64, reset_num_timesteps=False)
    assert {p.device.type for p in again.policy.parameters()} == {"cuda"}


@pytest.mark.parametrize("name", ["ppo", "dqn", "grpo", "rloo"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("tuning", [{}, {"lora": {"r": 8}}], ids=["all", "lora"])
def test_it_learns_to_write(name: str, kind: str, tuning: dict[str, Any], folders: dict[str, str]) -> None:
    env = make_vec_env("TextGen-v0", 8, seed=0)
    agent = make(name, env, policy={"model": folders[kind], **tuning}, seed=0, device="cuda").learn(4_000)
    assert evaluate(agent, deterministic=True).expected_return == 3


def test_candidates_and_a_separate_critic_share_the_model(folders: dict[str, str]) -> None:
    policy = {"lora": {"r": 4}, "critic": "separate", "candidates": 2}
    agent = made(folders["qwen2"], policy=policy).learn(112)
    bodies = [p for n, p in agent.policy.named_parameters(remove_duplicate=False) if n.endswith("embed_tokens.weight")]
    assert len({p.data_ptr() for p in bodies}) == 1
    assert {p.device.type for p in bodies} == {"cuda"}


def test_texts_are_fitted(folders: dict[str, str]) -> None:
    agent = made(folders["gpt2"], policy={"lora": {"r": 4}})
    fit = pretrain(agent, ["我爱你", "你爱我", "爱我你", "我你爱", "你我爱", "爱你我"], epochs=3)
    assert fit.cross_entropy <= fit.before


def test_free_memory_is_the_gpus(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    agent = made(folders["gpt2"])
    total = estimate(agent).total
    assert 0 < memory.free_on(agent.policy.device) <= torch.cuda.mem_get_info()[1]  # type: ignore[operator]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (total - 1, 10 * total))
    with pytest.raises(InvalidSetting, match=r"GB are free on cuda"):
        agent.learn(56)
