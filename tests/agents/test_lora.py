"""LoRA: adapters and new heads alone learn, read alike in every way; whatever is a copy shares the model itself."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import ARCHITECTURES, GPT2, LLAMA, WIDE, saved
from safetensors.numpy import load_file, save_file
from stable_baselines3 import DQN, PPO
from transformers import AutoModelForCausalLM

from agents import CausalLMDQNPolicy, CausalLMPolicy, evaluate, load, make, make_vec_env, save
from agents.causal_extractor import CausalLMExtractor
from textgym.errors import InvalidSetting, UnknownName
from textgym.space import TokenBox

ALPHA, RANK = 6.0, 4
LORA = {"r": RANK, "alpha": ALPHA}
architectures = pytest.mark.parametrize("kind", ARCHITECTURES.keys())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a saved model of each architecture, whose head is far enough from 0 to write with."""
    place, letters = tmp_path_factory.mktemp("models"), [*"我爱你"]
    return {kind: saved(place / kind, own, letters, initializer_range=0.2) for kind, own in ARCHITECTURES.items()}


def made(model: Any, agent: str = "ppo", policy: dict[str, Any] | None = None, **settings: Any) -> Any:
    own = {"model": model, "lora": LORA, **(policy or {})}
    small = {"dqn": {"learning_starts": 16}, "grpo": {}, "rloo": {}}.get(agent, {"n_steps": 8})
    env = make_vec_env("TextGen-v0", 8, seed=0)
    return make(agent, env, policy=own, seed=0, device="cpu", **{**small, **settings})


def adapters(network: Any) -> dict[str, torch.Tensor]:
    return {name: p for name, p in network.named_parameters() if "lora_" in name}


def base(network: Any) -> dict[str, torch.Tensor]:
    found = {name.replace(".base_layer", ""): p for name, p in network.named_parameters() if "lora_" not in name}
    return {name: p for name, p in found.items() if ".body." in name}


def stirred(agent: Any) -> Any:
    """Give adapters, whose second half begins as 0, something to say."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapters(agent.policy).values():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return agent


def copies(agent: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in agent.policy.named_parameters()}


@architectures
def test_logits_are_those_of_the_model_with_the_products_added_to_its_weights(
    kind: str, folders: dict[str, str]
) -> None:
    policy = stirred(made(folders[kind])).policy.eval()
    auto: Any = AutoModelForCausalLM
    plain = auto.from_pretrained(folders[kind]).eval()
    weights = dict(plain.base_model.named_parameters())
    own = adapters(policy.features_extractor.transformer.body)
    for name, a in own.items():
        if ".lora_A." in name:
            place = name.partition(".lora_A.")[0]
            product = ALPHA / RANK * own[name.replace("lora_A", "lora_B")] @ a  # (out, in)
            with torch.no_grad():
                weights[f"{place}.weight"].add_(product.T if kind == "gpt2" else product)
    trunk = policy.features_extractor.transformer
    with torch.no_grad():
        ids = torch.tensor([[trunk.begin, trunk.ids[2], trunk.ids[0]]])
        wanted = plain(ids).logits[0, -1, trunk.ids].log_softmax(0)
        untouched = auto.from_pretrained(folders[kind]).eval()(ids).logits[0, -1, trunk.ids].log_softmax(0)
        scores = policy.scores(torch.tensor([[2, 0, 3]]))[0]
    torch.testing.assert_close(scores, wanted, atol=1e-5, rtol=0)
    assert not torch.allclose(scores, untouched, atol=1e-2)


@architectures
def test_cached_packed_and_plain_reading_agree_after_adapters_have_moved(kind: str, folders: dict[str, str]) -> None:
    agent = stirred(made(folders[kind], n_steps=7))  # episodes of 3: ragged segments
    _, callback = agent._setup_learn(10**6)
    for _ in range(2):
        agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, 7)
    (batch,) = agent.rollout_buffer.get(None)
    taken = batch.actions.flatten()
    plain = made(folders[kind], policy={"use_cache": False}).policy
    plain.load_state_dict(agent.policy.state_dict())
    for policy in (agent.policy, plain):
        values, log_prob, _ = policy.evaluate_actions(batch.observations, taken)
        torch.testing.assert_close(values[:, 0], batch.old_values, atol=1e-5, rtol=0)
        torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-4, rtol=0)
    grads = []
    for policy in (agent.policy, plain):
        policy.zero_grad()
        policy.evaluate_actions(batch.observations, taken)[1].sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in adapters(policy).values() if p.grad is not None]))
    torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-4)


def test_what_was_remembered_is_forgotten_when_adapters_change(folders: dict[str, str]) -> None:
    policy = made(folders["gpt2"]).policy.eval()
    rows = torch.tensor([[0, 1, 3], [2, 3, 3]])
    with torch.no_grad():
        before = policy.scores(rows)
        for name, parameter in adapters(policy).items():
            parameter.add_(0.3 if "lora_B" in name else 0.0)
        after = policy.scores(rows)
        policy.forget()
        torch.testing.assert_close(policy.scores(rows), after)
    assert not torch.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("name", ["ppo", "grpo", "dqn"])
def test_adapters_and_new_heads_alone_learn(name: str, folders: dict[str, str]) -> None:
    agent = made(folders["llama"], name)
    before = copies(agent)
    assert len([name for name in before if "lora_A" in name]) == (8 if name == "dqn" else 4)  # q and v of 2 blocks
    agent.learn(128)
    moved = {name for name, p in agent.policy.named_parameters() if not torch.equal(before[name], p)}
    assert moved
    assert all("lora_" in name or "value_net" in name or "q_net.0" in name for name in moved)
    assert {name for name in moved if "lora_A" in name}
    learned = [p for p in agent.policy.parameters() if p.requires_grad]
    frozen = [p for p in agent.policy.parameters() if not p.requires_grad]
    members = agent.policy.optimizer.members
    assert all(p.grad is None for p in frozen)
    assert {id(p) for p in members} <= {id(p) for p in learned}
    flat = agent.policy.optimizer.flat
    assert flat.numel() == sum(p.numel() for p in members)
    assert agent.policy.optimizer.state[flat]["exp_avg"].numel() == flat.numel()


@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce", "rloo", "grpo"])
@pytest.mark.parametrize("estimate", ["k1", "exact", "k3"])
def test_the_start_is_the_model_with_its_adapters_off_and_at_distance_0(
    name: str, estimate: str, folders: dict[str, str]
) -> None:
    agent = made(folders["gpt2"], name, kl_coefficient=0.1, kl=estimate, policy={"temperature": 0.7, "top_k": 2})
    _, callback = agent._setup_learn(10**6)
    start = agent.kl_control.reference.policy
    own = base(agent.policy)
    assert all(p is own[name] for name, p in base(start).items())  # no second copy
    assert all(m.disable_adapters for m in start.modules() if hasattr(m, "lora_B"))
    assert not any(m.disable_adapters for m in agent.policy.modules() if hasattr(m, "lora_B"))
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    assert agent.kl_control.measured == 0.0
    stirred(agent)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    assert agent.kl_control.measured != 0.0
    assert not any(p.any() for name, p in adapters(start).items() if "lora_B" in name)


def test_a_start_that_is_a_run_has_the_adapters_of_the_run(folders: dict[str, str], tmp_path: Path) -> None:
    first = stirred(made(folders["gpt2"]))
    save(first, tmp_path / "run")
    agent = made(folders["gpt2"], kl_coefficient=0.1, init=tmp_path / "run")
    _, callback = agent._setup_learn(10**6)
    start = agent.kl_control.reference.policy
    wanted = adapters(first.policy)
    assert all(torch.equal(p, wanted[name]) for name, p in adapters(start).items())
    assert not any(m.disable_adapters for m in start.modules() if hasattr(m, "lora_B"))
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, 8)
    assert agent.kl_control.measured == 0.0
    assert evaluate(agent).expected_return == pytest.approx(evaluate(first).expected_return)


def test_a_run_as_a_reference_shares_the_model(folders: dict[str, str], tmp_path: Path) -> None:
    save(stirred(made(folders["gpt2"])), tmp_path / "run")
    agent = made(folders["gpt2"], policy={"lora": {"r": 2}}, kl_coefficient=0.1, reference=str(tmp_path / "run"))
    agent.learn(64)
    start, own = agent.kl_control.reference.policy, base(agent.policy)
    assert all(p is own[name] for name, p in base(start).items())
    assert {p.shape[0] for name, p in adapters(start).items() if "lora_A" in name} == {RANK}
    save(agent, tmp_path / "near")
    again = load(tmp_path / "near", device="cpu")
    own = base(again.policy)
    assert all(p is own[name] for name, p in base(again.kl_control.reference.policy).items())


@pytest.mark.parametrize("agent", [None, "dqn"])
def test_critics_candidates_and_targets_share_the_model(agent: str | None, folders: dict[str, str]) -> None:
    if agent is None:
        policy = made(folders["gpt2"], policy={"critic": "separate", "candidates": 2}).policy
        networks = [policy.pi_features_extractor, policy.vf_features_extractor, policy.start.extractor]
    else:
        policy = made(folders["gpt2"], "dqn").policy
        networks = [policy.q_net.features_extractor, policy.q_net_target.features_extractor]
    first, *others = networks
    own = base(first)
    for other in others:
        assert all(p is own[name] for name, p in base(other).items())
        assert not {id(p) for p in adapters(other).values()} & {id(p) for p in adapters(first).values()}


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_a_target_network_follows_by_its_adapters_and_the_model_stays(tau: float, folders: dict[str, str]) -> None:
    agent = made(folders["gpt2"], "dqn", tau=tau, target_update_interval=8, learning_starts=8, learning_rate=0.05)
    online, target = adapters(agent.policy.q_net), adapters(agent.policy.q_net_target)
    before = {name: p.clone() for name, p in base(agent.policy).items()}
    agent.learn(24)
    for _ in range(3):
        wanted = {name: tau * p.detach() + (1 - tau) * target[name].detach() for name, p in online.items()}
        agent.learn(8, reset_num_timesteps=False)  # it is copied before the update
        for name, parameter in target.items():
            torch.testing.assert_close(parameter.detach(), wanted[name])
    assert not all(torch.equal(p, online[name]) for name, p in target.items())
    assert all(torch.equal(p, before[name]) for name, p in base(agent.policy).items())


@pytest.mark.parametrize("name", ["ppo", "grpo", "dqn"])
def test_a_run_holds_what_learns_and_goes_on_exactly(name: str, folders: dict[str, str], tmp_path: Path) -> None:
    kl: dict[str, Any] = {} if name == "dqn" else {"kl_coefficient": 0.1, "policy": {"candidates": 2}}
    first = made(folders["llama"], name, **kl).learn(64)
    save(first, tmp_path / "run")
    held = load_file(tmp_path / "run" / "policy.safetensors")
    assert all("lora_" in key or "value_net" in key or "q_net.0" in key or key == "base_sha256" for key in held)
    body = sum(p.numel() for p in base(first.policy).values())
    size = sum(path.stat().st_size for path in (tmp_path / "run").iterdir())
    assert sum(array.size for array in held.values()) < body / 4
    assert size < 4 * body
    second = load(tmp_path / "run", device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(copies(first).values(), copies(second).values()))
    second.learn(64, reset_num_timesteps=False)
    load(tmp_path / "run", device="cpu")  # sets all chance to what it was
    first.learn(64, reset_num_timesteps=False)
    assert all(torch.equal(a, b) for a, b in zip(copies(first).values(), copies(second).values()))


def test_a_run_of_a_fresh_model_holds_it_whole(tmp_path: Path) -> None:
    first = made(GPT2).learn(64)
    save(first, tmp_path / "run")
    held = load_file(tmp_path / "run" / "policy.safetensors")
    assert sum(array.size for array in held.values()) == sum(p.numel() for p in first.policy.parameters())
    second = load(tmp_path / "run", device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(copies(first).values(), copies(second).values()))


def changed(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1e-3}, folder / "model.safetensors", metadata={"format": "pt"})


def test_another_model_in_its_place_is_refused(tmp_path: Path) -> None:
    folder = Path(saved(tmp_path / "base", GPT2, vocab_size=3))
    agent = made(str(folder)).learn(64)
    save(agent, tmp_path / "run")
    model = PPO(CausalLMPolicy, agent.get_env(), n_steps=8, policy_kwargs={"model": str(folder), "lora": LORA})
    model.learn(8)
    model.save(tmp_path / "model.zip")
    again = PPO.load(tmp_path / "model.zip", device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(copies(model).values(), copies(again).values()))
    changed(folder)
    with pytest.raises(InvalidSetting, match=r"began with a model whose sha256 was .*Put the model there"):
        load(tmp_path / "run", device="cpu")
    with pytest.raises(InvalidSetting, match=r"parameters began with a model whose sha256 was .*; this policy's has"):
        PPO.load(tmp_path / "model.zip", device="cpu")


@pytest.mark.parametrize(("agent", "kind"), [("ppo", "gpt2"), ("dqn", "llama")])
def test_it_learns_to_write(agent: str, kind: str, folders: dict[str, str]) -> None:
    env = make_vec_env("TextGen-v0", 8, seed=0)
    policy = {"model": folders[kind], "lora": {"r": 8}}
    model = make(agent, env, policy=policy, seed=0, device="cpu").learn(1_500 if agent == "dqn" else 2_000)
    assert evaluate(model, deterministic=True).expected_return == 3


def test_with_sb3s_own_agents(folders: dict[str, str]) -> None:
    env, kwargs = make_vec_env("TextGen-v0", 4, seed=0), {"model": folders["llama"], "lora": LORA}
    for model in (
        PPO(CausalLMPolicy, env, n_steps=8, batch_size=16, policy_kwargs=kwargs, seed=0, device="cpu"),
        DQN(CausalLMDQNPolicy, env, learning_starts=8, policy_kwargs=kwargs, seed=0, device="cpu"),
    ):
        before = copies(model)
        model.learn(32)
        moved = {name for name, p in model.policy.named_parameters() if not torch.equal(before[name], p)}
        assert moved
        assert all("lora_" in name or "value_net" in name or "q_net.0" in name for name in moved)


def test_a_run_is_evaluated_inspected_distilled_and_begun_from(
    textgym: Callable[..., tuple[int, str, str]], folders: dict[str, str], tmp_path: Path
) -> None:
    train = ("train", "TextGen-v0", "--model", folders["gpt2"], "--set", "policy.lora.r=4", "--texts", "0")
    status, out, error = textgym(*train, "--steps", "2000", "--out", "run")
    assert (status, "success 100%:\n我爱你" in out) == (0, True), error
    for command in (
        ("eval", "run"),
        ("inspect", "run"),
        ("train", "--resume", "run", "--steps", "2100", "--texts", "0"),
        ("train", "TextGen-v0", "--init", "run", "--steps", "64", "--texts", "0", "--out", "next"),
        ("distill", "run", "--into", "small.json", "--out", "small", "--fit", "rounds=2"),
    ):
        (tmp_path / "small.json").write_text('{"d_model": 8, "n_layers": 1, "n_heads": 2}')
        status, out, error = textgym(*command)
        assert status == 0, error
    status, out, _ = textgym(*train, "--explain")
    assert all(name in out for name in ("policy.lora.r", "policy.lora.alpha", "policy.lora.targets"))
    assert "ten times the step size" in out


@pytest.mark.parametrize(
    ("lora", "error", "message"),
    [
        ({"r": 0}, InvalidSetting, r"lora[:.].*r=0 is refused"),
        ({"r": 1.5}, InvalidSetting, r"lora[:.].*r=1\.5 is refused"),
        ({"alpha": 0}, InvalidSetting, r"alpha=0 is refused"),
        ({"targets": []}, InvalidSetting, r"targets=\[\] is refused"),
        ({"rank": 8}, UnknownName, r"no setting of .* is called '.*rank'"),
        ({"targets": ["c_atn"]}, UnknownName, r"no linear layer of GPT2Model .* 'c_atn'\. Did you mean 'c_attn'\?"),
        ({"targets": ["c_attn", "lm_head"]}, UnknownName, r"Known: c_attn, c_fc, c_proj"),
    ],
)
def test_adapters_that_cannot_be(lora: dict[str, Any], error: Any, message: str, folders: dict[str, str]) -> None:
    with pytest.raises(error, match=message):
        made(folders["gpt2"], policy={"lora": lora})
    with pytest.raises(error, match=message):
        CausalLMExtractor(TokenBox(3, 0, 3), GPT2, tuning={"lora": lora})


def test_layers_by_name_of_one_block_or_of_all(folders: dict[str, str]) -> None:
    policy = made(folders["gpt2"], policy={"lora": {"targets": ["h.0.mlp.c_fc", "c_proj"]}}).policy
    places = {name.partition(".lora_")[0].partition(".body.")[2] for name in adapters(policy)}
    assert places == {"h.0.mlp.c_fc", *(f"h.{i}.{part}.c_proj" for i in (0, 1) for part in ("attn", "mlp"))}


def test_an_architecture_that_peft_knows_no_layers_of() -> None:
    kind = {"model_type": "olmo", **WIDE}
    with pytest.raises(
        InvalidSetting, match=r"peft names no layers of olmo to adapt\. Give them by name, policy\.lora"
    ):
        CausalLMExtractor(TokenBox(3, 0, 3), kind, tuning={"lora": {}})
    assert adapters(CausalLMExtractor(TokenBox(3, 0, 3), kind, tuning={"lora": {"targets": ["q_proj"]}}))


def test_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "peft":
            raise ImportError("No module named 'peft'", name="peft")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r'policy\.lora needs peft: pip install "textgym\[lora\]"'):
        CausalLMExtractor(TokenBox(3, 0, 3), GPT2, tuning={"lora": {}})
    CausalLMExtractor(TokenBox(3, 0, 3), GPT2)


def test_a_run_of_other_adapters_is_refused_as_a_beginning(folders: dict[str, str], tmp_path: Path) -> None:
    save(made(folders["llama"]).learn(64), tmp_path / "adapted")
    save(made(folders["llama"], policy={"lora": None}).learn(64), tmp_path / "whole")
    env = make_vec_env("TextGen-v0", 8)
    same = make("ppo", env, init=tmp_path / "adapted", policy={"lora": {"r": RANK}})
    assert same.made.settings["policy"]["lora"] == {**LORA, "targets": None}
    for run, lora in (("adapted", {"r": 2}), ("adapted", None), ("whole", {"r": 2})):
        with pytest.raises(InvalidSetting, match=rf"{run} has policy\.lora=.* Leave it out: it is then the run's"):
            make("ppo", env, init=tmp_path / run, policy={"lora": lora})
    assert np.isfinite(evaluate(make("dqn", env, init=tmp_path / "adapted", seed=0).learn(300)).expected_return)


def test_a_strangers_rank_is_refused_before_anything_is_made(tmp_path: Path, folders: dict[str, str]) -> None:
    from agents.fitting import require_held

    shape = {"model": folders["llama"], "lora": {"r": 16_384}}
    with pytest.raises(InvalidSetting, match=r"has more than the 1000 parameters there"):
        require_held(shape, TokenBox(3, 0, 3), 1000, "a run")
    require_held({**shape, "lora": LORA}, TokenBox(3, 0, 3), 1000, "a run")
    with pytest.raises(InvalidSetting, match=r"has more than the 1000 parameters there"):
        require_held({"model": LLAMA, "lora": LORA}, TokenBox(3, 0, 3), 1000, "a run")
